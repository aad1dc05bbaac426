"""What is added to the residual stream: for which prompt, after which layer, at which positions.

At which positions of the generation the paper adds its vector is not known, so the placement is a
parameter (standing: ours). `steering` carries out what is worked out here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import torch
from jaxtyping import Bool, Float
from nnsight import Envoy
from sae_lens import SAE
from torch import Tensor

from saif_helpers._internal.types import PLACEMENTS, Placement
from saif_helpers.cache.entry import tensors_digest
from saif_helpers.latents import encode
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.vectors import ClampedLatents, SteeringVector, check_finite

Intervention = SteeringVector | ClampedLatents
Steering = Intervention | Sequence[Intervention | None] | None
Weights = Callable[[int], Float[Tensor, "#rows positions"] | None]
"""Pass of the model to the factor of what is added at each position that it reads."""
Change = Float[Tensor, "prompts 1 d_model"] | Callable[[Tensor], Tensor]
"""What is added to a residual stream, or the function of the stream that works it out."""


@dataclass(frozen=True, eq=False)
class Additions:
    """What each prompt of a batch gets, by layer.

    Attributes:
        offsets: Layer to what is added for each prompt, zeros for none; layers in order.
        clamps: Layer to the SAE whose latents are clamped there, and which of them for each prompt.
    """

    offsets: Mapping[int, Float[Tensor, "prompts d_model"]]
    clamps: Mapping[int, tuple[SAE, Bool[Tensor, "prompts d_sae"]]]

    def of(self, rows: Sequence[int] | Bool[Tensor, "prompts"]) -> "Additions":
        """Return those of some of the prompts, given by their numbers or marked."""
        return Additions(
            {layer: offset[rows] for layer, offset in self.offsets.items()},
            {layer: (sae, which[rows]) for layer, (sae, which) in self.clamps.items()},
        )

    def changes(self, model: ModelWithSAEs) -> list[tuple[Envoy, Change]]:
        """List what a trace needs to add everything, in the order of the layers.

        Args:
            model: The model.

        Returns:
            Decoder layers, each with what is added after it at a position of weight 1.
        """
        return [
            (
                model.layer(layer),
                partial(self._clamped, layer) if layer in self.clamps else offset[:, None, :],
            )
            for layer, offset in self.offsets.items()
        ]

    def _clamped(
        self, layer: int, residual: Float[Tensor, "prompts positions d_model"]
    ) -> Float[Tensor, "prompts positions d_model"]:
        """Work out what moves this residual stream's clamped latents to their values."""
        sae, which = self.clamps[layer]
        there = encode(sae, residual.to(which.device)) * which[:, None, :]
        offset = self.offsets[layer][:, None, :].to(residual)
        return offset - (there @ sae.W_dec.detach()).to(residual)


def additions(
    model: ModelWithSAEs, steering: Steering, n_prompts: int, strength: float = 1.0
) -> Additions:
    """Work out what each prompt gets added.

    Args:
        model: The model.
        steering: One vector or clamp for all prompts, or one or None for each, or None.
        n_prompts: Number of prompts.
        strength: Factor on every vector.

    Returns:
        The additions, on the model's device.

    Raises:
        ValueError: If a layer does not exist, the strength is not finite, a vector is not d_model
            long or not finite in the model's number format, there is not one for each prompt, or
            latents are clamped of two SAEs of one layer or in a remote model.
    """
    check_finite("strength", strength)
    given = _for_each_prompt(steering, n_prompts)
    if any(isinstance(one, ClampedLatents) for one in given):
        # The SAE reads the stream in every pass, so it would have to be where the model is.
        model.require_local("clamping latents")
    return Additions(_offsets(model, given, strength), _clamps(given))


def _for_each_prompt(steering: Steering, n_prompts: int) -> list[Intervention | None]:
    """Write out what each prompt is steered with."""
    if steering is None or isinstance(steering, Intervention):
        return [steering] * n_prompts
    if isinstance(steering, Mapping) or not isinstance(steering, Sequence):
        raise ValueError(
            f"steering={type(steering).__name__} given; give a SteeringVector, or a list with one "
            "for each prompt"
        )
    if len(steering) != n_prompts:
        raise ValueError(
            f"{len(steering)} steering vectors given for {n_prompts} prompts; give one for each "
            "prompt, None for those not to steer, or a single one for all"
        )
    return list(steering)


def _offsets(
    model: ModelWithSAEs, interventions: Sequence[Intervention | None], strength: float
) -> dict[int, Float[Tensor, "prompts d_model"]]:
    offsets = {}
    for layer in sorted({given.layer for given in interventions if given is not None}):
        model.layer(layer)
        offsets[layer] = torch.zeros(len(interventions), model.d_model, dtype=model.lm.dtype)
    for row, given in enumerate(interventions):
        if given is not None:
            vector = given.vector
            if len(vector) != model.d_model:
                raise ValueError(
                    f"the steering vector ({given.description}) has {len(vector)} entries; "
                    f"{model.name} has d_model {model.d_model}"
                )
            steered = (strength * vector).to(offsets[given.layer])
            if not vector.isfinite().all():
                raise ValueError(
                    f"the steering vector ({given.description}) has entries that are not finite; "
                    "make it from finite activations"
                )
            if not steered.isfinite().all():
                raise ValueError(
                    f"the steering vector ({given.description}) times strength={strength} is not "
                    f"finite in {model.lm.dtype}; steer less, or load the model with "
                    "dtype=torch.bfloat16 or torch.float32"
                )
            offsets[given.layer][row] = steered
    return {layer: offset.to(model.device) for layer, offset in offsets.items()}


def _clamps(
    interventions: Sequence[Intervention | None],
) -> dict[int, tuple[SAE, Bool[Tensor, "prompts d_sae"]]]:
    clamps = {}
    for row, clamp in enumerate(interventions):
        if isinstance(clamp, ClampedLatents):
            nothing = torch.zeros(len(interventions), clamp.sae.cfg.d_sae, dtype=torch.bool)
            sae, which = clamps.setdefault(clamp.layer, (clamp.sae, nothing))
            if sae is not clamp.sae:
                raise ValueError(
                    f"latents of two SAEs of layer {clamp.layer} to clamp in one call; use one SAE"
                )
            which[row, clamp.latents.cpu()] = True
    return {layer: (sae, which.to(sae.W_dec.device)) for layer, (sae, which) in clamps.items()}


def intervention_keys(steering: Steering, n_prompts: int) -> list[list | None]:
    """Tell what each prompt is steered with, so that equal interventions have equal keys.

    Args:
        steering: As for `additions`.
        n_prompts: Number of prompts.

    Returns:
        None for a prompt that is not steered, else the layer and the sha256 sum of the vector, or
        of the clamped latents, their values and their SAE; as JSON can hold it.
    """
    given = _for_each_prompt(steering, n_prompts)
    saes = {id(one.sae): one.sae for one in given if isinstance(one, ClampedLatents)}
    sums = {
        key: tensors_digest(sae.state_dict(), [type(sae).__name__, sae.cfg.to_dict()])
        for key, sae in saes.items()
    }
    keys: dict[int, list | None] = {id(None): None}
    for one in {id(one): one for one in given if one is not None}.values():
        if isinstance(one, ClampedLatents):
            clamped = {"latents": one.latents, "values": one.values}
            keys[id(one)] = [one.layer, tensors_digest(clamped, sums[id(one.sae)])]
        else:
            keys[id(one)] = [one.layer, tensors_digest({"vector": one.vector})]
    return [keys[id(one)] for one in given]


def check_placement(placement: Placement, decay: float) -> None:
    """Refuse a placement that there is not, or a decay that would grow or mean nothing.

    Args:
        placement: Where to add, see `generate`.
        decay: Factor from one generated token to the next.

    Raises:
        ValueError: If the placement is unknown, or the decay not between 0 and 1.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f"placement {placement!r} asked for; give one of {', '.join(PLACEMENTS)}")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay={decay} asked for; give a number from 0 to 1")


def position_weights(
    counted: Bool[Tensor, "rows tokens"], placement: Placement, decay: float
) -> Weights:
    """Return the factor of what is added at each position read in pass 0, 1, 2...

    Args:
        counted: Which of the prompts' tokens count, see `tokens.without_bos`.
        placement: Where to add, see `generate`.
        decay: Factor from one generated token to the next, in the placement ``"decaying"``.

    Returns:
        Pass 0 reads the prompts, pass t the t-th generated token, where all rows share one factor.
        None means that nothing is added in this pass and all later ones.

    Raises:
        ValueError: As `check_placement`.
    """
    check_placement(placement, decay)
    prompt = torch.zeros(counted.shape)
    if placement == "every_position":
        prompt = counted.float()
    elif placement != "generated_tokens":
        prompt[:, -1] = 1.0
    token = torch.ones(1, 1)

    def weights(step: int) -> Float[Tensor, "#rows positions"] | None:
        if step == 0:
            return prompt
        if placement == "last_prompt_token":
            return None
        return token * decay**step if placement == "decaying" else token

    return weights


def pass_factors(
    weights: Weights, start: int, n_passes: int
) -> list[Float[Tensor, "#rows positions"]]:
    """Write out the factors of some passes, which can be sent where the function cannot.

    Args:
        weights: What `position_weights` returned.
        start: The first pass.
        n_passes: Number of passes.

    Returns:
        The factors, up to the last pass in which something is added.
    """
    passes = range(start, start + n_passes)
    return list(takewhile(lambda factor: factor is not None, map(weights, passes)))
