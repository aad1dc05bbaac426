"""Load a model together with its SAEs, checked against each other before anything runs."""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch
from nnsight import Envoy, TransformersModel
from sae_lens import SAE
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from saif_helpers.entries import tensors_digest
from saif_helpers.hub import (
    default_device,
    default_dtype,
    load_causal_lm,
    load_sae,
    load_tokenizer,
    local_sae,
)
from saif_helpers.instructions import DATA, Corpus
from saif_helpers.prompts import Style
from saif_helpers.remote import Remote, skeleton
from saif_helpers.saes import SAECollection, sae_layer
from saif_helpers.store import Store, default_folder
from saif_helpers.zoo import ZOO, Layers, choose_layers, pretrained_saes, width_of

SAE_BYTES = 3 * 2**30  # of SAEs held at once, where they come from the Hub
TURN_ENDS = ("<end_of_turn>", "<|eot_id|>")


@dataclass(frozen=True, eq=False)
class ModelWithSAEs:
    """A language model, its tokenizer and its SAEs.

    Attributes:
        name: What the model is called in messages, tables and figures.
        lm: The model, wrapped by nnsight.
        tokenizer: Its tokenizer.
        n_layers: Number of decoder layers; layers are counted from 0.
        d_model: Width of the residual stream.
        saes: The SAEs, by layer (``saes[5]``) or by layer and width (``saes[5, 1024]``).
        corpus: The shipped sentences that suit the model: ``"grammar"`` for the organism, which
            knows no others, ``"natural"`` for all other models.
        sae_paths: Where each SAE lies, by layer and width: repository and path, or folder.
        remote: Where the model runs: False on this machine, True on NDIF, ``"local"`` on this
            machine by way of everything that NDIF would be sent. The SAEs are always here.
        store: Where finished captures and generations are kept, or None.
    """

    name: str
    lm: TransformersModel
    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    d_model: int
    saes: SAECollection
    corpus: Corpus = "natural"
    sae_paths: Mapping[tuple[int, int], str] = field(default_factory=dict)
    remote: Remote = False
    store: Store | None = None

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 sum of the model's weights and configuration when it was first asked for."""
        module = self.lm._module
        config = json.loads(module.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)  # where it was loaded from is not what it is
        return tensors_digest(module.state_dict(), config)

    def layer(self, index: int) -> Envoy:
        """Return a decoder layer; in a trace its ``.output`` is the residual stream after it.

        Raises:
            ValueError: If there is no such layer.
        """
        if not 0 <= index < self.n_layers:
            raise ValueError(
                f"layer {index} asked for; {self.name} has layers 0-{self.n_layers - 1}"
            )
        return self.lm.model.layers[index]

    @property
    def device(self) -> torch.device:
        """Where the model takes its input: its first weights, or the CPU where those are elsewhere.

        Later layers may be on other devices (``device_map="auto"``), so what meets the residual
        stream is moved to where that is.
        """
        device = next(self.lm._module.parameters()).device
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def stop_ids(self) -> list[int]:
        """Token ids that end a generation: the end of the text or of the model's turn."""
        configured = self.lm._module.generation_config.eos_token_id
        ids = {
            self.tokenizer.eos_token_id,
            *(configured if isinstance(configured, list) else [configured]),
        }
        vocabulary = self.tokenizer.get_vocab()
        ids |= {vocabulary[token] for token in TURN_ENDS if token in vocabulary}
        return sorted(ids - {None})

    @property
    def turn_end(self) -> str:
        """The token that ends an answer: the chat template's, or the end of the text."""
        vocabulary = self.tokenizer.get_vocab()
        known = [token for token in TURN_ENDS if token in vocabulary]
        return known[0] if known and self.tokenizer.chat_template else self.tokenizer.eos_token

    @property
    def styles(self) -> tuple[Style, ...]:
        """The styles of prompts that the model knows; a base model has no chat template."""
        return ("chat", "plain") if self.tokenizer.chat_template else ("plain",)

    def check_here(self, what: str) -> None:
        """Refuse what needs the model's weights, or more than is worth sending, on this machine.

        Args:
            what: What was asked for, to begin the message with.

        Raises:
            ValueError: If the model runs remotely.
        """
        if self.remote:
            raise ValueError(
                f"{what} needs the model on this machine; {self.name} has remote={self.remote!r}, "
                "which serves capture, generate and log_probabilities; load it with remote=False"
            )


def wrap(
    model: torch.nn.Module | TransformersModel,
    tokenizer: PreTrainedTokenizerBase,
    saes: Mapping[int | tuple[int, int], SAE],
    *,
    name: str,
    corpus: Corpus = "natural",
    remote: Remote = False,
    store: Store | None = None,
) -> ModelWithSAEs:
    """Put a model, its tokenizer and its SAEs together, from objects in memory.

    Args:
        model: A transformers causal language model built like Gemma or Llama
            (``model.model.layers``); for ``remote=True`` what `remote.skeleton` returns.
        tokenizer: Its tokenizer. Its padding side is set to the left.
        saes: An SAE for each layer, or for each pair of layer and width.
        name: What to call the model.
        corpus: The shipped sentences that suit it, see `ModelWithSAEs`.
        remote: Where the model runs, see `ModelWithSAEs`.
        store: Where to keep finished captures and generations.

    Returns:
        All of them, checked against each other.

    Raises:
        ValueError: If an SAE does not fit the model or its key.
    """
    found = {}
    for key, sae in saes.items():
        layer, width = key if isinstance(key, tuple) else (key, sae.cfg.d_sae)
        found[layer, width] = (sae.cfg.to_dict(), lambda sae=sae: sae, "in memory")
    found = _combine(model, tokenizer, found, name, corpus, remote)
    return replace(found, store=store)


def load(
    name: str = "organism",
    size: str | None = None,
    *,
    layers: Layers = None,
    saes: Mapping[int, tuple[str, str] | Path] | None = None,
    release: str | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    root: Path | None = None,
    remote: Remote = False,
    store: Store | Literal["usual"] | None = "usual",
) -> ModelWithSAEs:
    """Load a model with its SAEs.

    Without a network: the model organism that the package ships. From the Hugging Face Hub: the
    models of `zoo.ZOO` by name, or any other whose layers are built like Gemma's or Llama's.

    >>> load()  # doctest: +SKIP
    >>> load("gemma-2-2b-it", "65k")  # doctest: +SKIP
    >>> load("gemma-3-270m-it", layers="all")  # doctest: +SKIP
    >>> load("Qwen/Qwen3-8B", saes={20: ("a-release", "an-id")})  # doctest: +SKIP

    Args:
        name: ``"organism"``, a name of the zoo, or a Hugging Face repository or a folder, which
            need `saes` or `release`.
        size: Of the organism ``"S"``, ``"M"`` (the default) or ``"L"``; ``"S-1"`` and ``"S-2"`` are
            S with other seeds. Of another model the width of its SAEs, such as ``"65k"``.
        layers: The layers to have SAEs for, see `zoo.choose_layers`. By default all layers of the
            organism and the final one of any other model.
        saes: SAEs named one by one: layer to release and id in SAE-Lens' list, or to a folder that
            ``sae.save_model`` made.
        release: Another release of SAE-Lens' list than the zoo's.
        device: Where to put model and SAEs; by default the CPU for the organism, otherwise a GPU
            where there is one. ``"auto"`` spreads a model over several GPUs.
        dtype: Number format of the model; by default float32 for the organism, otherwise what
            `hub.default_dtype` chooses. SAEs are always float32.
        root: A folder laid out like the shipped one, for organisms that you trained yourself.
        remote: True to run the model on NDIF: its weights are not fetched, and the number format is
            the one there. ``"local"`` to rehearse that here, also with the organism.
        store: Where to keep finished captures and generations, so that a run that was cut off goes
            on where it was. Usually in `store.default_folder`, but for the organism, which is quick,
            and for a remote model, whose weights cannot be told apart from here.

    Returns:
        The model, its tokenizer and its SAEs, each of which is fetched and read when first used.

    Raises:
        OSError: If files cannot be fetched; the message says what to do.
        ValueError: If there is no such model, layer, width or release, if a file is not the one
            that the organism's manifest lists, if an SAE does not fit the model, if the number
            format is too narrow for the model, or for the organism with ``remote=True``.
    """
    if name == "organism":
        root = root or DATA / "organism"
        found = _load_organism(size or "M", layers, device or "cpu", root, remote)
    else:
        device = device or default_device()
        found = _load_pretrained(name, size, layers, saes, release, device, dtype, remote)
    if store == "usual":
        store = Store(default_folder()) if name != "organism" and not remote else None
    return replace(found, store=store)


def _load_organism(
    size: str, layers: Layers, device: str, root: Path, remote: Remote
) -> ModelWithSAEs:
    if remote is True:
        raise ValueError("NDIF does not serve the organism; to rehearse, give remote='local'")
    sizes = sorted(path.parent.name for path in root.glob("*/config.json"))
    if size not in sizes:
        raise ValueError(f"organism of size {size!r} asked for; there are {', '.join(sizes)}")
    check_manifest(root, size)
    folder = root / size
    with _no_loading_bar():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    wanted = choose_layers(layers or "all", len(model.model.layers), f"organism-{size}")
    found = {}
    for path in sorted((folder / "saes").iterdir()):
        key = re.fullmatch(r"layer_(\d+)_width_(\d+)", path.name)
        if key is None:
            raise ValueError(f"{path} is not named layer_N_width_W")
        cfg = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
        if int(key[1]) in wanted:
            loader = partial(local_sae, path, device)
            found[int(key[1]), int(key[2])] = (cfg, loader, path.relative_to(root).as_posix())
    return _combine(model.to(device), tokenizer, found, f"organism-{size}", "grammar", remote)


def _load_pretrained(
    name: str,
    size: str | None,
    layers: Layers,
    saes: Mapping[int, tuple[str, str] | Path] | None,
    release: str | None,
    device: str,
    dtype: torch.dtype | None,
    remote: Remote,
) -> ModelWithSAEs:
    entry = ZOO.get(name)
    if entry is None and not (Path(name).is_dir() or name.count("/") == 1):
        raise ValueError(
            f"model {name!r} asked for; there are organism, {', '.join(ZOO)}, or give a Hugging "
            "Face repository such as 'Qwen/Qwen3-8B' together with saes or release"
        )
    if entry is None and saes is None and release is None:
        raise ValueError(
            f"no SAEs are known for {name}; name them: saes={{layer: (release, sae_id)}}, "
            "saes={layer: Path(folder)} or release=..."
        )
    releases = (release,) if release else entry.releases if entry else ()
    listed = {} if saes else pretrained_saes(releases)
    d_sae = width_of(size or (entry.width if entry else "16k"))
    if entry and entry.caution:
        warnings.warn(f"{name}: {entry.caution}", stacklevel=3)
    repo_id = entry.repo_id if entry else name
    tokenizer = load_tokenizer(repo_id)
    if remote is True:
        model = skeleton(repo_id, tokenizer)
    else:
        dtype = dtype or default_dtype(device, entry.fits_float16 if entry else True)
        model = load_causal_lm(repo_id, dtype, device)
        _check_finite(model, tokenizer, name)
    sae_device = "cuda" if device == "auto" else device
    found = {}
    if saes:
        for layer, where in saes.items():
            loader, text = _named_sae(where, sae_device)
            sae = loader()
            found[layer, sae.cfg.d_sae] = (sae.cfg.to_dict(), lambda sae=sae: sae, text)
    else:
        for layer in choose_layers(layers or "final", len(_decoder_layers(model)), name):
            if (layer, d_sae) not in listed:
                widths = [width for at, width in listed if at == layer]
                raise ValueError(
                    f"no SAE of width {d_sae} for layer {layer} of {name} in "
                    f"{', '.join(releases)}; that layer has the widths {widths}, and there are "
                    f"SAEs of width {d_sae} for the layers "
                    f"{[at for at, width in listed if width == d_sae]}"
                )
            sae = listed[layer, d_sae]
            loader = partial(load_sae, sae.release, sae.sae_id, sae_device)
            found[layer, d_sae] = ({}, loader, str(sae))
    return _combine(model, tokenizer, found, name, "natural", remote)


def _named_sae(where: tuple[str, str] | Path, device: str) -> tuple[Callable[[], SAE], str]:
    """Return what loads an SAE that was named explicitly, and where it lies."""
    if isinstance(where, tuple):
        release, sae_id = where
        return partial(load_sae, release, sae_id, device), f"{release}/{sae_id}"
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


@contextmanager
def _no_loading_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar for files that load in a moment."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()


def _decoder_layers(model: torch.nn.Module | TransformersModel) -> torch.nn.ModuleList:
    model = model._module if isinstance(model, TransformersModel) else model
    layers = getattr(getattr(model, "model", None), "layers", None)
    if layers is None:
        raise ValueError(
            f"{type(model).__name__} has no model.layers; "
            "models built like Gemma or Llama are supported"
        )
    return layers


def _combine(
    model: torch.nn.Module | TransformersModel,
    tokenizer: PreTrainedTokenizerBase,
    saes: Mapping[tuple[int, int], tuple[dict, Callable[[], SAE], str]],
    name: str,
    corpus: Corpus,
    remote: Remote,
) -> ModelWithSAEs:
    """Put everything together; what is not known of an SAE yet is checked when it is loaded."""
    n_layers, d_model = len(_decoder_layers(model)), model.config.hidden_size

    def check(layer: int, width: int, cfg: Mapping) -> None:
        at = f"the SAE for layer {layer}, width {width}"
        if not 0 <= layer < n_layers:
            raise ValueError(f"{at} does not fit; {name} has layers 0-{n_layers - 1}")
        if cfg.get("d_in", d_model) != d_model:
            raise ValueError(f"{at} has d_in {cfg['d_in']}, but {name} has d_model {d_model}")
        if cfg.get("d_sae", width) != width:
            raise ValueError(f"{at} has {cfg['d_sae']} latents; key it by that width")
        if sae_layer(cfg) not in (None, layer):
            raise ValueError(f"{at} was trained on layer {sae_layer(cfg)}; key it by that layer")

    def loaded(layer: int, width: int, loader: Callable[[], SAE]) -> SAE:
        sae = loader()
        check(layer, width, sae.cfg.to_dict())
        return sae

    loaders, paths = {}, {}
    for (layer, width), (cfg, loader, path) in saes.items():
        check(layer, width, cfg)
        loaders[layer, width] = partial(loaded, layer, width, loader)
        paths[layer, width] = path
    lm = model
    if not isinstance(model, TransformersModel):
        # A model spread over several devices has its place already.
        place = {} if getattr(model, "hf_device_map", None) else {"device": model.device}
        lm = TransformersModel(model.eval(), tokenizer=tokenizer, task="text-generation", **place)
    limit = SAE_BYTES if corpus == "natural" else None
    collection = SAECollection(loaders, limit)
    return ModelWithSAEs(name, lm, tokenizer, n_layers, d_model, collection, corpus, paths, remote)
