"""How stable a ranking is: labels swapped at random, and the overlap of two sets of latents."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def permute_pairs(
    positive: Float[Tensor, "pairs d_sae"], negative: Float[Tensor, "pairs d_sae"], *, seed: int
) -> tuple[Float[Tensor, "pairs d_sae"], Float[Tensor, "pairs d_sae"]]:
    """Exchange positive and negative in a random half of the pairs: the permutation control.

    If it made no difference which sample holds the instruction, scores from swapped labels would
    be as high as the true ones.

    Args:
        positive: Latents of the positive samples.
        negative: Latents of the negative samples, row by row of the same pairs.
        seed: Decides which pairs are exchanged, each with probability one half.

    Returns:
        The two, rows exchanged; no pair is torn apart.
    """
    generator = torch.Generator().manual_seed(seed)
    swap = (torch.rand(len(positive), generator=generator) < 0.5).to(positive.device)[:, None]
    return torch.where(swap, negative, positive), torch.where(swap, positive, negative)


def jaccard(first: Int[Tensor, "latents"], second: Int[Tensor, "other_latents"]) -> float:
    """Return the overlap of two sets of latents: shared ones divided by all of both.

    Args:
        first: Latent indices.
        second: Latent indices.

    Returns:
        0 where nothing is shared, 1 where the two are the same set.

    Raises:
        ValueError: If both are empty.
    """
    one, other = set(first.tolist()), set(second.tolist())
    if not one | other:
        raise ValueError("jaccard was given two empty sets; give at least one latent")
    return len(one & other) / len(one | other)
