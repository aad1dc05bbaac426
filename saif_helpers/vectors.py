"""Steering vectors: what is added to the residual stream, and where (z' = z + vector, ours).

At which positions of the generation the paper adds its vector is not known, so the placement is
part of a vector here (standing: ours).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor

from saif_helpers.model.saes import check_decoder_units, sae_layer
from saif_helpers.placements import Placed, Positions


def check_finite(name: str, value: float) -> None:
    """Raise if a factor is not a finite number.

    Args:
        name: What the caller calls it.
        value: The factor.

    Raises:
        ValueError: If it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{name}={value} given; give a finite number")


@dataclass(frozen=True, eq=False)
class SteeringVector(Placed):
    """A direction to add to the residual stream after a layer, and at which positions.

    >>> vector = SteeringVector(2, organism.saes[2].W_dec[17].detach())
    >>> print(vector.scaled(4).at("decaying", decay=0.5))
    a vector (layer 2, decaying by 0.5, strength 4)

    Attributes:
        layer: The layer after which it is added, counted from 0.
        vector: What is added at a position of weight 1, in residual-stream units.
        description: How it was made, for tables and figures.
        placement: At which positions: ``"last_prompt_token"``, ``"every_position"``,
            ``"generated_tokens"`` or ``"decaying"`` (see `steering.generate`), a slice of the
            prompt's tokens, or a tuple with True or False for each of them.
        decay: Factor from one generated token to the next, in the placement ``"decaying"``.
        strength: Factor that the vector has been scaled by; `vector` includes it.
    """

    vector: Float[Tensor, "d_model"]
    description: str = "a vector"

    def __post_init__(self) -> None:
        """Take lists and arrays of numbers as well, and refuse what is no vector."""
        super().__post_init__()
        if not isinstance(self.vector, Tensor):
            object.__setattr__(self, "vector", torch.as_tensor(self.vector, dtype=torch.float32))
        if self.vector.ndim != 1 or not self.vector.is_floating_point():
            raise ValueError(
                f"a steering vector of shape {tuple(self.vector.shape)} and {self.vector.dtype} "
                "given; give one floating-point number for each entry of the residual stream"
            )

    @property
    def norm(self) -> float:
        """Length of the vector."""
        return self.vector.norm().item()

    def scaled(self, strength: float) -> "SteeringVector":
        """Return the vector times `strength`, which must be finite."""
        check_finite("strength", strength)
        return replace(self, vector=strength * self.vector, strength=strength * self.strength)

    @classmethod
    def from_latents(
        cls,
        sae: SAE,
        latents: Mapping[int, float] | Sequence[int],
        *,
        layer: int | None = None,
        placement: Positions = "every_position",
    ) -> "SteeringVector":
        """Build a vector from latents by their ids: sum_j strength_j W_dec[j].

        >>> SteeringVector.from_latents(organism.saes[2], {17: 8.0, 40: -2.5})

        Args:
            sae: The SAE.
            latents: Latent id to strength, in units of the latent's activation (see
                `usual_activations` for what is usual); or ids alone, for strength 1 each.
            layer: The layer to steer, where the SAE does not name the layer that it was trained on.
            placement: At which positions the vector is added.

        Returns:
            The steering vector.

        Raises:
            ValueError: If there is no such latent or no latent at all, a strength is not finite,
                the SAE's decoder is not in residual-stream units, or the layer is not known.
        """
        strengths = dict(latents) if isinstance(latents, Mapping) else dict.fromkeys(latents, 1.0)
        check_decoder_units(sae)
        d_sae = sae.cfg.d_sae
        unknown = [latent for latent in strengths if not 0 <= latent < d_sae]
        if unknown or not strengths:
            raise ValueError(
                f"latents {list(strengths)} asked for; give one or more from 0 to {d_sae - 1}"
            )
        for latent, strength in strengths.items():
            check_finite(f"strength of latent {latent}", strength)
        named = sae_layer(sae.cfg.to_dict())
        if None not in (named, layer) and named != layer:
            raise ValueError(f"layer {layer} is to be steered with an SAE of layer {named}")
        at = layer if named is None else named
        if at is None:
            raise ValueError("the SAE does not name the layer it was trained on; give layer=")
        ids = torch.tensor(list(strengths))
        vector = sum_of_directions(sae, ids, torch.tensor([*strengths.values()]).float())
        words = " + ".join(f"{strength:g} x {latent}" for latent, strength in strengths.items())
        return cls(at, vector, f"latents {words}", placement=placement)


@dataclass(frozen=True, eq=False)
class ClampedLatents(Placed):
    """Latents to set to given activations after a layer, instead of adding to what they have.

    z' = z + sum_j (value_j - a_j(z)) W_dec[j], so what the SAE does not explain stays as it is. It
    can be given wherever a `SteeringVector` can.

    Attributes:
        layer: The layer after which they are set.
        sae: The SAE of the layer.
        latents: Which latents.
        values: The activation that each is set to.
        description: How they were chosen, for tables and figures.
        placement: At which positions, as for a `SteeringVector`.
        decay: As for a `SteeringVector`.
        strength: Factor that the values have been scaled by.
    """

    fixed: ClassVar[bool] = False
    sae: SAE
    latents: Int[Tensor, "k"]
    values: Float[Tensor, "k"]
    description: str = "clamped latents"

    @property
    def vector(self) -> Float[Tensor, "d_model"]:
        """What is added where none of the latents is active."""
        return sum_of_directions(self.sae, self.latents, self.values)

    @property
    def norm(self) -> float:
        """Length of what is added where none of the latents is active."""
        return self.vector.norm().item()

    def scaled(self, strength: float) -> "ClampedLatents":
        """Return the latents set to `strength` (finite) times the values; 0 switches them off."""
        check_finite("strength", strength)
        return replace(self, values=strength * self.values, strength=strength * self.strength)


def sum_of_directions(
    sae: SAE, latents: Int[Tensor, "k"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "d_model"]:
    """Return a weighted sum of decoder directions.

    Args:
        sae: The SAE.
        latents: Which latents.
        weights: The weight of each.

    Returns:
        sum over j of weight_j W_dec[latent_j], on the device of `weights`.
    """
    W_dec = sae.W_dec.detach()
    return (weights.to(W_dec) @ W_dec[latents.to(W_dec.device)]).to(weights.device)
