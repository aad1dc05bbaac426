"""Whose latents are they? Kinds of latents by which instructions switch them on.

The paper's negative samples hold no instruction at all, so a latent that means "some instruction is
here" scores as high as one that means "translate into French". Counting the same latents under the
other instructions tells the two apart (not in the paper; standing: ours).
"""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from torch import Tensor

from saif_helpers.intervals import wilson

KINDS = ("distinct", "shared", "not relevant", "undecided")


def response_table(
    on: Mapping[str, Bool[Tensor, "pairs d_sae"]],
    latents: Int[Tensor, "k"],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Count how often each instruction switches each of some latents on.

    A verdict that counts latents rests on k intervals at once, and the luckiest one can decide. So
    each is widened for all k of an instruction to hold together (Bonferroni's correction).

    Args:
        on: Instruction name to what its pairs switch on (see `newly_active`), of pairs that
            the latents were not chosen on.
        latents: The latents to count.
        confidence: Probability that an instruction's intervals hold together, at least.

    Returns:
        A row for each latent and instruction: ``latent``, ``instruction``, and the share of pairs
        as ``value`` with the ends ``low`` and ``high`` of its Wilson interval, and ``n``.
    """
    each = 1 - (1 - confidence) / max(1, len(latents))
    return pd.DataFrame(
        [
            {"latent": latent, "instruction": name}
            | asdict(wilson(int(pairs[:, latent].sum()), len(pairs), each))
            for latent in latents.tolist()
            for name, pairs in on.items()
        ]
    )


def classify_latents(table: pd.DataFrame, instruction: str, threshold: float = 0.5) -> pd.Series:
    """Return for each latent whether it is relevant to an instruction, and to that one only.

    =================  ============================================================================
    kind               what the intervals of its shares say
    =================  ============================================================================
    ``not relevant``   below `threshold` for the instruction itself
    ``shared``         above `threshold` for at least one other instruction
    ``distinct``       above `threshold` for the instruction, below it for every other one
    ``undecided``      an interval that decides holds `threshold`: count more pairs
    =================  ============================================================================

    The first that applies.

    Args:
        table: A table from `response_table`.
        instruction: The instruction that the latents were chosen for.
        threshold: The share of pairs in which a latent that counts is switched on.

    Returns:
        Latent to its kind, in the table's order.

    Raises:
        ValueError: If the table lacks the instruction, or has no other one.
    """
    names = list(table["instruction"].unique())
    if instruction not in names or len(names) < 2:
        raise ValueError(
            f"instruction {instruction!r} asked for; the table has {', '.join(names)}; "
            "give it and at least one other"
        )
    order = table["latent"].unique()
    low = table.pivot(index="latent", columns="instruction", values="low").loc[order]
    high = table.pivot(index="latent", columns="instruction", values="high").loc[order]
    others = [name for name in names if name != instruction]
    conditions = [
        high[instruction] < threshold,
        (low[others] > threshold).any(axis=1),
        (low[instruction] > threshold) & (high[others] < threshold).all(axis=1),
    ]
    kinds = np.select(conditions, ["not relevant", "shared", "distinct"], "undecided")
    return pd.Series(kinds, index=low.index, name="kind")
