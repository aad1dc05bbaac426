"""Models from the Hugging Face Hub, a folder or a GGUF file, combined with SAEs."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.errors import ArgumentError, FileContentError
from saif_helpers._internal.paths import DATA
from saif_helpers._internal.types import Remote
from saif_helpers._internal.warn import warn
from saif_helpers.hub.devices import default_device, default_dtype
from saif_helpers.hub.download import (
    load_causal_lm,
    load_config,
    load_sae,
    load_tokenizer,
    local_sae,
)
from saif_helpers.hub.gguf_files import converted
from saif_helpers.hub.published_saes import (
    Layers,
    PretrainedSAE,
    choose_layers,
    pretrained_saes,
    resolved,
    width_of,
)
from saif_helpers.hub.remote import meta_model
from saif_helpers.hub.smollm2 import NAME as SMOLLM2
from saif_helpers.hub.smollm2 import folder as smollm2_folder
from saif_helpers.hub.zoo import ZOO, PretrainedModel
from saif_helpers.model.assemble import combine
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import SAE, sae_facts

SHIPPED = DATA / "saes"
"""Shipped SAEs for models that are not shipped."""
SAESources = Mapping[int, tuple[str, str] | Path] | Path
"""Layer to release and id or to a folder; or a folder of ``layer_N_width_W`` folders."""


def load_pretrained(
    name: str | Path,
    size: str | None,
    layers: Layers,
    saes: SAESources | None,
    release: str | None,
    device: str,
    dtype: torch.dtype | None,
    remote: Remote,
) -> ModelWithSAEs:
    """Validate everything that does not need the weights, then load."""
    name, place = _place(name)
    entry = ZOO.get(place) or _unlisted(place, named=saes is not None or bool(release))
    d_sae, releases = width_of(size or entry.width), (release,) if release else entry.releases
    listed = {} if saes is not None else pretrained_saes(releases)
    whole = load_config(entry.repo_id)
    config = whole.get_text_config()
    if remote is True and config is not whole:
        raise ArgumentError(
            f"{name} cannot be run on NDIF from here: there its text model is part of a "
            "multimodal model; use a text-only model",
            "remote",
        )
    if isinstance(saes, Path):
        saes = trained_saes(saes, size, layers, config.num_hidden_layers, name)
    chosen = [] if saes is not None else choose_layers(layers, config.num_hidden_layers, name)
    for layer in chosen:
        _check_listed(listed, layer, d_sae, name, releases)
    if entry.caution:
        warn(f"{name}: {entry.caution}")
    sae_device = default_device() if device == "auto" else device
    found = {}
    for layer in chosen:
        sae = listed[layer, d_sae]
        loader = partial(load_sae, sae.release, sae.sae_id, sae_device)
        found[layer, d_sae] = ({"d_sae": d_sae}, loader, str(sae))
    for key, where in (saes or {}).items():
        loader, path = _named_sae(where, sae_device)
        if isinstance(key, tuple):  # from a folder's name; checked when the SAE is loaded
            found[key] = ({"d_sae": key[1]}, loader, path)
            continue
        cfg = sae_facts(loader())  # the SAE is not kept: many would not fit into memory
        found[key, cfg["d_sae"]] = (cfg, loader, path)
    tokenizer = load_tokenizer(entry.repo_id)
    if remote is True:
        model = meta_model(entry.repo_id, tokenizer)
    else:
        dtype = dtype or default_dtype(device, entry.fits_float16)
        model = load_causal_lm(entry.repo_id, dtype, device)
        _check_finite(model, tokenizer, name)
    return combine(model, tokenizer, found, name, "natural", remote)


def _place(name: str | Path) -> tuple[str, str]:
    """Return a model's name, and the zoo name, repository or folder to load it from."""
    if name == SMOLLM2:
        return str(name), str(smollm2_folder())
    if str(name).endswith(".gguf"):
        return Path(name).stem, str(converted(Path(name)))
    return str(name), str(name)


def trained_saes(
    folder: Path, size: str | None, layers: Layers, n_layers: int, name: str
) -> dict[tuple[int, int], Path]:
    """List the SAEs of a folder written by ``make saes``.

    Args:
        folder: A folder with a subfolder ``layer_N_width_W`` for each SAE.
        size: Width (number of latents, or a label such as ``"16k"``); by default every width.
        layers: The layers; ``"all"`` and ``"spread"`` mean all that have SAEs of that width.
        n_layers: Number of layers of the model.
        name: The model's name, for messages.

    Returns:
        Layer and width to the SAE's folder.

    Raises:
        ValueError: If the folder has no SAEs, or none for a layer or width.
    """
    found = {}
    for path in sorted(folder.glob("layer_*")):
        if key := re.fullmatch(r"layer_(\d+)_width_(\d+)", path.name):
            found[int(key[1]), int(key[2])] = path
    if not found:
        raise FileContentError(
            f"{folder} has no folder layer_N_width_W, as `make saes` writes them", folder
        )
    widths = {width_of(size)} if size else {width for _, width in found}
    wanted = {layer for layer, width in found if width in widths}
    if layers not in ("all", "spread"):
        wanted = set(choose_layers(layers, n_layers, name))
    chosen = {(at, w): path for (at, w), path in found.items() if at in wanted and w in widths}
    missing = sorted(wanted - {layer for layer, _ in chosen})
    if missing or not chosen:
        lacking = f" for layer {missing[0]}" if missing else ""
        lacking += f" of width {size}" if size else ""
        raise ArgumentError(
            f"no SAE of {name}{lacking} in {folder}; there are, as (layer, width): "
            f"{', '.join(map(str, found))}",
            "layers" if missing else "size",
        )
    return chosen


def _unlisted(name: str, named: bool) -> PretrainedModel:
    """Return an entry for a model outside the zoo; raise if it cannot be one."""
    if not (Path(name).is_dir() or name.count("/") == 1):
        raise ArgumentError(
            f"model {name!r} given; there are organism, {SMOLLM2}, {', '.join(ZOO)}, or "
            "give a Hugging Face repository such as 'Qwen/Qwen3-8B' together with saes or release",
            "name",
        )
    if not named:
        raise ArgumentError(
            f"no SAEs are known for {name}; give them: saes={{layer: (release, sae_id)}}, "
            "saes={layer: Path(folder)} or release=...",
            "saes",
        )
    return PretrainedModel(name, ())


def _check_listed(
    listed: Mapping[tuple[int, int], PretrainedSAE],
    layer: int,
    d_sae: int,
    name: str,
    releases: tuple[str, ...],
) -> None:
    if (layer, d_sae) not in listed:
        raise ArgumentError(
            f"no SAE of width {d_sae} for layer {layer} of {name} in {', '.join(releases)}; that "
            f"layer has the widths {[width for at, width in listed if at == layer]}, and there are "
            f"SAEs of width {d_sae} for the layers "
            f"{[at for at, width in listed if width == d_sae]}",
            "size",
        )


def _named_sae(where: tuple[str, str] | Path, device: str) -> tuple[Callable[[], SAE], str]:
    """Return a loader of an explicitly given SAE, and its location."""
    if isinstance(where, tuple):
        release, sae_id = where
        return partial(load_sae, release, sae_id, device), resolved(release, sae_id)
    where = Path(where)
    shipped = where.relative_to(DATA) if where.is_relative_to(DATA) else where
    return partial(local_sae, where, device), shipped.as_posix()


def _check_finite(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Run one short prompt, to detect overflow of the dtype early."""
    tokens = tokenizer("The quick brown fox jumps over the lazy dog.", return_tensors="pt")
    ids = tokens["input_ids"].to(next(model.parameters()).device)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    if not logits.isfinite().all():
        raise ArgumentError(
            f"{name} overflows {model.dtype}; load it with dtype=torch.bfloat16 "
            "(slow on a GPU without it, such as a T4) or dtype=torch.float32",
            "dtype",
        )
