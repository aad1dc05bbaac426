"""The model card of trained SAEs, generated from their records: text, training, quality."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd

from saif_helpers.sae_training.recipe import TextRecipe
from saif_helpers.sae_training.streams import KEEP_OPENING
from saif_helpers.sae_training.texts import read_texts

HEAD = """# Model card: SAEs for {name}

Sparse autoencoders on the residual stream after some layers of {name}, trained with SAE-Lens
(BatchTopK, saved as JumpReLU) on text that the model wrote itself. Weights in 16 bits, safetensors.
"""

TEXT = """## Text

The model was sampled, from its whole distribution: requests from its own chat template at
temperature 1, and answers to them at {temperature:g} (the method of Magpie, arXiv:2406.08464). A
share of the prompts carries a seen wording of this book's instructions, about such a request or
about a sentence of the identification split; no sentence of the validation and test splits and no
held-out wording is among them. The beginning of each text is left out, and its shared opening (the
system prompt) in all texts but one in {opening}. The last token of a prompt, from which latents are
read, counts {read_out} times.
"""

QUALITY = """## Quality

Measured on text written apart for it, and at the last token of prompts with each of the book's
instructions (*read-out*). *EV* is the share of variance explained; *with first* counts the first
token too, whose residual stream is the same in every text and far longer than any other. *Loss
recovered* is the share of the loss lost by zeroing the stream that the reconstruction keeps. *Dead*
latents are active on no token of the training text. *frozen* is the control: the same training with
decoder directions that stay random (arXiv:2602.14111).
"""

LEAST_RECOVERED = 0.95
LEAST_RECOVERED_FINAL = 0.90
MOST_DEAD = 0.05
MOST_L0 = 64

BARS = """Asked of an SAE was that it recovers {recovered:.0%} of the loss ({final:.0%} after
the final layer), has at most {dead:.0%} dead latents, and an L0 of at most {l0}. {missed}

The last token of a prompt is nearly the same in every prompt in the early layers: a small error is
large against the little that differs, and the explained variance there can be below 0.
"""

COLUMNS = {
    "sae": "SAE",
    "l0": "L0",
    "explained_variance": "EV",
    "explained_variance_with_first": "EV with first",
    "explained_variance_read_out": "EV, read-out",
    "l0_read_out": "L0, read-out",
    "loss_recovered": "loss recovered",
    "dead": "dead",
}


def quality_rows(folder: Path) -> list[dict]:
    """Read the measurements of each SAE, sorted by layer.

    Args:
        folder: The folder of a training run, see `run.Training`.

    Returns:
        A row for each SAE.
    """
    files = (folder / "quality").glob("*.json")
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return sorted(rows, key=lambda row: (row["layer"], row["sae"].split("/")[0], row["width"]))


def text_summary(folder: Path) -> dict[str, dict[str, int]]:
    """Count the texts of each kind, for training and for evaluation.

    Args:
        folder: The folder of a training run.

    Returns:
        Use to kind to number of texts.
    """
    found: dict[str, Counter] = {"training": Counter(), "measuring": Counter()}
    for file in sorted((folder / "texts").glob("*.jsonl")):
        use = "measuring" if file.name.startswith("held_out") else "training"
        found[use].update(text.kind for text in read_texts(file))
    return {use: dict(sorted(count.items())) for use, count in found.items()}


def alike_but_for_text(rows: list[dict]) -> list[dict]:
    """Return the SAEs that differ only in the amount of text.

    Args:
        rows: From `quality_rows`.

    Returns:
        Their rows; empty if no SAE was trained on less text (``make saes ARGS="--curve LAYER"``).
    """
    fewer = {(row["layer"], row["width"]) for row in rows if row["sae"].startswith("parts-")}
    return [
        row
        for row in rows
        if (row["layer"], row["width"]) in fewer and row["sae"].startswith(("parts-", "saes/"))
    ]


def text_curve(rows: list[dict]) -> pd.DataFrame:
    """Tabulate the quality of SAEs by amount of text, all else being equal.

    Args:
        rows: From `alike_but_for_text`, all measured on the same held-out text; or the ``curve`` of
            a shipped ``quality.json``.

    Returns:
        A row for each number of tokens, with three measures of the SAE's quality.
    """
    columns = {
        "n_dead_tokens": "tokens of text",
        "explained_variance": "explained variance",
        "explained_variance_read_out": "explained variance, last token of a prompt",
        "loss_recovered": "loss recovered",
    }
    table = pd.DataFrame(rows, columns=[*columns]).rename(columns=columns)
    return table.set_index("tokens of text").sort_index()


def missed_bars(rows: list[dict]) -> dict[str, list[str]]:
    """Return which SAEs miss which thresholds, except the control.

    Args:
        rows: From `quality_rows`.

    Returns:
        SAE to the thresholds it misses, without SAEs that meet all.
    """
    last = max(row["layer"] for row in rows)
    found = {}
    for row in rows:
        if not row["sae"].startswith(("saes/", "seed-")):
            continue
        recovered = LEAST_RECOVERED_FINAL if row["layer"] == last else LEAST_RECOVERED
        bars = {
            f"loss recovered {row['loss_recovered']:.1%}": row["loss_recovered"] >= recovered,
            f"dead {row['dead']:.1%}": row["dead"] <= MOST_DEAD,
            f"L0 {row['l0']:.1f}": row["l0"] <= MOST_L0,
        }
        if missed := [said for said, met in bars.items() if not met]:
            found[row["sae"]] = missed
    return found


def _bars(rows: list[dict]) -> str:
    """Return the section on the thresholds and the SAEs that miss them."""
    missed = [f"{sae} ({', '.join(what)})" for sae, what in missed_bars(rows).items()]
    return BARS.format(
        recovered=LEAST_RECOVERED,
        final=LEAST_RECOVERED_FINAL,
        dead=MOST_DEAD,
        l0=MOST_L0,
        missed=f"Missed by: {'; '.join(missed)}." if missed else "All meet these bars.",
    )


def model_card(name: str, rows: list[dict], texts: dict[str, dict[str, int]]) -> str:
    """Return the model card.

    Args:
        name: Name of the model.
        rows: From `quality_rows`.
        texts: From `text_summary`.

    Returns:
        The card, in Markdown.
    """
    saes, text = rows[0]["saes"], TextRecipe()
    choices = {"temperature": text.temperature, "read_out": text.read_out, "opening": KEEP_OPENING}
    table = pd.DataFrame(rows)[list(COLUMNS)].rename(columns=COLUMNS)
    for column in table.columns.drop(["SAE", "L0", "L0, read-out"]):
        table[column] = [f"{value:.1%}" for value in table[column]]
    table = table.round(1)
    kinds = pd.DataFrame(texts).fillna(0).astype(int).rename_axis("kind").reset_index()
    return "\n".join(
        [
            HEAD.format(name=name),
            TEXT.format(**choices),
            _markdown(kinds),
            f"## Training\n\n{rows[0]['n_dead_tokens']:,} tokens in the pool, {saes['tokens']:,} "
            f"seen in training, k = {saes['k']}, {saes['batch_size']} tokens a step, Adam, "
            f"learning rate {saes['learning_rate']}, seed 0 (seed 1 under *seed-1*).\n",
            QUALITY,
            _markdown(table),
            _bars(rows),
        ]
    )


def _markdown(frame: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
