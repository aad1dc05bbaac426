"""Effective number of latents in a steering vector: how few of them carry its direction (ours).

A vector of k latents may be one latent in all but name, if one direction is far longer than the
others.
"""

import torch

from saif_helpers._internal.arguments import share as check_share
from saif_helpers.model.saes import SAE
from saif_helpers.ranking import LatentRanking


def effective_latents(
    ranking: LatentRanking, sae: SAE, k: int, beta: float = 0.0, *, share: float = 0.95
) -> list[int]:
    """Return the latents that carry the direction of the paper's vector, the largest part first.

    The parts of the sum are added in the order of their length along it, until the cosine of the
    partial sum with the whole is at least `share`.

    Args:
        ranking: Ranked latents of the same SAE.
        sae: The SAE.
        k: Number of latents of the vector.
        beta: As for `saif_vector`.
        share: The cosine to reach, between 0 and 1.

    Returns:
        The latents; all k if the whole vector is zero.
    """
    check_share("share", share)
    top = ranking.top(k).cpu()
    weights = (ranking.mean + beta * ranking.std).cpu()[top]
    parts = weights[:, None] * sae.W_dec.detach().float().cpu()[top]
    whole = parts.sum(0)
    order = (parts @ whole).argsort(descending=True)
    cosines = torch.cosine_similarity(parts[order].cumsum(0), whole[None], dim=1)
    enough = (cosines >= share).nonzero()[:, 0]
    n = int(enough[0]) + 1 if len(enough) else k
    return top[order[:n]].tolist()
