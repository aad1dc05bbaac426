"""Provenance of a result: model, SAEs, versions, hardware, seed, date."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import torch

from saif_helpers.book.record import glue_data
from saif_helpers.hub.download import commit_of
from saif_helpers.model.model import ModelWithSAEs

LIBRARIES = ("saif-helpers", "torch", "transformers", "nnsight", "sae-lens", "numpy")


def provenance(model: ModelWithSAEs, seed: int) -> dict:
    """Return the provenance of a result.

    Args:
        model: The model and its SAEs.
        seed: The seed of the run.

    Returns:
        Plain values, ready for JSON: ``model``, ``commit`` (of its repository, if any),
        ``dtype``, ``saes`` (layer to width and path), ``versions``, ``hardware``, ``seed``, and the
        ``date`` (UTC).
    """
    return {
        "model": model.name,
        "commit": commit_of(model.hf.config.name_or_path),
        "dtype": str(model.lm.dtype).removeprefix("torch."),
        "saes": {
            f"layer {layer}, width {width}": path
            for (layer, width), path in sorted(model.sae_paths.items())
        },
        "versions": {"python": platform.python_version()} | {n: _version(n) for n in LIBRARIES},
        "hardware": _hardware(model),
        "seed": seed,
        "date": datetime.now(UTC).date().isoformat(),
    }


def record_provenance(model: ModelWithSAEs, seed: int) -> None:
    """Store `provenance` in the notebook, for the tool that collects results.

    Args:
        model: The model and its SAEs.
        seed: The seed of the run.
    """
    glue_data("provenance", provenance(model, seed))


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _hardware(model: ModelWithSAEs) -> str:
    if model.remote is True:
        return "NDIF"
    if model.device.type != "cuda":
        return f"CPU, {platform.machine()}"
    properties = torch.cuda.get_device_properties(model.device)
    return f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory >> 30} GiB"
