"""A language model together with its tokenizer and its SAEs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from nnsight import Envoy, TransformersModel
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.checked import checked
from saif_helpers._internal.types import Corpus, Remote, Style
from saif_helpers._internal.warn import warn
from saif_helpers.cache.entry import tensors_digest
from saif_helpers.cache.store import Store
from saif_helpers.model.architecture import layers_path
from saif_helpers.model.collection import SAECollection

SAE_BYTES = 3 * 2**30  # of SAEs held at once, where they come from the Hub
TURN_ENDS = ("<end_of_turn>", "<|eot_id|>", "<|im_end|>")


@dataclass(frozen=True, eq=False)
class ModelWithSAEs:
    """A language model, its tokenizer and its SAEs.

    >>> organism.n_layers, organism.d_model, organism.saes.layers
    (4, 96, [0, 2])

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
    def hf(self) -> torch.nn.Module:
        """The transformers model itself, without nnsight around it."""
        return self.lm._module

    @property
    def fingerprint(self) -> str:
        """The sha256 sum of the model's weights and configuration.

        It is worked out anew when PyTorch has counted a change of a tensor, or another tensor has
        taken its place. A change by way of ``.data`` is not counted.

        Raises:
            ValueError: If weights are not in memory, so that models cannot be told apart.
        """
        module = self.hf
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

    @checked
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
        return self.lm.get(layers_path(self.lm))[index]

    @property
    def device(self) -> torch.device:
        """Where the model takes its input: its first weights, or the CPU where those are elsewhere.

        Later layers may be on other devices (``device_map="auto"``), so what meets the residual
        stream is moved to where that is.
        """
        device = next(self.hf.parameters()).device
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def stop_ids(self) -> list[int]:
        """Token ids that end a generation: the end of the text or of the model's turn."""
        configured = self.hf.generation_config.eos_token_id
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
        """Warn that a result holds no number because the dtype is too narrow for it.

        Args:
            what: What has become of which result, to begin the message with.
        """
        warn(
            f"{what}: the residual stream of {self.name} went beyond {self.lm.dtype}. Steer less, "
            "or load the model with dtype=torch.bfloat16 or torch.float32",
        )

    def require_local(self, what: str) -> None:
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
