"""Interventions of a batch: what is added for each prompt, after which layers, at which positions.

`decoding` and `steering` apply them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from nnsight import Envoy
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.cache.entry import tensors_digest
from saif_helpers.latents import decode, encode
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import SAE, n_latents, sae_digest
from saif_helpers.placements import Positions, PositionScales, vector_in
from saif_helpers.vectors import ClampedLatents, SteeringVector

Intervention = SteeringVector | ClampedLatents
Steering = Intervention | Sequence[Intervention | Sequence[Intervention] | None] | None
"""One intervention for all prompts, or for each prompt one, several, or None."""
Change = Float[Tensor, "prompts 1 d_model"] | Callable[[Tensor], Tensor]
"""What is added to a residual stream, or a function that computes it from the stream."""


@dataclass(frozen=True, eq=False)
class Edit:
    """What is added after one layer.

    Attributes:
        layer: The layer.
        offsets: What is added for each prompt at a position of scale 1; zeros for nothing.
        placements: Placement and decay for each prompt, None for none.
        clamp: The SAE whose latents are clamped, which of them for each prompt, and for which
            prompts the SAE's reconstruction replaces the stream.
    """

    layer: int
    offsets: Float[Tensor, "prompts d_model"]
    placements: Sequence[tuple[Positions, float] | None]
    clamp: tuple[SAE, Bool[Tensor, "prompts d_sae"], Bool[Tensor, "prompts"]] | None = None

    def select(self, rows: Sequence[int]) -> "Edit":
        """Return the edit restricted to some prompts, by index."""
        clamp = self.clamp and (self.clamp[0], *(part[list(rows)] for part in self.clamp[1:]))
        placements = [self.placements[row] for row in rows]
        return replace(self, offsets=self.offsets[list(rows)], placements=placements, clamp=clamp)

    @property
    def change(self) -> Change:
        """What is added, or a function that computes it from the residual stream."""
        return self.offsets[:, None, :] if self.clamp is None else self._clamped

    def _clamped(
        self, residual: Float[Tensor, "prompts positions d_model"]
    ) -> Float[Tensor, "prompts positions d_model"]:
        """Return the change that moves this residual stream's clamped latents to their values."""
        (sae, which, replaced), stream = self.clamp, residual.to(self.clamp[1].device)
        there = encode(sae, stream)
        change = -(there * which[:, None, :]) @ sae.W_dec.detach()
        if replaced.any():
            error = stream.to(change) - decode(sae, there)
            change = change - error * replaced[:, None, None]
        return self.offsets[:, None, :].to(residual) + change.to(residual)


@dataclass(frozen=True, eq=False)
class BatchEdits:
    """All edits of a batch with their scales.

    Attributes:
        edits: The edits, in the order of their layers.
        scales: The scales of each edit.
    """

    edits: Sequence[Edit]
    scales: Sequence[PositionScales]

    def select(self, rows: Bool[Tensor, "prompts"]) -> "BatchEdits":
        """Return the edits restricted to the marked prompts."""
        kept = rows.nonzero()[:, 0].tolist()
        return BatchEdits(
            [edit.select(kept) for edit in self.edits], [one.select(rows) for one in self.scales]
        )

    @property
    def leave_prompts_alone(self) -> bool:
        """Whether nothing is added before a prompt's last token."""
        return not any(one.prompt[:, :-1].any() for one in self.scales)

    def for_trace(
        self, model: ModelWithSAEs, start: int, n_passes: int
    ) -> list[tuple[Envoy, Change, list[Float[Tensor, "prompts positions"]]]]:
        """Return what a trace needs: decoder layer, change, scales of the passes.

        Args:
            model: The model.
            start: The first pass.
            n_passes: Number of passes.

        Returns:
            An entry for each edit, which can be serialized without this package.
        """
        return [
            (model.layer(edit.layer), edit.change, scales.passes(start, n_passes))
            for edit, scales in zip(self.edits, self.scales, strict=True)
        ]


def edits_of(model: ModelWithSAEs, steering: Steering, n_prompts: int) -> list[Edit]:
    """Return what is added for each prompt after each layer.

    Args:
        model: The model.
        steering: One intervention for all prompts; or for each prompt one, several, or None.
        n_prompts: Number of prompts.

    Returns:
        The edits, on the model's device, in the order of their layers.

    Raises:
        ValueError: If a layer does not exist, a vector does not have d_model entries or overflows
            the model's dtype, there is not one entry for each prompt, or latents are clamped with
            two SAEs of one layer, in a remote model, or together with another intervention.
    """
    given = for_each_prompt(steering, n_prompts)
    if any(isinstance(one, ClampedLatents) for several in given for one in several):
        # The SAE encodes the stream in every pass, so it must be on the machine of the model.
        model.require_local("clamping latents")
    return [
        _edit(model, layer, chosen)
        for layer, chosen in sorted(_slots(given), key=lambda slot: slot[0])
    ]


def for_each_prompt(steering: Steering, n_prompts: int) -> list[list[Intervention]]:
    """List the interventions of each prompt.

    Args:
        steering: As for `edits_of`.
        n_prompts: Number of prompts.

    Returns:
        A list for each prompt, empty for one that is not steered.

    Raises:
        ValueError: If there is not one entry for each prompt, or an entry is not an intervention.
    """
    if steering is None or isinstance(steering, Intervention):
        steering = [steering] * n_prompts
    if isinstance(steering, Mapping | str) or not isinstance(steering, Sequence):
        raise ArgumentError(
            f"steering={type(steering).__name__} given; give a SteeringVector, or a list with one "
            "for each prompt",
            "steering",
        )
    if len(steering) != n_prompts:
        raise ArgumentError(
            f"{len(steering)} steering vectors given for {n_prompts} prompts; give one for each "
            "prompt, None for unsteered ones, or a single one for all",
            "steering",
        )
    found = []
    for one in steering:
        several = [] if one is None else [one] if isinstance(one, Intervention) else one
        wrong = [each for each in several if not isinstance(each, Intervention)]
        if wrong:
            raise ArgumentError(
                f"{type(wrong[0]).__name__} given as an intervention; give a SteeringVector",
                "steering",
            )
        found.append(list(several))
    return found


def _slots(
    given: Sequence[Sequence[Intervention]],
) -> Iterator[tuple[int, list[Intervention | None]]]:
    """Distribute the interventions over slots of one layer and at most one per prompt."""
    for layer in {one.layer for several in given for one in several}:
        here = [[one for one in several if one.layer == layer] for several in given]
        crowded = [one for several in here if len(several) > 1 for one in several]
        if any(isinstance(one, ClampedLatents) for one in crowded):
            raise ArgumentError(
                f"clamped latents and another intervention at layer {layer} for one prompt; clamp "
                "all latents of a layer with one ClampedLatents",
                "steering",
            )
        for slot in range(max(map(len, here))):
            yield layer, [one[slot] if slot < len(one) else None for one in here]


def _edit(model: ModelWithSAEs, layer: int, chosen: Sequence[Intervention | None]) -> Edit:
    model.layer(layer)
    offsets = torch.zeros(len(chosen), model.d_model, dtype=model.lm.dtype)
    for row, one in enumerate(chosen):
        if one is not None:
            offsets[row] = vector_in(one, model.d_model, model.lm.dtype, model.name)
    placements = [one and (one.placement, one.decay) for one in chosen]
    return Edit(layer, offsets.to(model.device), placements, _clamp(layer, chosen))


def _clamp(
    layer: int, chosen: Sequence[Intervention | None]
) -> tuple[SAE, Bool[Tensor, "prompts d_sae"], Bool[Tensor, "prompts"]] | None:
    clamps = {row: one for row, one in enumerate(chosen) if isinstance(one, ClampedLatents)}
    if not clamps:
        return None
    sae = next(iter(clamps.values())).sae
    if any(one.sae is not sae for one in clamps.values()):
        raise ArgumentError(
            f"latents of two SAEs of layer {layer} given to clamp; use one SAE", "steering"
        )
    which = torch.zeros(len(chosen), n_latents(sae), dtype=torch.bool)
    replaced = torch.zeros(len(chosen), dtype=torch.bool)
    for row, one in clamps.items():
        which[row, one.latents.cpu()] = True
        replaced[row] = not one.keep_error
    return sae, which.to(sae.W_dec.device), replaced.to(sae.W_dec.device)


def intervention_keys(steering: Steering, n_prompts: int) -> list[list | None]:
    """Return a key for the steering of each prompt, equal for equal interventions.

    Args:
        steering: As for `edits_of`.
        n_prompts: Number of prompts.

    Returns:
        None for a prompt that is not steered, else for each intervention its layer, placement and
        decay, and the sha256 sum of the vector, or of the clamped latents, their values and their
        SAE; JSON-serializable.
    """
    given = for_each_prompt(steering, n_prompts)
    single = {id(one): one for several in given for one in several}
    keys = {key: _key(one) for key, one in single.items()}
    return [[keys[id(one)] for one in several] or None for several in given]


def _key(one: Intervention) -> list:
    if isinstance(one, ClampedLatents):
        about = sae_digest(one.sae) + ("" if one.keep_error else ", decoded")
        digest = tensors_digest({"latents": one.latents, "values": one.values}, about)
    else:
        digest = tensors_digest({"vector": one.vector})
    placement = one.placement if isinstance(one.placement, str) else repr(one.placement)
    return [one.layer, digest, placement, one.decay if placement == "decaying" else None]
