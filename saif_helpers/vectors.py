"""Steering vectors and where they are added to the residual stream (z' = z + vector, ours).

The abstract does not say at which positions the paper adds its vector, so the placement is part of
a vector here (standing: ours).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saif_helpers._internal.arguments import check_finite, check_ids, check_same_lengths
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.tensors import as_tensor
from saif_helpers.export.hooks import steered
from saif_helpers.export.model_identity import Model
from saif_helpers.export.steering_vectors import to_steering_vectors
from saif_helpers.export.vector_files import load_vector, save_vector
from saif_helpers.latents import layer_to_steer, sum_of_directions
from saif_helpers.model.saes import SAE, check_decoder_units, n_latents
from saif_helpers.placements import Placed, Positions


@checked(but=("vector",))
@dataclass(frozen=True, eq=False)
class SteeringVector(Placed):
    """A vector to add to the residual stream after a layer, with its placement.

    >>> vector = saif.SteeringVector(2, organism.saes[2].W_dec[17].detach())
    >>> print(vector.scaled(4.0).at("decaying", decay=0.5))
    a vector (layer 2, decaying by 0.5, strength 4)

    Attributes:
        layer: The layer after which it is added, counted from 0.
        vector: The vector, in residual-stream units, as added at a position of scale 1.
        description: Its origin, for tables and figures.
        placement: The positions: ``"last_prompt_token"``, ``"every_position"``,
            ``"generated_tokens"`` or ``"decaying"`` (see `steering.generate`), a slice of the
            prompt's tokens, or a tuple with True or False for each of them.
        decay: Factor from one generated token to the next, for the placement ``"decaying"``.
        strength: Factor that the vector has been scaled by; `vector` includes it.
    """

    vector: Float[Tensor, "d_model"]
    description: str = "a vector"

    def __post_init__(self) -> None:
        """Convert lists and arrays of numbers, and raise if the result is not a vector."""
        super().__post_init__()
        vector = as_tensor("vector", self.vector)
        if vector.ndim != 1 or not vector.is_floating_point() or not len(vector):
            said = f"a steering vector of shape {tuple(vector.shape)} and {vector.dtype} given"
            raise ArgumentError(f"{said}; give a floating-point number per dimension", "vector")
        object.__setattr__(self, "vector", vector)

    @property
    def norm(self) -> float:
        """L2 norm of the vector."""
        return self.vector.norm().item()

    @checked
    def scaled(self, strength: float) -> "SteeringVector":
        """Return the vector times `strength`, which must be finite."""
        check_finite("strength", strength)
        return replace(self, vector=strength * self.vector, strength=strength * self.strength)

    @checked
    def save(
        self,
        path: str | Path,
        model: Model | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Save the vector to a safetensors file, with its placement and its model.

        >>> vector.save("french.safetensors", organism, settings={"k": 15})

        Args:
            path: The file.
            model: The model that it steers, so that `load` can compare configurations.
            settings: Other JSON-serializable data to save; `vector_files.about_vector` reads it.

        Raises:
            ValueError: If the vector does not fit the model, or the settings are not JSON.
            OSError: If the file cannot be written.
        """
        save_vector(path, self, model, settings)

    @classmethod
    @checked
    def load(cls, path: str | Path, model: Model | None = None) -> "SteeringVector":
        """Load a vector written by `save`.

        >>> vector.save("french.safetensors", organism)
        >>> same = saif.SteeringVector.load("french.safetensors", organism)

        Args:
            path: The file.
            model: The model to steer; if None, it is not checked.

        Returns:
            The steering vector.

        Raises:
            ValueError: If the file is damaged or not a vector, or the vector belongs to a model
                with another d_model, number of layers or configuration. Names are not compared.
            OSError: If the file cannot be read.
        """
        vector, fields = load_vector(path, model)
        return cls(vector=vector, **fields)

    @checked
    def apply(
        self, model: Any, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> AbstractContextManager[PreTrainedModel]:
        """Steer a plain transformers model inside a context, with removable hooks.

        Greedy generation equals `steering.generate`. A single pass counts as one over a prompt.

        >>> options = {"add_special_tokens": False, "return_tensors": "pt"}
        >>> tokens = organism.tokenizer(prompts[0], **options)
        >>> with vector.apply(organism.hf, organism.tokenizer) as hf_model:
        ...     ids = hf_model.generate(**tokens, do_sample=False, max_new_tokens=5)

        Args:
            model: A transformers causal language model, such as `ModelWithSAEs.hf`. Its input must
                be token ids, padded on the left, and its cache must be enabled.
            tokenizer: Its tokenizer, whose beginning-of-sequence token is never steered; by default
                that token is taken from the model's configuration.

        Returns:
            A context manager that yields the model.

        Raises:
            ValueError: If the model is not a supported transformers model, has no such layer or
                another d_model, or the vector is not finite in its dtype; in a pass, if it is
                ambiguous whether it reads a prompt or generated tokens.
        """
        return steered(model, self, tokenizer)

    def to_steering_vectors(self) -> Any:
        """Convert it to the library; see `export.steering_vectors.to_steering_vectors`."""
        return to_steering_vectors(self)

    @classmethod
    @checked
    def from_latents(
        cls,
        sae: SAE,
        latents: Mapping[int, float] | Sequence[int],
        *,
        layer: int | None = None,
        placement: Positions = "every_position",
    ) -> "SteeringVector":
        """Build a vector from latent ids: sum_j strength_j W_dec[j].

        >>> print(saif.SteeringVector.from_latents(organism.saes[2], {17: 8.0, 40: -2.5}))
        latents 8 x 17 + -2.5 x 40 (layer 2, every position, strength 1)

        Args:
            sae: The SAE.
            latents: Latent id to strength, in units of the latent's activation (see
                `usual_activations` for typical values); or ids, for strength 1 each.
            layer: The layer to steer, if the SAE does not specify it.
            placement: The positions at which the vector is added.

        Returns:
            The steering vector.

        Raises:
            ValueError: If a latent does not exist, there are no latents, a strength is not finite,
                the SAE's decoder is not in residual-stream units, or the layer is unknown.
        """
        check_decoder_units(sae)
        check_ids("latent", [*latents], n_latents(sae))
        strengths = dict(latents) if isinstance(latents, Mapping) else dict.fromkeys(latents, 1.0)
        for latent, strength in strengths.items():
            check_finite(f"strength of latent {latent}", strength)
        at = layer_to_steer(sae, layer)
        ids = torch.tensor(list(strengths))
        vector = sum_of_directions(sae, ids, torch.tensor([*strengths.values()]).float())
        words = " + ".join(f"{strength:g} x {latent}" for latent, strength in strengths.items())
        return cls(at, vector, f"latents {words}", placement=placement)


@checked
@dataclass(frozen=True, eq=False)
class ClampedLatents(Placed):
    """Latents to clamp to given activations after a layer, z' = z + sum_j (v_j - a_j(z)) W_dec[j].

    >>> top = ranking.top(2)
    >>> print(saif.ClampedLatents(0, sae, top, ranking.mean[top]).at("every_position"))
    clamped latents (layer 0, every position, strength 1)

    Attributes:
        layer: The layer after which they are clamped.
        sae: The SAE of the layer.
        latents: The latent ids.
        values: The activation to which each is clamped.
        description: Their origin.
        keep_error: Whether to keep the SAE's reconstruction error; published code often drops it.
        placement: The positions, as for a `SteeringVector`.
        decay: As for a `SteeringVector`.
        strength: Factor that the values have been scaled by.
    """

    fixed: ClassVar[bool] = False
    sae: SAE
    latents: Int[Tensor, "k"]
    values: Float[Tensor, "k"]
    description: str = "clamped latents"
    keep_error: bool = True

    def __post_init__(self) -> None:
        """Raise if a latent does not exist, or the SAE belongs to another layer."""
        super().__post_init__()
        check_ids("latent", self.latents.tolist(), n_latents(self.sae))
        check_same_lengths(latents=self.latents, values=self.values)
        layer_to_steer(self.sae, self.layer)

    @property
    def vector(self) -> Float[Tensor, "d_model"]:
        """What is added if none of the latents is active."""
        return sum_of_directions(self.sae, self.latents, self.values)

    @property
    def norm(self) -> float:
        """L2 norm of what is added if none of the latents is active."""
        return self.vector.norm().item()

    @checked
    def scaled(self, strength: float) -> "ClampedLatents":
        """Return the latents clamped to `strength` (finite) times the values; 0 ablates them."""
        check_finite("strength", strength)
        return replace(self, values=strength * self.values, strength=strength * self.strength)
