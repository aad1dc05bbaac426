"""The model card of the shipped family, generated from the measurements."""

import json
from math import prod
from pathlib import Path

import pandas as pd
from safetensors import safe_open

HEAD = """# Model card: the SAIF organism

Small language models of the Gemma 2 architecture, trained from scratch to follow instructions about
one sentence, with sparse autoencoders (SAEs) on the residual stream after every layer. They are the
default subject of the SAIF book. Licence: MIT. `python -m organism` makes them anew.

## Data

Synthetic and complete: a grammar of English sentences (subject, verb, object, adjectives,
adverbials) with their translations into French, Spanish and German, and eight instructions, each
in twelve wordings and six languages. No text from elsewhere, no personal data. Held out of
training: every subject-verb-object triple of the shipped sentences, the last two wordings of each
instruction, and one wording language for each instruction.

## Limits

The models know only these sentences and these instructions. They have no knowledge of the world,
and an output that looks fluent outside the grammar is luck. What holds for them need not hold for
large models; the book says for each result what would have to be checked.
"""


def model_card(ship: Path) -> str:
    """Return the card with the measurements of the shipped sizes.

    Args:
        ship: Folder of the shipped family.

    Returns:
        The card, in Markdown.
    """
    parts = [HEAD]
    found = {
        file.parent: json.loads(file.read_text(encoding="utf-8"))
        for file in ship.glob("*/quality.json")
    }
    for folder in sorted(found, key=lambda folder: (parameter_count(folder), folder.name)):
        measured = found[folder]
        model, saes = measured["recipe"]["model"], measured["recipe"]["saes"]
        matches = pd.DataFrame(measured["exact_match"]).pivot_table(
            index="instruction",
            columns=["wordings", "style", "position"],
            values="exact_match",
            sort=False,
        )
        matches.columns = [" ".join(column) for column in matches.columns]
        columns = ["layer", "width", "l0", "dead", "explained_variance", "loss_recovered"]
        parts += [
            f"## Size {folder.name}\n",
            f"{parameter_count(folder):,} parameters, d_model {model['d_model']}, "
            f"{model['n_layers']} layers, {model['n_heads']} heads. Trained for {model['steps']} "
            f"steps of {model['batch_size']} examples with AdamW, one cycle to "
            f"{model['learning_rate']}, seed {model['seed']}. SAEs: BatchTopK, k = {saes['k']}, "
            f"{saes['tokens']} tokens, saved as JumpReLU. Weights stored in float16.\n",
            "Share of exact matches on the test sentences:\n",
            _table(matches.round(3).reset_index()),
            "SAEs on held-out texts (no BOS, no padding):\n",
            _table(pd.DataFrame(measured["saes"])[columns]),
        ]
    return "\n".join(parts)


def parameter_count(folder: Path) -> int:
    """Return the number of parameters of a saved model without loading them."""
    with safe_open(folder / "model.safetensors", "pt") as opened:
        return sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118


def _table(frame: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
