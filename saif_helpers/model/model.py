"""A language model with its tokenizer and its SAEs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from nnsight import Envoy, TransformersModel
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Corpus, Remote, Style
from saif_helpers._internal.warn import warn
from saif_helpers.cache.entry import tensors_digest
from saif_helpers.cache.store import Store
from saif_helpers.model.architecture import layers_path
from saif_helpers.model.collection import SAECollection

SAE_BYTES = 3 * 2**30  # maximum total size of SAEs from the Hub in memory
TURN_ENDS = ("<end_of_turn>", "<|eot_id|>", "<|im_end|>")


@dataclass(frozen=True, eq=False)
class ModelWithSAEs:
    """A language model, its tokenizer and its SAEs.

    >>> organism.n_layers, organism.d_model, organism.saes.layers
    (4, 96, [0, 2])

    Attributes:
        name: Name of the model in messages, tables and figures.
        lm: The model, wrapped by nnsight.
        tokenizer: Its tokenizer.
        n_layers: Number of decoder layers; layers are counted from 0.
        d_model: Width of the residual stream.
        saes: The SAEs, by layer (``saes[5]``) or by layer and width (``saes[5, 1024]``).
        corpus: The matching shipped sentences: ``"grammar"`` for the organism, which knows no
            others, ``"natural"`` for all other models.
        sae_paths: Layer and width to the location of the SAE: repository and path, or folder.
        remote: Where the model runs: False for this machine, True for NDIF, ``"local"`` for this
            machine with the serialization of NDIF. The SAEs are always local.
        store: Store for finished captures and generations, or None.
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
    def hf(self) -> torch.nn.Module:
        """The transformers model, without nnsight's wrapper."""
        return self.lm._module

    @property
    def fingerprint(self) -> str:
        """The sha256 sum of the model's weights and configuration.

        It is recomputed when a tensor was replaced, or modified according to PyTorch's version
        counter. Changes through ``.data`` are not detected.

        Raises:
            ValueError: If weights are not in memory, so that they cannot be hashed.
        """
        module = self.hf
        if any(weights.is_meta for weights in module.parameters()):
            raise ArgumentError(
                f"not all weights of {self.name} are in this machine's memory, so they cannot "
                "be hashed to identify its results; load it with store=None",
                "store",
            )
        config = json.loads(module.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)  # the path does not identify the model
        weights = module.state_dict(keep_vars=True)
        state = [json.dumps(config, sort_keys=True)]
        for name, tensor in weights.items():
            version = None if tensor.is_inference() else tensor._version
            state.append((name, id(tensor), tensor.data_ptr(), version))
        if self._known_sum.get("state") != state:
            self._known_sum["sum"] = tensors_digest(module.state_dict(), config)
            self._known_sum["state"] = state
        return self._known_sum["sum"]

    @checked
    def layer(self, index: int) -> Envoy:
        """Return a decoder layer, whose ``.output`` in a trace is the residual stream after it.

        Raises:
            ValueError: If there is no such layer.
        """
        known = isinstance(index, int) and not isinstance(index, bool)
        if not known or not 0 <= index < self.n_layers:
            raise ArgumentError(
                f"layer {index!r} given; {self.name} has layers 0-{self.n_layers - 1}", "layer"
            )
        return self.lm.get(layers_path(self.lm))[index]

    @property
    def device(self) -> torch.device:
        """Device of the model's input: that of its first weights, or the CPU for meta weights.

        Later layers may be on other devices (``device_map="auto"``), so tensors must be moved to
        the device of the residual stream.
        """
        device = next(self.hf.parameters()).device
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def stop_ids(self) -> list[int]:
        """Token ids that end a generation: end of text or of turn."""
        configured = self.hf.generation_config.eos_token_id
        ids = {
            self.tokenizer.eos_token_id,
            *(configured if isinstance(configured, list) else [configured]),
        }
        ids |= {self.tokenizer.convert_tokens_to_ids(token) for token in self._turn_ends}
        return sorted(ids - {None})

    @property
    def turn_end(self) -> str:
        """The token that ends an answer: the chat template's, or end of text."""
        known = self._turn_ends
        return known[0] if known and self.tokenizer.chat_template else self.tokenizer.eos_token

    @cached_property
    def _turn_ends(self) -> list[str]:
        """The known tokens of `TURN_ENDS`; cached, since building a vocabulary dict is slow."""
        return sorted(set(TURN_ENDS) & set(self.tokenizer.get_vocab()), key=TURN_ENDS.index)

    @property
    def styles(self) -> tuple[Style, ...]:
        """The prompt styles that the model supports; a base model has no chat template."""
        return ("chat", "plain") if self.tokenizer.chat_template else ("plain",)

    def warn_beyond_range(self, what: str) -> None:
        """Warn that a result is NaN because the residual stream overflows the dtype.

        Args:
            what: The consequence, which starts the message.
        """
        warn(
            f"{what}: the residual stream of {self.name} overflows {self.lm.dtype}. Steer less, "
            "or load the model with dtype=torch.bfloat16 or torch.float32",
        )

    def require_local(self, what: str) -> None:
        """Raise if the model is remote, for operations that need it on this machine.

        Args:
            what: The operation, which starts the message.

        Raises:
            ValueError: If the model runs remotely.
        """
        if self.remote:
            raise ArgumentError(
                f"{what} needs the model on this machine; {self.name} has remote={self.remote!r}, "
                "which supports capture, generate and log_probabilities; load it with remote=False",
                "remote",
            )
