"""Placements: the positions of prompt and output at which a vector is added.

The abstract does not say at which positions the paper adds its vector, so the placement is a
parameter (standing: ours). The docstring of `steering.generate` tabulates them.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saif_helpers._internal.arguments import ArgumentError, check_finite, number, whole_number
from saif_helpers._internal.checked import checked

Placement = Literal["last_prompt_token", "every_position", "generated_tokens", "decaying"]
PLACEMENTS: tuple[Placement, ...] = (
    "last_prompt_token",
    "every_position",
    "generated_tokens",
    "decaying",
)
Positions = Placement | slice | tuple[bool, ...]
Intervened = TypeVar("Intervened", bound="Placed")  # like typing.Self, but supported by beartype


def check_placement(placement: Positions, decay: float) -> None:
    """Raise if a placement is unknown, or a decay is not between 0 and 1.

    Args:
        placement: The positions, see `SteeringVector`.
        decay: Factor from one generated token to the next.

    Raises:
        ValueError: If the placement is unknown, or the decay is not between 0 and 1.
    """
    named = isinstance(placement, str) and placement in PLACEMENTS
    mask = isinstance(placement, tuple) and all(isinstance(one, bool) for one in placement)
    span = isinstance(placement, slice) and placement.step in (None, 1)
    span = span and {type(placement.start), type(placement.stop)} <= {int, type(None)}
    if not (named or span or (mask and placement)):
        raise ArgumentError(
            f"placement {placement!r} given; give one of {', '.join(PLACEMENTS)}, a slice of "
            "the prompt's tokens, or a tuple with True or False for each of them",
            "placement",
        )
    if not 0 <= number("decay", decay) <= 1:
        raise ArgumentError(f"decay={decay} given; give a number from 0 to 1", "decay")


def describe_placement(placement: Positions, decay: float) -> str:
    """Describe a placement, as in "decaying by 0.5".

    >>> describe_placement("decaying", 0.5), describe_placement(slice(-3, None), 1.0)
    ('decaying by 0.5', 'prompt tokens -3 to the end')

    Args:
        placement: The positions.
        decay: Factor from one generated token to the next.

    Returns:
        The description.
    """
    if isinstance(placement, str):
        fading = f" by {decay:g}" if placement == "decaying" else ""
        return f"{placement.replace('_', ' ')}{fading}"
    if isinstance(placement, slice):
        stop = "the end" if placement.stop is None else f"{placement.stop}"
        return f"prompt tokens {placement.start or 0} to {stop}"
    return f"{sum(placement)} of {len(placement)} prompt tokens"


@dataclass(frozen=True, eq=False)
class Placed:
    """Base class of interventions with the place where they apply.

    Attributes:
        layer: The layer after which it applies, counted from 0.
        placement: The positions: one of `PLACEMENTS` (see `steering.generate`), a slice of the
            prompt's tokens, or a mask, a tuple of bools with one entry for each of them.
        decay: Factor from one generated token to the next, for the placement ``"decaying"``.
        strength: Factor that the intervention has been scaled by, already applied.
    """

    fixed: ClassVar[bool] = True
    """Whether `vector` is added regardless of the residual stream."""
    layer: int
    _: KW_ONLY
    placement: Positions = "last_prompt_token"
    decay: float = 0.8
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Raise if the layer, placement or a factor is not valid."""
        whole_number("layer", self.layer, least=0)
        check_placement(self.placement, self.decay)
        check_finite("strength", self.strength)

    @checked
    def at(self: Intervened, placement: Positions, decay: float | None = None) -> Intervened:
        """Return the same intervention at other positions.

        >>> vector.at("decaying", decay=0.5)

        Args:
            placement: The positions.
            decay: Factor from one generated token to the next; by default unchanged.

        Returns:
            The intervention with another placement.

        Raises:
            ValueError: If the placement is unknown, or the decay is not between 0 and 1.
        """
        return replace(self, placement=placement, decay=self.decay if decay is None else decay)

    @property
    def where(self) -> str:
        """Description of the place, as in "layer 2, decaying by 0.5, strength 4"."""
        return f"layer {self.layer}, {describe_placement(self.placement, self.decay)}, " + (
            f"strength {self.strength:g}"
        )

    def __str__(self) -> str:
        """Describe the intervention, as in "SAIF, k = 15, beta = 0 (layer 2, ...)"."""
        return f"{self.description} ({self.where})"


def vector_in(
    placed: Placed, d_model: int, dtype: torch.dtype, name: str
) -> Float[Tensor, "d_model"]:
    """Return the vector of an intervention in the dtype of the model.

    Args:
        placed: The intervention.
        d_model: Width of the model's residual stream.
        dtype: The model's dtype.
        name: Name of the model.

    Returns:
        The vector, on the CPU.

    Raises:
        ValueError: If it does not have d_model entries, or is not finite in that dtype.
    """
    vector, what = placed.vector, f"the steering vector ({placed.description}"
    if len(vector) != d_model:
        said = f"{what}) has {len(vector)} entries; {name} has d_model {d_model}"
        raise ArgumentError(said, "vector")
    if not vector.isfinite().all():
        raise ArgumentError(f"{what}) is not finite; make it from finite activations", "vector")
    cast = vector.to("cpu", dtype)
    if not cast.isfinite().all():
        raise ArgumentError(
            f"{what}, strength {placed.strength:g}) is not finite in {dtype}; steer less, or load "
            "the model with dtype=torch.bfloat16 or torch.float32",
            "strength",
        )
    return cast


@dataclass(frozen=True, eq=False)
class PositionScales:
    """Scale of an intervention at each position of a pass, for each prompt of a batch.

    Pass 0 reads the prompts, pass t the t-th generated token.

    Attributes:
        prompt: Scale at each token of the prompts.
        generated: Scale at the generated tokens, before any decay.
        decay: Factor from one generated token to the next.
    """

    prompt: Float[Tensor, "prompts tokens"]
    generated: Float[Tensor, "prompts"]
    decay: Float[Tensor, "prompts"]

    def at(self, step: int) -> Float[Tensor, "prompts positions"] | None:
        """Return the scales in a pass; None if nothing is added from then on."""
        if step == 0:
            return self.prompt
        if not self.generated.any():
            return None
        return (self.generated * self.decay**step).float()[:, None]

    def select(self, rows: Bool[Tensor, "prompts"]) -> "PositionScales":
        """Return the scales of the marked prompts."""
        return PositionScales(self.prompt[rows], self.generated[rows], self.decay[rows])

    def passes(self, start: int, n_passes: int) -> list[Float[Tensor, "prompts positions"]]:
        """Return the scales of several passes, up to the last with a non-zero scale."""
        scales = map(self.at, range(start, start + n_passes))
        return [scale for scale in scales if scale is not None]


def position_scales(
    counted: Bool[Tensor, "prompts tokens"],
    padding: Sequence[int],
    placements: Sequence[tuple[Positions, float] | None],
) -> PositionScales:
    """Compute the scale at each position from each prompt's placement.

    Args:
        counted: Mask of the prompts' tokens that count, see `tokens.without_bos`.
        padding: Number of padding tokens before each prompt.
        placements: Placement and decay for each prompt; None for no intervention.

    Returns:
        The scales.

    Raises:
        ValueError: If a mask does not have as many entries as its prompt has tokens.
    """
    prompt = torch.zeros(counted.shape)
    generated, decay = torch.zeros(len(counted)), torch.ones(len(counted), dtype=torch.float64)
    for row, given in enumerate(placements):
        if given is None:
            continue
        placement, factor = given
        marked, own = prompt[row], counted[row, padding[row] :]
        if placement == "every_position":
            marked[:] = counted[row].float()
        elif placement in ("last_prompt_token", "decaying"):
            marked[-1] = 1.0
        elif isinstance(placement, slice):
            chosen = torch.zeros(len(own), dtype=torch.bool)
            chosen[placement] = True
            marked[padding[row] :] = (chosen & own).float()
        elif isinstance(placement, tuple):
            if len(placement) != len(own):
                raise ArgumentError(
                    f"a placement with {len(placement)} entries given for a prompt of {len(own)} "
                    "tokens; give True or False for each token, the first one included",
                    "placement",
                )
            marked[padding[row] :] = (torch.tensor(placement) & own).float()
        if placement in ("every_position", "generated_tokens", "decaying"):
            generated[row] = 1.0
        if placement == "decaying":
            decay[row] = factor
    return PositionScales(prompt, generated, decay)
