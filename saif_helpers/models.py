"""Load a model together with its SAEs, checked against each other before anything runs."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from nnsight import Envoy, TransformersModel
from sae_lens import SAE
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from saif_helpers.instructions import DATA

TURN_ENDS = ("<end_of_turn>", "<|eot_id|>")


def sae_layer(cfg: Mapping) -> int | None:
    """Read from an SAE's configuration the layer whose residual stream it was trained on.

    Args:
        cfg: The SAE-Lens configuration as a dictionary (``sae.cfg.to_dict()`` or ``cfg.json``).

    Returns:
        The layer after which the residual stream is read, or None if the configuration names no
        hook.

    Raises:
        ValueError: If the hook is not the residual stream after a layer.
    """
    metadata = cfg.get("metadata") or {}
    hook = metadata.get("hook_name")
    if hook is None:
        return None
    found = re.fullmatch(
        r"blocks\.(\d+)\.hook_resid_post|(?:model\.)?layers\.(\d+)(?:\.output)?", hook
    )
    if found is None:
        raise ValueError(
            f"the SAE reads {hook!r}; only the residual stream after a layer is supported, "
            "as blocks.N.hook_resid_post or model.layers.N"
        )
    return int(found[1] or found[2])


class SAECollection(Mapping):
    """The SAEs of a model by layer and width, each loaded when it is first asked for.

    ``saes[5]`` is layer 5's SAE of the width that every layer has, ``saes[5, 1024]`` the one that
    is 1,024 latents wide. Keys, as of any mapping, are the pairs of layer and width.
    """

    def __init__(self, loaders: Mapping[tuple[int, int], Callable[[], SAE]]) -> None:
        """Take a function for each layer and width that loads the SAE."""
        self._loaders = dict(sorted(loaders.items()))
        self._loaded: dict[tuple[int, int], SAE] = {}

    def widths(self, layer: int) -> list[int]:
        """List the widths (numbers of latents) of a layer's SAEs, smallest first."""
        return [width for at, width in self._loaders if at == layer]

    @property
    def layers(self) -> list[int]:
        """The layers that have an SAE, first to last."""
        return sorted({layer for layer, _ in self._loaders})

    def default_width(self, layer: int) -> int:
        """Return a layer's only width, or of several the one that most layers have.

        Raises:
            KeyError: If the layer has no SAE, or if several of its widths are equally common.
        """
        widths = self.widths(layer)
        if not widths:
            raise KeyError(f"no SAE for layer {layer}; there are SAEs for the layers {self.layers}")
        common = Counter(width for _, width in self._loaders)
        best = max(common[width] for width in widths)
        chosen = [width for width in widths if common[width] == best]
        if len(chosen) > 1:
            raise KeyError(
                f"layer {layer} has the widths {widths}; ask for one: saes[{layer}, width]"
            )
        return chosen[0]

    def __getitem__(self, key: int | tuple[int, int]) -> SAE:
        """Return the SAE of a layer, or of a layer and a width."""
        layer, width = key if isinstance(key, tuple) else (key, self.default_width(key))
        if (layer, width) not in self._loaders:
            raise KeyError(
                f"no SAE of width {width} for layer {layer}; there are "
                + ", ".join(f"saes[{at}, {wide}]" for at, wide in self._loaders)
            )
        if (layer, width) not in self._loaded:
            self._loaded[layer, width] = self._loaders[layer, width]().eval()
        return self._loaded[layer, width]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Go through the pairs of layer and width."""
        return iter(self._loaders)

    def __len__(self) -> int:
        """Count the SAEs."""
        return len(self._loaders)


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
        size: ``"S"``, ``"M"`` or ``"L"``.
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
