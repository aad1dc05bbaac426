"""Dry runs that measure the peak memory of tensors without computing anything.

On PyTorch's meta device, tensors have a shape and a dtype but no contents. The model runs there as
it would on a GPU, and the sizes of all live tensors are added up.
"""

import weakref

import torch
from sae_lens import JumpReLUSAE
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import DynamicCache, PreTrainedModel

from saif_helpers.latents import encode
from saif_helpers.ranking import rank_latents


class _PeakBytes(TorchDispatchMode):
    """Tracks the bytes of live tensors created in the context, and their maximum."""

    def __init__(self, module: torch.nn.Module) -> None:
        """Start with a module's own tensors, so that views of them are not counted."""
        super().__init__()
        self.live = self.peak = 0
        fixed = [*module.parameters(), *module.buffers()]
        self._storages = {tensor.untyped_storage()._cdata for tensor in fixed}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._storages:
            self._storages.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.live -= size


def _inputs(model: PreTrainedModel, rows: int, tokens: int) -> dict:
    """Return token ids and the attention masks for padding, one for each kind of layer."""
    mask = torch.zeros(rows, 1, tokens, tokens, dtype=model.dtype)
    kinds = getattr(model.config, "layer_types", None)
    masks = mask if kinds is None else dict.fromkeys(kinds, mask)
    return {"input_ids": torch.zeros(rows, tokens, dtype=torch.long), "attention_mask": masks}


def reading(model: PreTrainedModel, rows: int, tokens: int) -> int:
    """Measure one pass through the layers, as in `capture`.

    Memory of earlier stopped traces that Python has not yet garbage-collected is not counted.

    Args:
        model: A model on the meta device, which must be the default device.
        rows: Number of prompts in the batch.
        tokens: Number of tokens in each.

    Returns:
        Bytes of all tensors at the peak, excluding the model's own.
    """
    with _PeakBytes(model) as memory:
        model.model(**_inputs(model, rows, tokens), use_cache=False)
    return memory.peak


def ranking(sae: JumpReLUSAE, pairs: int) -> int:
    """Measure the ranking of captured pairs, as in `rank_captured`.

    Args:
        sae: An SAE on the meta device, which must be the default device.
        pairs: Number of prompt pairs.

    Returns:
        Bytes of all tensors at the peak, excluding the SAE's own.
    """
    residual = torch.zeros(pairs, sae.cfg.d_in)
    with _PeakBytes(sae) as memory:
        rank_latents(encode(sae, residual), encode(sae, residual))
    return memory.peak


def generating(model: PreTrainedModel, rows: int, tokens: int, new_tokens: int) -> tuple[int, int]:
    """Measure a generation from one batch of prompts, as in `generate`.

    Args:
        model: A model on the meta device, which must be the default device.
        rows: Number of prompts in the batch.
        tokens: Number of tokens in each.
        new_tokens: Number of tokens generated for each.

    Returns:
        Maximum size of the key-value cache in bytes, and bytes of all other tensors at the peak of
        the prefill pass; later passes process one token per prompt and need less.
    """
    cache = DynamicCache(config=model.config)
    with _PeakBytes(model) as memory:
        inputs = _inputs(model, rows, tokens)
        # As in transformers' generate: logits of the last position only, with a float32 copy.
        output = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        output.logits[:, -1].to(copy=True, dtype=torch.float32)
    sizes = [_held(cache)]
    activations = memory.peak - sizes[0]
    for _ in range(new_tokens - 1):  # the last generated token is never processed
        for index, layer in enumerate(cache.layers):
            cache.update(layer.keys[:, :, :1], layer.values[:, :, :1], index)
        sizes.append(_held(cache))
    return max(sizes), activations


def _held(cache: DynamicCache) -> int:
    """Return the bytes that a cache keeps alive, including storage outside a layer's window."""
    states = [state for layer in cache.layers for state in (layer.keys, layer.values)]
    return sum(state.untyped_storage().nbytes() for state in states)
