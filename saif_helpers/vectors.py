"""Steering vectors: what is added to the residual stream, z' = z + vector (standing: ours)."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor


def check_finite(name: str, value: float) -> None:
    """Refuse a factor that is not a number or infinite.

    Args:
        name: What the caller calls it.
        value: The factor.

    Raises:
        ValueError: If it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{name}={value} given; give a finite number")


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

    def __post_init__(self) -> None:
        """Take lists and arrays of numbers as well, and refuse what is no vector."""
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
        return sum_of_directions(self.sae, self.latents, self.values)

    @property
    def norm(self) -> float:
        """Length of what is added where none of the latents is active."""
        return self.vector.norm().item()

    def scaled(self, strength: float) -> "ClampedLatents":
        """Return the latents set to `strength` (finite) times the values; 0 switches them off."""
        check_finite("strength", strength)
        return replace(
            self, values=strength * self.values, description=f"{strength:g} x {self.description}"
        )


def sum_of_directions(
    sae: SAE, latents: Int[Tensor, "k"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "d_model"]:
    W_dec = sae.W_dec.detach()
    return (weights.to(W_dec) @ W_dec[latents.to(W_dec.device)]).to(weights.device)
