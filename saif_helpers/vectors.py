"""Steering vectors: what is added to the residual stream, and the controls it must beat.

Paper, causal steering: each latent's strength comes from its activation magnitudes, and the sum is
added to the residual stream (standing: stated); alpha_j = mu_j + beta * sigma_j and z' = z + sum_j
alpha_j W_dec[j] over the top k latents (standing: ours).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor

from saif_helpers.ranking import LatentRanking
from saif_helpers.saes import sae_layer


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """A direction to add to the residual stream after a layer.

    Attributes:
        layer: The layer after which it is added, counted from 0.
        vector: What is added, in residual-stream units.
        description: How it was made, for tables and figures.
    """

    layer: int
    vector: Float[Tensor, "d_model"]
    description: str

    @property
    def norm(self) -> float:
        """Length of the vector."""
        return self.vector.norm().item()

    def scaled(self, strength: float) -> "SteeringVector":
        """Return the vector times `strength`."""
        return replace(
            self, vector=strength * self.vector, description=f"{strength:g} x {self.description}"
        )


@dataclass(frozen=True, eq=False)
class ClampedLatents:
    """Latents to set to given activations after a layer, instead of adding to what they have.

    z' = z + sum_j (value_j - a_j(z)) W_dec[j], so what the SAE does not explain stays as it is. It
    can stand wherever a `SteeringVector` can.

    Attributes:
        layer: The layer after which they are set.
        sae: The SAE of the layer.
        latents: Which latents.
        values: The activation that each is set to.
        description: How they were chosen, for tables and figures.
    """

    layer: int
    sae: SAE
    latents: Int[Tensor, "k"]
    values: Float[Tensor, "k"]
    description: str

    @property
    def vector(self) -> Float[Tensor, "d_model"]:
        """What is added where none of the latents is active."""
        return _sum_of_directions(self.sae, self.latents, self.values)

    @property
    def norm(self) -> float:
        """Length of what is added where none of the latents is active."""
        return self.vector.norm().item()

    def scaled(self, strength: float) -> "ClampedLatents":
        """Return the latents set to `strength` times the values; 0 switches them off."""
        return replace(
            self, values=strength * self.values, description=f"{strength:g} x {self.description}"
        )


def clamped_latents(
    ranking: LatentRanking, sae: SAE, k: int, beta: float = 0.0, *, layer: int | None = None
) -> ClampedLatents:
    """Clamp the top k latents to alpha_j = mu_j + beta * sigma_j (not in the paper).

    Args:
        ranking: Ranked latents of the same SAE.
        sae: The SAE.
        k: How many of the best latents.
        beta: How many standard deviations to add to each latent's mean activation.
        layer: The layer to steer, where the SAE does not name the layer that it was trained on.

    Returns:
        What to steer with.

    Raises:
        ValueError: As `saif_vector`.
    """
    _check_fit(sae, ranking)
    top = ranking.top(k)
    values = _alphas(ranking, top, beta)
    return ClampedLatents(_layer(sae, layer), sae, top, values, f"clamp, k = {k}, beta = {beta:g}")


def saif_vector(
    ranking: LatentRanking, sae: SAE, k: int, beta: float = 0.0, *, layer: int | None = None
) -> SteeringVector:
    """Build the paper's steering vector: decoder directions of the top k latents, weighted.

    sum over the top k latents j of (mu_j + beta * sigma_j) W_dec[j] (standing: ours).

    Args:
        ranking: Ranked latents of the same SAE.
        sae: The SAE.
        k: How many of the best latents. One note reports 15 as best.
        beta: How many standard deviations to add to each latent's mean activation.
        layer: The layer to steer, where the SAE does not name the layer that it was trained on.

    Returns:
        The steering vector.

    Raises:
        ValueError: If the SAE's decoder is not in residual-stream units, or has another number of
            latents than the ranking, or names no layer.
    """
    top = ranking.top(k)
    vector = _weighted(sae, ranking, top, _alphas(ranking, top, beta))
    return SteeringVector(_layer(sae, layer), vector, f"SAIF, k = {k}, beta = {beta:g}")


def random_latents_vector(
    ranking: LatentRanking,
    sae: SAE,
    k: int,
    beta: float = 0.0,
    *,
    seed: int,
    layer: int | None = None,
) -> SteeringVector:
    """Build the control of `saif_vector`: k random latents in place of the top k, at the same norm.

    The latents are drawn from those that were active on at least one sample, positive or negative,
    and are not in the top k. They get the top k's strengths, in order, and the sum is rescaled to
    the norm of `saif_vector`.

    Args:
        ranking: Ranked latents of the same SAE.
        sae: The SAE.
        k: How many latents.
        beta: As for the vector that this is the control of.
        seed: Decides which latents are drawn.
        layer: The layer to steer, where the SAE does not name it.

    Returns:
        The steering vector.

    Raises:
        ValueError: As `saif_vector`; or if fewer than k latents can be drawn from.
    """
    top = ranking.top(k)
    live = (ranking.mean > 0) | (ranking.negative_mean > 0)
    live[top] = False
    pool = live.nonzero()[:, 0]
    if len(pool) < k:
        raise ValueError(
            f"only {len(pool)} latents outside the top {k} were ever active; "
            f"ask for a k of at most {len(pool)} or rank on more samples"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = pool[torch.randperm(len(pool), generator=generator)[:k]]
    vector = _weighted(sae, ranking, drawn, _alphas(ranking, top, beta))
    norm = saif_vector(ranking, sae, k, beta, layer=layer).vector.norm()
    vector = vector * (norm / vector.norm())
    return SteeringVector(_layer(sae, layer), vector, f"random latents, k = {k}, seed {seed}")


def random_direction_vector(like: SteeringVector, *, seed: int) -> SteeringVector:
    """Build a control: a random direction at the layer and with the norm of another vector.

    Args:
        like: The vector that this is the control of.
        seed: Decides the direction.

    Returns:
        The steering vector, drawn evenly over all directions.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(like.vector.shape, generator=generator).to(like.vector)
    vector = direction * (like.vector.norm() / direction.norm())
    return SteeringVector(like.layer, vector, f"random direction, seed {seed}")


def mean_difference_vector(
    positive: Float[Tensor, "pairs d_model"],
    negative: Float[Tensor, "other_pairs d_model"],
    layer: int,
) -> SteeringVector:
    """Build the difference in means, the baseline that uses no SAE.

    Args:
        positive: Residual stream at the read-out position with the instruction.
        negative: The same without it.
        layer: The layer that both were captured after.

    Returns:
        The steering vector, mean(positive) - mean(negative).
    """
    return SteeringVector(layer, positive.mean(0) - negative.mean(0), "difference in means")


def signed_mean_difference_vector(
    ranking: LatentRanking, sae: SAE, k: int, *, layer: int | None = None
) -> SteeringVector:
    """Build a vector of the k latents whose mean changes most, up or down (not in the paper).

    sum over the k latents j with the largest |d_j| of d_j W_dec[j], where d_j is the latent's mean
    over the positive samples minus that over the negative ones. Ties go to the lower index.

    Args:
        ranking: Ranked latents of the same SAE, for their two means.
        sae: The SAE.
        k: How many latents.
        layer: The layer to steer, where the SAE does not name it.

    Returns:
        The steering vector.

    Raises:
        ValueError: As `saif_vector`.
    """
    ranking.top(k)  # refuses a k that there is not
    difference = ranking.mean - ranking.negative_mean
    chosen = difference.abs().sort(descending=True, stable=True).indices[:k]
    vector = _weighted(sae, ranking, chosen, difference[chosen])
    return SteeringVector(_layer(sae, layer), vector, f"signed mean difference, k = {k}")


def check_decoder_units(sae: SAE) -> None:
    """Check that an activation times a row of W_dec is in residual-stream units.

    It is when the SAE reads the residual stream as it is. Subtracting b_dec from the input
    (``apply_b_dec_to_input``) changes what is encoded, not the decoder, and is allowed.

    Args:
        sae: The SAE.

    Raises:
        ValueError: If the SAE normalises its input or rescales activations by the decoder's norm
            and this is not folded into its weights.
    """
    if sae.cfg.normalize_activations != "none":
        raise ValueError(
            f"the SAE normalises its input ({sae.cfg.normalize_activations!r}), so W_dec is not in "
            "residual-stream units; fold a constant scale into the weights first "
            "(sae.fold_activation_norm_scaling_factor); a scale that differs from token to token "
            "cannot be folded"
        )
    if sae.cfg.reshape_activations != "none":
        raise ValueError(f"the SAE reads {sae.cfg.reshape_activations!r}, not the residual stream")
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        raise ValueError(
            "the SAE rescales activations by the norm of W_dec; call sae.fold_W_dec_norm() first"
        )


def _alphas(ranking: LatentRanking, latents: Int[Tensor, "k"], beta: float) -> Float[Tensor, "k"]:
    return ranking.mean[latents] + beta * ranking.std[latents]


def _weighted(
    sae: SAE, ranking: LatentRanking, latents: Int[Tensor, "k"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "d_model"]:
    _check_fit(sae, ranking)
    return _sum_of_directions(sae, latents, weights)


def _check_fit(sae: SAE, ranking: LatentRanking) -> None:
    check_decoder_units(sae)
    if len(ranking.mean) != sae.cfg.d_sae:
        raise ValueError(
            f"the ranking has {len(ranking.mean)} latents, the SAE {sae.cfg.d_sae}; "
            "give the SAE that the ranked activations come from"
        )


def _sum_of_directions(
    sae: SAE, latents: Int[Tensor, "k"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "d_model"]:
    W_dec = sae.W_dec.detach()
    return weights.to(W_dec) @ W_dec[latents.to(W_dec.device)]


def _layer(sae: SAE, layer: int | None) -> int:
    named = sae_layer(sae.cfg.to_dict())
    if layer is None and named is None:
        raise ValueError("the SAE does not name the layer it was trained on; give layer=")
    return named if layer is None else layer
