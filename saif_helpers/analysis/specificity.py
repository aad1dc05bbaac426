"""Specificity of latents: which instructions switch them on.

The paper's negative samples contain no instruction, so a latent for "there is an instruction"
scores as high as one for "translate into French". Counting how often other instructions switch the
latent on tells the two apart (not in the paper; standing: ours).
"""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.intervals import wilson

KINDS = ("distinct", "shared", "not relevant", "undecided")


def response_table(
    on: Mapping[str, Bool[Tensor, "pairs d_sae"]],
    latents: Int[Tensor, "k"],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Count how often each instruction switches each latent on.

    A verdict that counts latents depends on k intervals, so one outlier could decide it. Intervals
    are therefore widened to hold jointly for the k latents of an instruction (Bonferroni).

    Args:
        on: Instruction name to the latents that its pairs switch on (see `newly_active`), for
            pairs that were not used to choose the latents.
        latents: The latents to count.
        confidence: Minimum joint coverage of an instruction's intervals.

    Returns:
        A row for each latent and instruction: ``latent``, ``instruction``, the share of pairs as
        ``value``, the bounds ``low`` and ``high`` of its Wilson interval, and ``n``.
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
    """Classify latents by whether they respond to an instruction, and only to that one.

    =================  ============================================================================
    kind               the intervals of its shares are
    =================  ============================================================================
    ``not relevant``   below `threshold` for the instruction itself
    ``shared``         above `threshold` for at least one other instruction
    ``distinct``       above `threshold` for the instruction, below it for every other one
    ``undecided``      a decisive interval contains `threshold`: count more pairs
    =================  ============================================================================

    The first matching row applies.

    Args:
        table: A table from `response_table`.
        instruction: The instruction that the latents were chosen for.
        threshold: The share of pairs above which a latent counts as responding.

    Returns:
        Latent to its kind, in the table's order.

    Raises:
        ValueError: If the table lacks the instruction, or has no other.
    """
    names = list(table["instruction"].unique())
    if instruction not in names or len(names) < 2:
        raise ArgumentError(
            f"instruction {instruction!r} given; the table has {', '.join(names)}; "
            "give it and at least one other",
            "instruction",
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
