"""Measurements of a shipped model: exact match on held-out sentences, and quality of its SAEs."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product

import pandas as pd
from tqdm import tqdm

from saif_helpers.analysis.reconstruction import reconstruction_quality
from saif_helpers.contents import Content, load_contents
from saif_helpers.grading import grade
from saif_helpers.instructions import InstructionType, load_instructions
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import make_pairs
from saif_helpers.steering import generate

MAX_NEW_TOKENS = 60


def exact_match(
    model: ModelWithSAEs, contents: Sequence[Content], instructions: Sequence[InstructionType]
) -> pd.DataFrame:
    """Measure the share of answers that equal the reference.

    Args:
        model: The model.
        contents: Held-out sentences with references.
        instructions: The instructions.

    Returns:
        A row for each instruction, position, style and kind of wording: the share of exact matches
        and its 95 % Wilson interval.
    """
    return pd.DataFrame(_exact_match_rows(model, contents, instructions))


def _exact_match_rows(
    model: ModelWithSAEs, contents: Sequence[Content], instructions: Sequence[InstructionType]
) -> Iterator[dict]:
    conditions = product(instructions, ("before", "after"), ("chat", "plain"), ("seen", "unseen"))
    for instruction, position, style, wordings in tqdm(list(conditions), desc="exact match"):
        pairs = make_pairs(
            instruction,
            contents,
            model.tokenizer,
            position=position,
            style=style,
            wordings=wordings,
        )
        prompts = [pair.positive for pair in pairs]
        outputs = generate(model, prompts, max_new_tokens=MAX_NEW_TOKENS)
        items = [content.item(instruction) for content in contents]
        share = grade(outputs, items, instruction).proportion("strict")
        yield {
            "instruction": instruction.name,
            "position": position,
            "style": style,
            "wordings": wordings,
            "n": share.n,
            "exact_match": round(share.value, 4),
            "low": round(share.low, 4),
            "high": round(share.high, 4),
        }


def held_out_texts(
    model: ModelWithSAEs, contents: Sequence[Content], instructions: Sequence[InstructionType]
) -> list[str]:
    """Return prompts with their correct answers, alternating instructions and positions.

    Args:
        model: The model, for its tokenizer.
        contents: Held-out sentences with references.
        instructions: The instructions.

    Returns:
        A text for each pair of sentence and instruction, as a complete conversation.
    """
    texts = []
    for number, instruction in enumerate(instructions):
        position = ("before", "after")[number % 2]
        pairs = make_pairs(instruction, contents, model.tokenizer, position=position)
        texts += [
            f"{pair.positive}{pair.content.references[instruction.name]}<end_of_turn>"
            for pair in pairs
        ]
    return texts


def sae_quality(model: ModelWithSAEs, texts: Sequence[str]) -> pd.DataFrame:
    """Measure every SAE on texts that it was not trained on.

    Args:
        model: The model and its SAEs.
        texts: Rendered prompts with answers.

    Returns:
        A row for each SAE, see `saif_helpers.analysis.reconstruction.ReconstructionQuality`.
    """
    rows = []
    for layer, width in tqdm(list(model.saes), desc="SAE quality"):
        quality = reconstruction_quality(model, texts, layer, width)
        rows.append(asdict(quality) | {"loss_recovered": quality.loss_recovered})
    return pd.DataFrame(rows).round(4)


def measure(model: ModelWithSAEs, n_contents: int | None = None) -> dict[str, list[dict]]:
    """Measure a model and its SAEs on the test sentences that the package ships.

    Args:
        model: The model and its SAEs.
        n_contents: Number of sentences; by default all.

    Returns:
        Two lists of rows, ``exact_match`` and ``saes``.
    """
    contents = load_contents("test")[:n_contents]
    instructions = list(load_instructions().values())
    matches = exact_match(model, contents, instructions)
    saes = sae_quality(model, held_out_texts(model, contents, instructions))
    return {"exact_match": matches.to_dict("records"), "saes": saes.to_dict("records")}
