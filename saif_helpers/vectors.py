"""Steering vectors: what is added to the residual stream, and where (z' = z + vector, ours).

At which positions of the generation the paper adds its vector is not known, so the placement is
part of a vector here (standing: ours).
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
    """A direction to add to the residual stream after a layer, and at which positions.

    >>> vector = saif.SteeringVector(2, organism.saes[2].W_dec[17].detach())
    >>> print(vector.scaled(4.0).at("decaying", decay=0.5))
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
        vector = as_tensor("vector", self.vector)
        if vector.ndim != 1 or not vector.is_floating_point() or not len(vector):
            raise ValueError(
                f"a steering vector of shape {tuple(vector.shape)} and {vector.dtype} "
                "given; give one floating-point number for each entry of the residual stream"
            )
        object.__setattr__(self, "vector", vector)

    @property
    def norm(self) -> float:
        """Length of the vector."""
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
        """Keep the vector in a safetensors file, with where it is added and of which model it is.

        >>> vector.save("french.safetensors", organism, settings={"k": 15})

        Args:
            path: The file.
            model: The model that it steers, whose configuration `load` then compares.
            settings: What else to keep, as JSON can hold it; `vector_files.about_vector` reads it.

        Raises:
            ValueError: If the model has another d_model or too few layers, or the settings cannot
                be written as JSON.
            OSError: If the file cannot be written.
        """
        save_vector(path, self, model, settings)

    @classmethod
    @checked
    def load(cls, path: str | Path, model: Model | None = None) -> "SteeringVector":
        """Read a vector that `save` wrote, exactly as it was.

        >>> vector.save("french.safetensors", organism)
        >>> same = saif.SteeringVector.load("french.safetensors", organism)

        Args:
            path: The file.
            model: The model to steer; by default none is compared.

        Returns:
            The steering vector.

        Raises:
            ValueError: If the file is damaged or another one, or the vector of a model with another
                d_model, number of layers or configuration. The model's name does not matter.
            OSError: If the file cannot be read.
        """
        vector, fields = load_vector(path, model)
        return cls(vector=vector, **fields)

    @checked
    def apply(
        self, model: Any, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> AbstractContextManager[PreTrainedModel]:
        """Steer a plain transformers model for a while, with hooks that are gone afterwards.

        Greedy generation gives the tokens that `steering.generate` gives. Several vectors may be
        applied one inside the other. A single pass counts as one that reads a prompt.

        >>> tokens = organism.tokenizer(prompts[0], add_special_tokens=False, return_tensors="pt")
        >>> with vector.apply(organism.hf, organism.tokenizer) as hf_model:
        ...     ids = hf_model.generate(**tokens, do_sample=False, max_new_tokens=5)

        Args:
            model: A transformers causal language model, such as `ModelWithSAEs.hf`. Give it token
                ids, padded on the left if at all, and let it use its cache.
            tokenizer: Its tokenizer, whose beginning-of-sequence token is never steered; by default
                the one that the model's configuration names.

        Returns:
            A context manager that yields the model.

        Raises:
            ValueError: If the model is none of transformers or not supported, has no such layer or
                another d_model, or the vector is not finite in its dtype; in a pass, if it cannot
                be told whether it reads a prompt or what was generated.
        """
        return steered(model, self, tokenizer)

    def to_steering_vectors(self) -> Any:
        """Return it as a vector of a library; see `export.steering_vectors.to_steering_vectors`."""
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
        """Build a vector from latents by their ids: sum_j strength_j W_dec[j].

        >>> print(saif.SteeringVector.from_latents(organism.saes[2], {17: 8.0, 40: -2.5}))
        latents 8 x 17 + -2.5 x 40 (layer 2, every position, strength 1)

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
    """Latents to set to given activations after a layer, instead of adding to what they have.

    z' = z + sum_j (value_j - a_j(z)) W_dec[j], so what the SAE does not explain stays as it is. It
    can be given wherever a `SteeringVector` can.

    >>> top = ranking.top(2)
    >>> print(saif.ClampedLatents(0, sae, top, ranking.mean[top]).at("every_position"))
    clamped latents (layer 0, every position, strength 1)

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

    def __post_init__(self) -> None:
        """Refuse latents that there are not, and another layer's SAE."""
        super().__post_init__()
        check_ids("latent", self.latents.tolist(), n_latents(self.sae))
        check_same_lengths(latents=self.latents, values=self.values)
        layer_to_steer(self.sae, self.layer)

    @property
    def vector(self) -> Float[Tensor, "d_model"]:
        """What is added where none of the latents is active."""
        return sum_of_directions(self.sae, self.latents, self.values)

    @property
    def norm(self) -> float:
        """Length of what is added where none of the latents is active."""
        return self.vector.norm().item()

    @checked
    def scaled(self, strength: float) -> "ClampedLatents":
        """Return the latents set to `strength` (finite) times the values; 0 switches them off."""
        check_finite("strength", strength)
        return replace(self, values=strength * self.values, strength=strength * self.strength)
