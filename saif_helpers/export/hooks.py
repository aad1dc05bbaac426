"""Steering of a plain transformers model with removable hooks.

The model is neither wrapped nor modified. Each pass adds the same vectors as `steering.generate`,
so that greedy generation gives the same tokens.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.model.architecture import check_architecture, decoder_layers
from saif_helpers.model.tokens import without_first
from saif_helpers.placements import Placed, PositionScales, position_scales, vector_in


@contextmanager
def steered(
    model: Any, placed: Placed, tokenizer: PreTrainedTokenizerBase | None = None
) -> Iterator[PreTrainedModel]:
    """Steer a transformers model within a context; see `SteeringVector.apply`.

    Args:
        model: A transformers causal language model.
        placed: The vector, and where it is added.
        tokenizer: The model's tokenizer; by default the beginning-of-sequence token is taken from
            the model's configuration.

    Yields:
        The model.

    Raises:
        ValueError: As `SteeringVector.apply`.
    """
    if not isinstance(model, PreTrainedModel):
        hint = "its .hf" if hasattr(model, "hf") else "AutoModelForCausalLM.from_pretrained(...)"
        raise ArgumentError(
            f"a vector cannot be applied to a {type(model).__name__}; give a transformers model: "
            f"{hint}",
            "model",
        )
    name, config = type(model).__name__, model.config.get_text_config()
    layers = decoder_layers(model)
    check_architecture(model, name)
    if not 0 <= placed.layer < len(layers):
        raise ArgumentError(
            f"layer {placed.layer} cannot be steered; {name} has layers 0-{len(layers) - 1}",
            "layer",
        )
    vector = vector_in(placed, config.hidden_size, model.dtype, name).detach()
    begins = (tokenizer or config).bos_token_id
    passes = _Passes(placed, begins, getattr(config, "use_cache", True))

    def add(_module: torch.nn.Module, _inputs: tuple, output: Any) -> Any:
        return _added(output, vector, passes.scale)

    handles = [
        model.base_model.register_forward_pre_hook(passes.follow, with_kwargs=True),
        layers[placed.layer].register_forward_hook(add),
    ]
    try:
        yield model
    finally:
        for handle in handles:
            handle.remove()


def _added(
    output: Any, vector: Float[Tensor, "d_model"], scale: Float[Tensor, "rows positions"] | None
) -> Any:
    """Return a layer's output, or a tuple that starts with it, with the vector added."""
    if scale is None:
        return output
    residual = output[0] if isinstance(output, tuple) else output
    full = residual + scale[:, :, None].to(residual) * vector.to(residual)
    return (full, *output[1:]) if isinstance(output, tuple) else full


class _Passes:
    """Tracks the passes of a generation by the state of the cache when each pass begins."""

    def __init__(self, placed: Placed, bos_token_id: int | None, use_cache: bool) -> None:
        self._placed, self._bos_token_id, self._use_cache = placed, bos_token_id, use_cache
        self._scales: PositionScales | None = None
        self._rows, self._prompt_length, self._read = 0, 0, 0
        self._uncached: Int[Tensor, "rows tokens"] | None = None
        self.scale: Float[Tensor, "rows positions"] | None = None
        """Scale of the vector at each position of the current pass."""

    def follow(self, module: torch.nn.Module, inputs: tuple, options: dict[str, Any]) -> None:
        """Compute the scale of the pass that is about to begin.

        Raises:
            ValueError: If the positions of the pass cannot be determined.
        """
        signature = inspect.signature(type(module).forward)
        given = signature.bind_partial(module, *inputs, **options).arguments
        ids, cache = given.get("input_ids"), given.get("past_key_values")
        if ids is None:
            raise ArgumentError(
                "a steered pass has no input_ids, which are needed to find the beginning of the "
                "sequence; give token ids instead of embeddings",
                "input_ids",
            )
        before = 0 if cache is None else int(cache.get_seq_length())
        if before:
            self._go_on(ids, before)
        else:
            self._begin(ids, given)

    def _begin(self, ids: Int[Tensor, "rows tokens"], given: Mapping[str, Any]) -> None:
        """Handle the pass over the prompts."""
        asked = given.get("use_cache")
        cached = given.get("past_key_values") is not None
        cached = cached or (self._use_cache if asked is None else asked)
        if not cached and self._repeats_the_last(ids):
            raise ArgumentError(
                "a pass without a cache repeats the previous one plus one token, so its prompt "
                "cannot be distinguished from generated tokens; generate with use_cache=True",
                "use_cache",
            )
        mask = _mask(ids, given.get("attention_mask"))
        tokens = {"input_ids": ids.cpu(), "attention_mask": mask}
        tokens["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        counted = without_first(tokens, self._bos_token_id)
        placements = [(self._placed.placement, self._placed.decay)] * len(ids)
        padding = (mask == 0).sum(1).tolist()
        self._scales = position_scales(counted, padding, placements)
        self._uncached = None if cached else ids.clone()
        self._rows, self._prompt_length = ids.shape
        self._read = self._prompt_length
        self.scale = self._scales.at(0)

    def _repeats_the_last(self, ids: Int[Tensor, "rows tokens"]) -> bool:
        return self._uncached is not None and torch.equal(ids[:, :-1], self._uncached)

    def _go_on(self, ids: Int[Tensor, "rows new"], before: int) -> None:
        """Handle a pass over one generated token of each prompt."""
        if before != self._read or ids.shape != (self._rows, 1):
            raise ArgumentError(
                f"a pass reads {ids.shape[1]} tokens of {len(ids)} texts after {before} in the "
                f"cache, where one token of {self._rows} texts was expected after {self._read}; "
                "let the steered model read the whole prompt in one pass, and then token by token "
                "(no cache from before, no prefill_chunk_size, no assistant_model)",
                "past_key_values",
            )
        self._read += 1
        self.scale = self._scales.at(self._read - self._prompt_length)


def _mask(ids: Int[Tensor, "rows tokens"], mask: Any) -> Int[Tensor, "rows tokens"]:
    """Return the attention mask of prompts, in which padding must be on the left.

    Raises:
        ValueError: If its shape is wrong, or padding is elsewhere.
    """
    if mask is None:
        mask = torch.ones_like(ids)
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ArgumentError(
            f"an attention mask of shape {shape} given for tokens of shape {tuple(ids.shape)}; "
            "give one number for each token, and generate with the usual cache, which takes it",
            "attention_mask",
        )
    mask = (mask != 0).long().cpu()
    if (mask[:, 1:] < mask[:, :-1]).any():
        raise ArgumentError(
            "prompts with padding inside or on the right given; set tokenizer.padding_side='left'",
            "attention_mask",
        )
    return mask
