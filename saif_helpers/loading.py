"""Load a model with its SAEs: the organism that the package ships, or one from the Hub."""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from sae_lens import SAE
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from saif_helpers.gguf_files import converted
from saif_helpers.hub import (
    check_device,
    default_attention,
    default_device,
    default_dtype,
    load_causal_lm,
    load_config,
    load_sae,
    load_tokenizer,
    local_sae,
)
from saif_helpers.instructions import DATA
from saif_helpers.models import ModelWithSAEs, combine
from saif_helpers.progress import no_loading_bar
from saif_helpers.remote import Remote, skeleton
from saif_helpers.smollm2 import NAME as SMOLLM2
from saif_helpers.smollm2 import folder as smollm2_folder
from saif_helpers.store import Store, default_folder
from saif_helpers.zoo import (
    ZOO,
    Layers,
    PretrainedModel,
    PretrainedSAE,
    choose_layers,
    pretrained_saes,
    resolved,
    width_of,
)

SHIPPED = DATA / "saes"
"""SAEs that the package ships for models that it does not."""

SAESources = Mapping[int, tuple[str, str] | Path] | Path
"""Layer to release and id or to a folder; or a folder of ``layer_N_width_W`` folders."""


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
    store: Store | str | Path | None = "usual",
) -> ModelWithSAEs:
    """Load a model with its SAEs.

    Without a network: the model organism that the package ships, and ``"smollm2-135m-instruct"``,
    once fetched (see `smollm2`), with SAEs that the package ships. From the Hugging Face Hub: the
    models of `zoo.ZOO` by name, or any other whose layers are built like Gemma's or Llama's.

    >>> load()  # doctest: +SKIP
    >>> load("smollm2-135m-instruct")  # doctest: +SKIP
    >>> load("gemma-2-2b-it", "65k")  # doctest: +SKIP
    >>> load("gemma-3-270m-it", layers="all")  # doctest: +SKIP
    >>> load("Qwen/Qwen3-8B", saes={20: ("a-release", "an-id")})  # doctest: +SKIP

    Args:
        name: ``"organism"``, ``"smollm2-135m-instruct"``, a name of the zoo, or a Hugging Face
            repository, a folder or a GGUF file (a ``Path``), which need `saes` or `release`.
        size: Of the organism ``"S"``, ``"M"`` (the default) or ``"L"``; ``"S-1"`` and ``"S-2"`` are
            S with other seeds. Of another model the width of its SAEs, such as ``"65k"``.
        layers: The layers to have SAEs for, see `zoo.choose_layers`. By default all layers that
            have shipped SAEs, and the final one of any other model.
        saes: SAEs named one by one: layer to release and id in SAE-Lens' list, or to a folder that
            ``sae.save_model`` made; then without `size`, `layers` and `release`. Or the folder that
            ``make saes`` wrote, of which `size` and `layers` choose. ``{}`` for no SAEs.
        release: Another release of SAE-Lens' list than the zoo's; of SmolLM2 ``"seed-1"``, SAEs
            of another training seed.
        device: Where to put model and SAEs; by default the CPU for the organism, otherwise a GPU
            where there is one. ``"auto"`` spreads a model over several GPUs, but the organism.
        dtype: Number format of the model; by default float32 for the organism, otherwise what
            `hub.default_dtype` chooses. SAEs are always float32.
        root: A folder laid out like the shipped one, for organisms that you trained yourself.
        remote: True to run the model on NDIF: its weights are not fetched, and the number format is
            the one there. ``"local"`` to rehearse that here, also with the organism.
        store: Where to keep finished captures and generations, so that a run that was cut off goes
            on where it was: a store or a folder, None for nowhere. ``"usual"`` is
            `store.default_folder`; but nowhere for the organism, which is quick, unless
            ``SAIF_STORE`` says where, and nowhere for a model whose weights cannot be told apart
            from here, since they are remote or lie outside the memory.

    Returns:
        The model, its tokenizer and its SAEs, each of which is fetched and read when first used.

    Raises:
        OSError: If files cannot be fetched; the message says what to do.
        ValueError: If there is no such model, layer, width or release, if a file is not the one
            that the organism's manifest lists, if a file could run code, if an SAE does not fit the
            model, if the number format is too narrow for the model, if NDIF cannot run it, if SAEs
            are named for the organism, or named one by one and chosen otherwise too.
    """
    if device is not None:
        check_device(device)
    if name != "organism":
        _check_choice(saes, size, layers, release)
    if layers is None:  # and not by `or`: 0 is a layer
        layers = "all" if name in ("organism", SMOLLM2) else "final"
    if name == SMOLLM2 and saes is None:
        check_manifest(SHIPPED, SMOLLM2)
        saes, release = SHIPPED / SMOLLM2 / (release or "saes"), None
    if name == "organism":
        if saes or release:
            raise ValueError("saes and release name SAEs of other models; the organism has its own")
        device, root = device or "cpu", root or DATA / "organism"
        device = default_device() if device == "auto" else device
        found = _load_organism(size or "M", layers, device, dtype or torch.float32, root, remote)
    else:
        device = device or default_device()
        found = _load_pretrained(name, size, layers, saes, release, device, dtype, remote)
    if store == "usual":
        weights_here = not any(w.is_meta for w in found.lm._module.parameters())
        worth_it = name != "organism" or "SAIF_STORE" in os.environ
        keep = worth_it and not remote and weights_here
        store = default_folder() if keep else None
    return replace(found, store=Store(store) if isinstance(store, str | Path) else store)


def _check_choice(
    saes: SAESources | None, size: str | None, layers: Layers, release: str | None
) -> None:
    """Refuse two ways of choosing SAEs at once."""
    if saes is None:
        return
    chosen = {"release": release}
    if isinstance(saes, Mapping) and saes:  # named one by one
        chosen |= {"size": size, "layers": layers}
    wrong = [name for name, value in chosen.items() if value is not None]
    if wrong:
        raise ValueError(
            f"saes and {' and '.join(wrong)} given, which both choose the SAEs; give one of them"
        )


def _load_organism(
    size: str, layers: Layers, device: str, dtype: torch.dtype, root: Path, remote: Remote
) -> ModelWithSAEs:
    if remote is True:
        raise ValueError("NDIF does not serve the organism; to rehearse, give remote='local'")
    sizes = sorted(path.parent.name for path in root.glob("*/config.json"))
    if size not in sizes:
        raise ValueError(f"organism of size {size!r} asked for; there are {', '.join(sizes)}")
    check_manifest(root, size)
    folder = root / size
    with no_loading_bar():
        here = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            # transformers' own choice for Gemma 2 was "sdpa" in 5.9, which leaves out the soft cap.
            attn_implementation=default_attention(load_config(str(folder))),
            **here,
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, **here)
    wanted = choose_layers(layers, len(model.model.layers), f"organism-{size}")
    found = {}
    for path in sorted((folder / "saes").iterdir()):
        key = re.fullmatch(r"layer_(\d+)_width_(\d+)", path.name)
        if key is None:
            raise ValueError(f"{path} is not named layer_N_width_W")
        cfg = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
        if int(key[1]) in wanted:
            loader = partial(local_sae, path, device)
            found[int(key[1]), int(key[2])] = (cfg, loader, path.relative_to(root).as_posix())
    return combine(model.to(device), tokenizer, found, f"organism-{size}", "grammar", remote)


def _load_pretrained(
    name: str | Path,
    size: str | None,
    layers: Layers,
    saes: SAESources | None,
    release: str | None,
    device: str,
    dtype: torch.dtype | None,
    remote: Remote,
) -> ModelWithSAEs:
    """Check everything that can be known without the weights, then load."""
    name, place = _place(name)
    entry = ZOO.get(place) or _unlisted(place, named=saes is not None or bool(release))
    d_sae, releases = width_of(size or entry.width), (release,) if release else entry.releases
    listed = {} if saes is not None else pretrained_saes(releases)
    whole = load_config(entry.repo_id)
    config = whole.get_text_config()
    if remote is True and config is not whole:
        raise ValueError(
            f"{name} cannot be run on NDIF from here: there its text model is a part of a larger "
            "one, which reads pictures too; take a model of text alone"
        )
    if isinstance(saes, Path):
        saes = trained_saes(saes, size, layers, config.num_hidden_layers, name)
    chosen = [] if saes is not None else choose_layers(layers, config.num_hidden_layers, name)
    for layer in chosen:
        _check_listed(listed, layer, d_sae, name, releases)
    if entry.caution:
        warnings.warn(f"{name}: {entry.caution}", stacklevel=3)
    sae_device = default_device() if device == "auto" else device
    found = {}
    for layer in chosen:
        sae = listed[layer, d_sae]
        loader = partial(load_sae, sae.release, sae.sae_id, sae_device)
        found[layer, d_sae] = ({"d_sae": d_sae}, loader, str(sae))
    for key, where in (saes or {}).items():
        loader, path = _named_sae(where, sae_device)
        if isinstance(key, tuple):  # from a folder's name; the SAE is checked when it is loaded
            found[key] = ({"d_sae": key[1]}, loader, path)
            continue
        cfg = loader().cfg  # and the SAE is let go: many would not fit beside the model
        found[key, cfg.d_sae] = (cfg.to_dict(), loader, path)
    tokenizer = load_tokenizer(entry.repo_id)
    if remote is True:
        model = skeleton(entry.repo_id, tokenizer)
    else:
        dtype = dtype or default_dtype(device, entry.fits_float16)
        model = load_causal_lm(entry.repo_id, dtype, device)
        _check_finite(model, tokenizer, name)
    return combine(model, tokenizer, found, name, "natural", remote)


def _place(name: str | Path) -> tuple[str, str]:
    """Return a model's name, and the name, repository or folder that it is loaded from."""
    if name == SMOLLM2:
        return str(name), str(smollm2_folder())
    if str(name).endswith(".gguf"):
        return Path(name).stem, str(converted(Path(name)))
    return str(name), str(name)


def trained_saes(
    folder: Path, size: str | None, layers: Layers, n_layers: int, name: str
) -> dict[tuple[int, int], Path]:
    """List the SAEs of a folder that ``make saes`` wrote.

    Args:
        folder: Holds a folder ``layer_N_width_W`` for each SAE.
        size: Width (number of latents, or a label such as ``"16k"``); by default every width.
        layers: The layers; ``"all"`` and ``"spread"`` stand for those that have SAEs.
        n_layers: Number of layers of the model.
        name: The model's name, for messages.

    Returns:
        Layer and width to the SAE's folder.

    Raises:
        ValueError: If the folder has no SAEs, or none of a layer or width.
    """
    found = {}
    for path in sorted(folder.glob("layer_*")):
        if key := re.fullmatch(r"layer_(\d+)_width_(\d+)", path.name):
            found[int(key[1]), int(key[2])] = path
    if not found:
        raise ValueError(f"{folder} has no folder layer_N_width_W, as `make saes` writes them")
    there = sorted({layer for layer, _ in found})
    wanted = there
    if layers not in ("all", "spread"):
        wanted = choose_layers(layers, n_layers, name)
    widths = {width_of(size)} if size else {width for _, width in found}
    chosen = {(at, w): path for (at, w), path in found.items() if at in wanted and w in widths}
    missing = sorted(set(wanted) - {layer for layer, _ in chosen})
    if missing:
        raise ValueError(
            f"no SAE of {name} for layer {missing[0]}{f' of width {size}' if size else ''} in "
            f"{folder}; there are, as (layer, width): {', '.join(map(str, found))}"
        )
    return chosen


def _unlisted(name: str, named: bool) -> PretrainedModel:
    """Describe a model that the zoo does not list, if it can be one."""
    if not (Path(name).is_dir() or name.count("/") == 1):
        raise ValueError(
            f"model {name!r} asked for; there are organism, {SMOLLM2}, {', '.join(ZOO)}, or "
            "give a Hugging Face repository such as 'Qwen/Qwen3-8B' together with saes or release"
        )
    if not named:
        raise ValueError(
            f"no SAEs are known for {name}; name them: saes={{layer: (release, sae_id)}}, "
            "saes={layer: Path(folder)} or release=..."
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
        raise ValueError(
            f"no SAE of width {d_sae} for layer {layer} of {name} in {', '.join(releases)}; that "
            f"layer has the widths {[width for at, width in listed if at == layer]}, and there are "
            f"SAEs of width {d_sae} for the layers "
            f"{[at for at, width in listed if width == d_sae]}"
        )


def _named_sae(where: tuple[str, str] | Path, device: str) -> tuple[Callable[[], SAE], str]:
    """Return what loads an SAE that was named explicitly, and say where it lies."""
    if isinstance(where, tuple):
        release, sae_id = where
        return partial(load_sae, release, sae_id, device), resolved(release, sae_id)
    return partial(local_sae, Path(where), device), str(where)


def _check_finite(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Run one short prompt, so that a number format that is too narrow is found out at once."""
    tokens = tokenizer("The quick brown fox jumps over the lazy dog.", return_tensors="pt")
    ids = tokens["input_ids"].to(next(model.parameters()).device)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    if not logits.isfinite().all():
        raise ValueError(
            f"{name} computes numbers beyond {model.dtype}; load it with dtype=torch.bfloat16 "
            "(slow on a GPU without it, such as a T4) or dtype=torch.float32"
        )


def check_manifest(root: Path, size: str) -> None:
    """Check that a shipped model's files are exactly those of the manifest, with the same contents.

    Args:
        root: The folder that holds ``manifest.json`` (path relative to `root` -> sha256) and the
            sizes.
        size: The size to check.

    Raises:
        ValueError: If a file is missing, unlisted or different.
    """
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    listed = {path for path in manifest if path.startswith(f"{size}/")}
    there = {p.relative_to(root).as_posix() for p in (root / size).rglob("*") if p.is_file()}
    advice = f"install the package again, or write the manifest of {root} anew if you changed it"
    if listed != there:
        raise ValueError(
            f"files missing: {sorted(listed - there)}; "
            f"not in the manifest: {sorted(there - listed)}; {advice}"
        )
    for path in sorted(listed):
        if hashlib.sha256((root / path).read_bytes()).hexdigest() != manifest[path]:
            raise ValueError(f"{path} does not have the sha256 sum in the manifest; {advice}")
