"""Stability of a ranking: permuted labels, and the overlap of two sets of latents."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError


def permute_pairs(
    positive: Float[Tensor, "pairs d_sae"], negative: Float[Tensor, "pairs d_sae"], *, seed: int
) -> tuple[Float[Tensor, "pairs d_sae"], Float[Tensor, "pairs d_sae"]]:
    """Swap positive and negative in a random half of the pairs, for a permutation test.

    Under the null hypothesis that the instruction has no effect, scores from permuted labels are as
    high as the true ones.

    Args:
        positive: Latents of the positive samples.
        negative: Latents of the negative samples, in the same order of pairs.
        seed: Seed that decides which pairs are swapped, each with probability one half.

    Returns:
        Both, with rows swapped; pairs stay together.
    """
    generator = torch.Generator().manual_seed(seed)
    swap = (torch.rand(len(positive), generator=generator) < 0.5).to(positive.device)[:, None]
    return torch.where(swap, negative, positive), torch.where(swap, positive, negative)


def jaccard(first: Int[Tensor, "latents"], second: Int[Tensor, "other_latents"]) -> float:
    """Return the Jaccard index of two sets of latents: intersection over union.

    Args:
        first: Latent indices.
        second: Latent indices.

    Returns:
        0 for disjoint sets, 1 for equal sets.

    Raises:
        ValueError: If both are empty.
    """
    one, other = set(first.tolist()), set(second.tolist())
    if not one | other:
        raise ArgumentError("jaccard was given two empty sets; give at least one latent", "first")
    return len(one & other) / len(one | other)
