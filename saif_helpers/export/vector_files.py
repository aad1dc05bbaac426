"""Files of steering vectors: safetensors with metadata about the vector and its model."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError, FileContentError
from saif_helpers.cache.entry import canonical, tensors_digest, write
from saif_helpers.export.model_identity import Model, config_digest, model_config, model_name
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import Placed, Positions

FORMAT = "saif-vector-1"
"""Increment this when the contents of a file change."""


def save_vector(
    path: str | Path,
    placed: Placed,
    model: Model | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a steering vector to a file; see `SteeringVector.save`.

    Args:
        path: The file.
        placed: The vector, and where it is added.
        model: The model that it steers.
        settings: Other data to save, JSON-serializable.

    Raises:
        ValueError: As `SteeringVector.save`.
        OSError: If the file cannot be written.
    """
    vector = placed.vector.detach().cpu().contiguous()
    if model is not None:
        _check_model(_model_facts(model, placed.layer), model, len(vector), placed.layer)
    about = {
        "format": FORMAT,
        "layer": placed.layer,
        "description": placed.description,
        "placement": _placement_to_json(placed.placement),
        "decay": placed.decay,
        "strength": placed.strength,
        "d_model": len(vector),
        "model": None if model is None else _model_facts(model, placed.layer),
        "package": _package_version(),
        "settings": None if settings is None else dict(settings),
    }
    tensors = {"vector": vector}
    try:
        about = json.loads(canonical(about))  # numeric keys become strings, as in the file
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"the settings to keep with a vector cannot be written as JSON ({error}); give numbers "
            "that are finite, texts, lists and dictionaries",
            "settings",
        ) from error
    text = canonical(about | {"sha256": tensors_digest(tensors, about)})
    write(Path(path), save(tensors, {"steering_vector": text}))


def _model_facts(model: Model, layer: int) -> dict[str, Any]:
    """Return the facts about the model that a vector's file records."""
    config = model_config(model)
    paths = model.sae_paths if isinstance(model, ModelWithSAEs) else {}
    return {
        "name": model_name(model),
        "n_layers": config.num_hidden_layers,
        "config": config_digest(model),
        "saes": {str(width): where for (at, width), where in paths.items() if at == layer},
    }


def _package_version() -> str:
    try:
        return version("saif-helpers")
    except PackageNotFoundError:  # not installed, but imported from a folder on Python's path
        return "unknown"


def load_vector(
    path: str | Path, model: Model | None = None
) -> tuple[Float[Tensor, "d_model"], dict[str, Any]]:
    """Read a steering vector from a file; see `SteeringVector.load`.

    Args:
        path: The file.
        model: The model to steer; if None, nothing is checked.

    Returns:
        The vector, and the other arguments of `SteeringVector`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: As `SteeringVector.load`.
    """
    vector, about = _read(Path(path))
    if model is not None:
        try:
            _check_model(about["model"], model, len(vector), about["layer"])
        except ValueError as error:
            raise ArgumentError(f"{path}: {error}", "model") from None
    fields = {name: about[name] for name in ("layer", "description", "decay", "strength")}
    return vector, fields | {"placement": _placement_from_json(about["placement"])}


def about_vector(path: str | Path) -> dict[str, Any]:
    """Read the metadata of a vector's file, including the settings.

    >>> about_vector("french.safetensors")["settings"]

    Args:
        path: A file that `SteeringVector.save` wrote.

    Returns:
        ``layer``, ``description``, ``placement``, ``decay``, ``strength``, ``d_model``, ``model``
        (its name, its number of layers, the sha256 sum of its configuration and the SAEs of the
        layer by width, or None), ``package`` (version), ``settings``, and the ``format``.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, or is not a file of a steering vector.
    """
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Read and verify a file."""
    data = path.read_bytes()
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FileContentError(
            f"{path} is not a safetensors file, or is truncated ({error}); give a file that "
            "SteeringVector.save wrote",
            path,
        ) from error
    try:
        about = json.loads((header.get("__metadata__") or {})["steering_vector"])
        found, total = about["format"], about.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileContentError(
            f"{path} is a safetensors file without a steering vector's description; give a file "
            "that SteeringVector.save wrote",
            path,
        ) from error
    if found != FORMAT:
        raise FileContentError(
            f"{path} has the format {found!r}, but this version reads {FORMAT!r}; load it with "
            f"the version that wrote it ({about.get('package')})",
            path,
        )
    if tensors_digest(tensors, about) != total:
        raise FileContentError(
            f"{path} is damaged: its sha256 sum does not match; save the vector again, or use "
            "another copy of the file",
            path,
        )
    return tensors["vector"], about


def _check_model(facts: Mapping[str, Any] | None, model: Model, d_model: int, layer: int) -> None:
    """Raise if a vector belongs to another model."""
    config, name = model_config(model), model_name(model)
    of = f"the vector belongs to {facts['name']}" if facts else "the vector's model is unknown"
    if d_model != config.hidden_size:
        raise ArgumentError(
            f"{of} and has {d_model} entries; {name} has d_model {config.hidden_size}; give the "
            "model that the vector was made for",
            "model",
        )
    n_layers = facts["n_layers"] if facts else config.num_hidden_layers
    if n_layers != config.num_hidden_layers or not 0 <= layer < config.num_hidden_layers:
        raise ArgumentError(
            f"{of}, layer {layer} of {n_layers}; {name} has {config.num_hidden_layers} layers; "
            "give the model that the vector was made for",
            "model",
        )
    if facts and facts["config"] != config_digest(model):
        raise ArgumentError(
            f"{of}, whose configuration is not that of {name}; give the model that the vector was "
            "made for, or load it without a model to try it all the same",
            "model",
        )


def _placement_to_json(placement: Positions) -> dict[str, Any]:
    if isinstance(placement, slice):
        return {"slice": [placement.start, placement.stop]}
    if isinstance(placement, tuple):
        return {"mask": list(placement)}
    return {"named": placement}


def _placement_from_json(written: Mapping[str, Any]) -> Positions:
    ((kind, value),) = written.items()
    if kind == "slice":
        return slice(*value)
    return tuple(value) if kind == "mask" else value
