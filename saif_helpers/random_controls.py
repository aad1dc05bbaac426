"""Random controls of a steering vector: random latents and a random direction (standing: ours).

The abstract does not mention such controls. A random SAE is in `study.random_sae`.
"""

import torch

from saif_helpers._internal.arguments import ArgumentError, seed_number
from saif_helpers._internal.checked import checked
from saif_helpers.model.saes import SAE
from saif_helpers.ranking import LatentRanking
from saif_helpers.vector_rules import saif_vector
from saif_helpers.vectors import SteeringVector


@checked
def random_latents_vector(
    ranking: LatentRanking,
    sae: SAE,
    k: int,
    beta: float = 0.0,
    *,
    seed: int,
    layer: int | None = None,
) -> SteeringVector:
    """Build the control of `saif_vector`: k random latents instead of the top k, norm-matched.

    The latents are drawn from those that are active on at least one sample, positive or negative,
    and not in the top k. They get the top k's strengths; the sum gets the norm of `saif_vector`.

    >>> control = saif.random_latents_vector(ranking, sae, k=15, seed=0)

    Args:
        ranking: Ranked latents of the same SAE.
        sae: The SAE.
        k: Number of latents.
        beta: As for the vector under control.
        seed: Seed of the draw.
        layer: The layer to steer, if the SAE does not specify it.

    Returns:
        The steering vector.

    Raises:
        ValueError: As `saif_vector`; or if there are fewer than k latents to draw from.
    """
    like = saif_vector(ranking, sae, k, beta, layer=layer)
    top, W_dec = ranking.top(k), sae.W_dec.detach()
    live = ranking.living
    live[top] = False
    pool = live.nonzero()[:, 0]
    if len(pool) < k:
        raise ArgumentError(
            f"only {len(pool)} latents outside the top {k} were ever active; "
            f"give k of at most {len(pool)}, or rank on more samples",
            "k",
        )
    generator = torch.Generator().manual_seed(seed_number(seed))
    drawn = pool[torch.randperm(len(pool), generator=generator)[:k]].to(W_dec.device)
    strengths = (ranking.mean[top] + beta * ranking.std[top]).to(W_dec)
    vector = (strengths @ W_dec[drawn]).to(ranking.mean.device)
    vector = vector * (like.vector.norm() / vector.norm())
    return SteeringVector(like.layer, vector, f"random latents, k = {k}, seed {seed}")


@checked
def random_direction_vector(like: SteeringVector, *, seed: int) -> SteeringVector:
    """Build a random direction with the layer, placement and norm of another vector.

    >>> control = saif.random_direction_vector(vector, seed=0)

    Args:
        like: The vector under control.
        seed: Seed of the direction.

    Returns:
        The steering vector, uniformly distributed over all directions.
    """
    generator = torch.Generator().manual_seed(seed_number(seed))
    direction = torch.randn(like.vector.shape, generator=generator).to(like.vector)
    vector = direction * (like.vector.norm() / direction.norm())
    words = f"random direction, seed {seed}"
    return SteeringVector(like.layer, vector, words, placement=like.placement, decay=like.decay)
