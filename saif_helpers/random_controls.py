"""Random controls of a steering vector: random latents, a random direction, a random SAE.

The abstract does not mention such controls (standing: ours). SAEs with random decoder directions
match trained ones in several evaluations (arXiv:2602.14111).
"""

import torch
from jaxtyping import Float
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor

from saif_helpers._internal.arguments import ArgumentError, seed_number
from saif_helpers._internal.checked import checked
from saif_helpers.latents import encode
from saif_helpers.model.saes import SAE, layer_of
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


@checked
def random_sae(like: SAE, residual: Float[Tensor, "rows d_model"], *, seed: int) -> SAE:
    """Build an SAE with random decoder directions, in which nothing is trained.

    Its directions are uniformly distributed, of the mean length of the other SAE's; a latent is
    active if the centred residual stream points along its direction by more than a threshold, which
    makes as many latents active as in the other SAE.

    >>> rows = saif.capture(organism, prompts, layers=[0])[0]
    >>> control = saif.random_sae(organism.saes[0], rows, seed=0)
    >>> control.W_dec.shape == organism.saes[0].W_dec.shape
    True

    Args:
        like: The SAE under control.
        residual: Residual stream after its layer, for the mean and the threshold.
        seed: Seed of the directions.

    Returns:
        The SAE, for the same layer.
    """
    generator = torch.Generator().manual_seed(seed_number(seed))
    lengths = like.W_dec.detach().float().norm(dim=1)
    directions = torch.randn(like.W_dec.shape, generator=generator)
    directions = directions / directions.norm(dim=1, keepdim=True)
    active = (encode(like, residual) > 0).double().mean().item()
    rows = residual.float().cpu()
    middle = rows.mean(0)
    along = (rows - middle) @ directions.T
    threshold = along.flatten().sort(descending=True).values[round(active * along.numel())]
    layer = layer_of(like)
    named = {} if layer is None else {"hook_name": f"blocks.{layer}.hook_resid_post"}
    width, d_model = directions.shape
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_model, width, metadata=SAEMetadata(**named)))
    with torch.no_grad():
        sae.W_dec.copy_(directions * lengths.mean().cpu())
        sae.W_enc.copy_(directions.T)
        sae.b_dec.copy_(middle)
        sae.b_enc.zero_()
        sae.threshold.fill_(max(threshold.item(), 0.0))
    return sae.to(like.W_dec.device).requires_grad_(False)
