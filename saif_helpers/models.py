"""Load a model together with its SAEs, checked against each other before anything runs."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from nnsight import Envoy, TransformersModel
from sae_lens import SAE
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from saif_helpers.instructions import DATA
from saif_helpers.saes import SAECollection, sae_layer

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
    """

    name: str
    lm: TransformersModel
    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    d_model: int
    saes: SAECollection

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
        """Where the model's weights are."""
        return next(self.lm._module.parameters()).device

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


def wrap(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    saes: Mapping[int | tuple[int, int], SAE],
    *,
    name: str,
) -> ModelWithSAEs:
    """Put a model, its tokenizer and its SAEs together, from objects in memory.

    Args:
        model: A transformers causal language model built like Gemma or Llama
            (``model.model.layers``).
        tokenizer: Its tokenizer. Its padding side is set to the left.
        saes: An SAE for each layer, or for each pair of layer and width.
        name: What to call the model.

    Returns:
        All of them, checked against each other.

    Raises:
        ValueError: If an SAE does not fit the model or its key.
    """
    found = {}
    for key, sae in saes.items():
        layer, width = key if isinstance(key, tuple) else (key, sae.cfg.d_sae)
        found[layer, width] = (sae.cfg.to_dict(), lambda sae=sae: sae)
    return _combine(model, tokenizer, found, name)


def load(
    name: str = "organism", size: str = "M", *, device: str = "cpu", root: Path | None = None
) -> ModelWithSAEs:
    """Load the model organism that the package ships, with its SAEs, without any network.

    Args:
        name: ``"organism"``.
        size: ``"S"``, ``"M"`` or ``"L"``; ``"S-1"`` and ``"S-2"`` are S with other seeds.
        device: Where to put the model and the SAEs.
        root: A folder laid out like the shipped one, for organisms that you trained yourself.

    Returns:
        The model in float32, its tokenizer and its SAEs, each of which is read when first used.

    Raises:
        ValueError: If there is no such model, if a file is not the one that the manifest lists, or
            if an SAE does not fit the model.
    """
    root = root or DATA / "organism"
    sizes = sorted(path.parent.name for path in root.glob("*/config.json"))
    if name != "organism" or size not in sizes:
        raise ValueError(
            f"model {name!r} of size {size!r} asked for; there is 'organism' in {sizes}"
        )
    check_manifest(root, size)
    folder = root / size
    with _no_loading_bar():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    found = {}
    for path in sorted((folder / "saes").iterdir()):
        key = re.fullmatch(r"layer_(\d+)_width_(\d+)", path.name)
        if key is None:
            raise ValueError(f"{path} is not named layer_N_width_W")
        cfg = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
        found[int(key[1]), int(key[2])] = (
            cfg,
            lambda path=path: SAE.load_from_disk(path, device=device, dtype="float32"),
        )
    return _combine(model.to(device), tokenizer, found, f"organism-{size}")


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


def _combine(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    saes: Mapping[tuple[int, int], tuple[dict, Callable[[], SAE]]],
    name: str,
) -> ModelWithSAEs:
    if not hasattr(getattr(model, "model", None), "layers"):
        raise ValueError(
            f"{type(model).__name__} has no model.layers; "
            "models built like Gemma or Llama are supported"
        )
    n_layers, d_model = len(model.model.layers), model.config.hidden_size
    for (layer, width), (cfg, _) in saes.items():
        at = f"the SAE for layer {layer}, width {width}"
        if not 0 <= layer < n_layers:
            raise ValueError(f"{at} does not fit; {name} has layers 0-{n_layers - 1}")
        if cfg["d_in"] != d_model:
            raise ValueError(f"{at} has d_in {cfg['d_in']}, but {name} has d_model {d_model}")
        if cfg["d_sae"] != width:
            raise ValueError(f"{at} has {cfg['d_sae']} latents; key it by that width")
        if sae_layer(cfg) not in (None, layer):
            raise ValueError(f"{at} was trained on layer {sae_layer(cfg)}; key it by that layer")
    lm = TransformersModel(
        model.eval(), tokenizer=tokenizer, task="text-generation", device=model.device
    )
    loaders = {key: loader for key, (_, loader) in saes.items()}
    return ModelWithSAEs(name, lm, tokenizer, n_layers, d_model, SAECollection(loaders))
