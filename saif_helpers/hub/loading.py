"""Load a model with its SAEs: the shipped organism, or one from the Hub."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError, FileContentError
from saif_helpers._internal.paths import DATA
from saif_helpers._internal.progress import no_loading_bar
from saif_helpers._internal.types import Remote
from saif_helpers.cache.store import Store, default_folder
from saif_helpers.hub.devices import check_device, default_device
from saif_helpers.hub.download import (
    default_attention,
    load_config,
    local_sae,
)
from saif_helpers.hub.manifest import check_manifest
from saif_helpers.hub.pretrained import SHIPPED, SAESources, load_pretrained
from saif_helpers.hub.published_saes import (
    Layers,
    choose_layers,
)
from saif_helpers.hub.smollm2 import NAME as SMOLLM2
from saif_helpers.model.assemble import combine
from saif_helpers.model.model import ModelWithSAEs


@checked
def load(
    name: str | Path = "organism",
    size: str | None = None,
    *,
    layers: Layers = None,
    saes: SAESources | None = None,
    release: str | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    root: Path | None = None,
    remote: Remote = False,
    store: Store | str | Path | None = "default",
) -> ModelWithSAEs:
    """Load a model with its SAEs.

    Available without a network: the shipped model organism, and ``"smollm2-135m-instruct"`` with
    shipped SAEs, once downloaded (see `smollm2`). From the Hugging Face Hub: the models of
    `zoo.ZOO` by name, or any other with the architecture of Gemma, Llama, GPT-2 or Pythia.

    >>> model = saif.load()  # the organism, size M
    >>> saif.load("smollm2-135m-instruct")  # doctest: +SKIP
    >>> saif.load("gemma-2-2b-it", "65k")  # doctest: +SKIP
    >>> saif.load("gemma-3-270m-it", layers="all")  # doctest: +SKIP
    >>> saif.load("Qwen/Qwen3-8B", saes={20: ("a-release", "an-id")})  # doctest: +SKIP

    Args:
        name: ``"organism"``, ``"smollm2-135m-instruct"``, a name of the zoo, or a Hugging Face
            repository, a folder or a GGUF file (a ``Path``), which require `saes` or `release`.
        size: For the organism ``"S"``, ``"M"`` (the default) or ``"L"``; ``"S-1"`` and ``"S-2"``
            are S with other seeds. For other models the width of the SAEs, such as ``"65k"``;
            for SmolLM2 ``"2304-1"`` are SAEs with another training seed.
        layers: The layers to load SAEs for, see `published_saes.choose_layers`. By default all
            layers with shipped SAEs, and the final layer of any other model.
        saes: Explicit SAEs: layer to release and id in SAE-Lens' list, or to a folder from
            ``sae.save_model``; excludes `size`, `layers` and `release`. Or a folder from
            ``make saes``, filtered by `size` and `layers`. ``{}`` for no SAEs.
        release: A release of SAE-Lens' list in place of the zoo's.
        device: Device of model and SAEs; by default the CPU for the organism, otherwise a GPU if
            available. ``"auto"`` distributes any model but the organism over several GPUs.
        dtype: The dtype of the model; by default float32 for the organism, otherwise chosen by
            `devices.default_dtype`. SAEs are always float32.
        root: A folder with the layout of the shipped one, for organisms that you trained yourself.
        remote: True to run the model on NDIF: its weights are not downloaded, and NDIF determines
            the dtype. ``"local"`` to simulate that here, also with the organism.
        store: Store or folder for finished captures and generations, so that an interrupted run
            can resume; None to disable it. ``"default"`` is `store.default_folder`, but disabled
            for the organism (set ``SAIF_STORE`` to enable it) and for models whose weights cannot
            be hashed locally (remote or offloaded).

    Returns:
        The model, its tokenizer and its SAEs; each SAE is downloaded and loaded on first use.

    Raises:
        OSError: If files cannot be downloaded; the message says what to do.
        ValueError: If there is no such model, layer, width or release, a file does not match the
            organism's manifest, a file could run code, an SAE does not fit the model, the model
            overflows the dtype, NDIF cannot run the model, SAEs are given for the organism, or
            SAEs are chosen in two ways.
    """
    if device is not None:
        check_device(device)
    if name != "organism":
        _check_choice(saes, size, layers, release)
    if layers is None:  # not `or`: 0 is a layer
        layers = "all" if name in ("organism", SMOLLM2) else "final"
    if name == "organism" and saes:
        raise ArgumentError("saes are for other models; the organism has its own SAEs", "saes")
    if name in ("organism", SMOLLM2) and release:
        raise ArgumentError(
            f"release {release!r} given, but the SAEs of {name} ship with this package", "release"
        )
    if name == SMOLLM2 and saes is None:
        saes, size = _shipped_saes(size)
    if name == "organism":
        device, root = device or "cpu", root or DATA / "organism"
        device = default_device() if device == "auto" else device
        found = _load_organism(size or "M", layers, device, dtype or torch.float32, root, remote)
    else:
        device = device or default_device()
        found = load_pretrained(name, size, layers, saes, release, device, dtype, remote)
    if store == "default":
        weights_here = not any(w.is_meta for w in found.hf.parameters())
        worth_it = name != "organism" or "SAIF_STORE" in os.environ
        keep = worth_it and not remote and weights_here
        store = default_folder() if keep else None
    return replace(found, store=Store(store) if isinstance(store, str | Path) else store)


def _check_choice(
    saes: SAESources | None, size: str | None, layers: Layers, release: str | None
) -> None:
    """Raise if SAEs are chosen in two ways."""
    if saes is None:
        return
    chosen = {"release": release}
    if isinstance(saes, Mapping) and saes:  # explicit
        chosen |= {"size": size, "layers": layers}
    wrong = [name for name, value in chosen.items() if value is not None]
    if wrong:
        raise ArgumentError(
            f"saes and {' and '.join(wrong)} given, which both choose the SAEs; give one of them",
            wrong[0],
        )


def _shipped_saes(size: str | None) -> tuple[Path, str | None]:
    """Return the folder and the width of shipped SAEs of SmolLM2, such as ``"2304-1"``."""
    check_manifest(SHIPPED, SMOLLM2)
    width, _, seed = (size or "").partition("-")
    folder = SHIPPED / SMOLLM2 / (f"seed-{seed}" if seed else "saes")
    if not folder.is_dir():
        raise ArgumentError(
            f"size {size!r} given, but there are no SAEs of seed {seed!r}; give 2304-1, or a width "
            "alone",
            "size",
        )
    return folder, width or None


def _load_organism(
    size: str, layers: Layers, device: str, dtype: torch.dtype, root: Path, remote: Remote
) -> ModelWithSAEs:
    if remote is True:
        raise ArgumentError(
            "NDIF does not serve the organism; to simulate it, give remote='local'", "remote"
        )
    sizes = sorted(path.parent.name for path in root.glob("*/config.json"))
    if size not in sizes:
        raise ArgumentError(
            f"organism of size {size!r} given; there are {', '.join(sizes)}", "size"
        )
    check_manifest(root, size)
    folder = root / size
    with no_loading_bar():
        here = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            # transformers 5.9 defaults to "sdpa" for Gemma 2, which omits the soft cap.
            attn_implementation=default_attention(load_config(str(folder))),
            **here,
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, **here)
    wanted = choose_layers(layers, len(model.model.layers), f"organism-{size}")
    found = {}
    for path in sorted((folder / "saes").iterdir()):
        key = re.fullmatch(r"layer_(\d+)_width_(\d+)", path.name)
        if key is None:
            raise FileContentError(f"{path} is not named layer_N_width_W", path)
        cfg = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
        if int(key[1]) in wanted:
            loader = partial(local_sae, path, device)
            found[int(key[1]), int(key[2])] = (cfg, loader, path.relative_to(root).as_posix())
    return combine(model.to(device), tokenizer, found, f"organism-{size}", "grammar", remote)
