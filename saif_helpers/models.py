"""A model together with its SAEs, checked against each other before anything runs."""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from nnsight import Envoy, TransformersModel
from sae_lens import SAE
from transformers import PreTrainedTokenizerBase

from saif_helpers.entries import tensors_digest
from saif_helpers.instructions import Corpus
from saif_helpers.prompts import Style
from saif_helpers.remote import Remote
from saif_helpers.saes import SAECollection, check_input_scale, sae_layer
from saif_helpers.store import Store

SAE_BYTES = 3 * 2**30  # of SAEs held at once, where they come from the Hub
TURN_ENDS = ("<end_of_turn>", "<|eot_id|>", "<|im_end|>")


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
    _known_sum: dict = field(default_factory=dict, init=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """The sha256 sum of the model's weights and configuration.

        It is worked out anew when PyTorch has counted a change of a tensor, or another tensor has
        taken its place. A change by way of ``.data`` is not counted.

        Raises:
            ValueError: If weights are not in memory, so that models cannot be told apart.
        """
        module = self.lm._module
        if any(weights.is_meta for weights in module.parameters()):
            raise ValueError(
                f"not all weights of {self.name} are in this machine's memory, so its results "
                "cannot be kept apart from another model's; load it with store=None"
            )
        config = json.loads(module.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)  # where it was loaded from is not what it is
        weights = module.state_dict(keep_vars=True)
        state = [json.dumps(config, sort_keys=True)]
        for name, tensor in weights.items():
            version = None if tensor.is_inference() else tensor._version
            state.append((name, id(tensor), tensor.data_ptr(), version))
        if self._known_sum.get("state") != state:
            self._known_sum["sum"] = tensors_digest(module.state_dict(), config)
            self._known_sum["state"] = state
        return self._known_sum["sum"]

    def layer(self, index: int) -> Envoy:
        """Return a decoder layer; in a trace its ``.output`` is the residual stream after it.

        Raises:
            ValueError: If there is no such layer.
        """
        known = isinstance(index, int) and not isinstance(index, bool)
        if not known or not 0 <= index < self.n_layers:
            raise ValueError(
                f"layer {index!r} asked for; {self.name} has layers 0-{self.n_layers - 1}"
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
        ids |= {self.tokenizer.convert_tokens_to_ids(token) for token in self._turn_ends}
        return sorted(ids - {None})

    @property
    def turn_end(self) -> str:
        """The token that ends an answer: the chat template's, or the end of the text."""
        known = self._turn_ends
        return known[0] if known and self.tokenizer.chat_template else self.tokenizer.eos_token

    @cached_property
    def _turn_ends(self) -> list[str]:
        """Those of `TURN_ENDS` that the tokenizer knows; a vocabulary is long to make a dict of."""
        return sorted(set(TURN_ENDS) & set(self.tokenizer.get_vocab()), key=TURN_ENDS.index)

    @property
    def styles(self) -> tuple[Style, ...]:
        """The styles of prompts that the model knows; a base model has no chat template."""
        return ("chat", "plain") if self.tokenizer.chat_template else ("plain",)

    def warn_beyond_range(self, what: str) -> None:
        """Warn that a result holds no number because the number format is too narrow for it.

        Args:
            what: What has become of which result, to begin the message with.
        """
        warnings.warn(
            f"{what}: the residual stream of {self.name} went beyond {self.lm.dtype}. Steer less, "
            "or load the model with dtype=torch.bfloat16 or torch.float32",
            stacklevel=3,
        )

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
        check_input_scale(sae)
        layer, width = key if isinstance(key, tuple) else (key, sae.cfg.d_sae)
        found[layer, width] = (sae.cfg.to_dict(), lambda sae=sae: sae, "in memory")
    found = combine(model, tokenizer, found, name, corpus, remote)
    return replace(found, store=store)


ATTENTIONS = {"full_attention", "sliding_attention", "chunked_attention"}


def check_architecture(model: torch.nn.Module | TransformersModel, name: str) -> None:
    """Refuse architectures that can be captured and not steered, before anything runs.

    Args:
        model: As in `wrap`.
        name: What the model is called.

    Raises:
        ValueError: If not all layers are attention, whose cache can drop the texts that have ended,
            or the residual stream has several copies.
    """
    config = model.config.get_text_config()
    others = sorted(set(getattr(config, "layer_types", None) or ()) - ATTENTIONS)
    if others:
        raise ValueError(
            f"{name} has layers of the kind {others[0]!r}; only models whose layers are all "
            "attention can be steered here: take one of those"
        )
    if getattr(config, "altup_num_inputs", 1) > 1:
        raise ValueError(
            f"{name} has a residual stream of {config.altup_num_inputs} copies; take a model that "
            "has a single one"
        )


def decoder_layers(model: torch.nn.Module | TransformersModel) -> torch.nn.ModuleList:
    """Return a model's decoder layers.

    Args:
        model: A transformers causal language model, or one wrapped by nnsight.

    Returns:
        The layers, first to last.

    Raises:
        ValueError: If the model is not built like Gemma or Llama.
    """
    model = model._module if isinstance(model, TransformersModel) else model
    layers = getattr(getattr(model, "model", None), "layers", None)
    if layers is None:
        raise ValueError(
            f"{type(model).__name__} has no model.layers; "
            "models built like Gemma or Llama are supported"
        )
    return layers


def combine(
    model: torch.nn.Module | TransformersModel,
    tokenizer: PreTrainedTokenizerBase,
    saes: Mapping[tuple[int, int], tuple[dict, Callable[[], SAE], str]],
    name: str,
    corpus: Corpus,
    remote: Remote,
) -> ModelWithSAEs:
    """Put everything together; what is not known of an SAE yet is checked when it is loaded.

    Args:
        model: As in `wrap`.
        tokenizer: As in `wrap`.
        saes: Layer and width to what is known of the SAE's configuration, what loads the SAE, and
            where it lies.
        name: As in `wrap`.
        corpus: As in `wrap`.
        remote: As in `wrap`.

    Returns:
        All of them.

    Raises:
        ValueError: If an SAE does not fit the model or its key.
    """
    n_layers, d_model = len(decoder_layers(model)), model.config.hidden_size
    check_architecture(model, name)

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
        check_input_scale(sae)
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
