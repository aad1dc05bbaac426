"""Dry runs: how many bytes of tensors a piece of work makes, without doing it.

On PyTorch's meta device tensors have a shape and a type but no contents. The model runs there as
it would on a GPU, and what is alive at once is added up.
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
    """Count the bytes of the tensors made inside, and the most that were alive at once."""

    def __init__(self, module: torch.nn.Module) -> None:
        """Take the module that runs; views of its tensors are nothing new."""
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
    """Make token ids and the masks that padding needs, one for each kind of layer."""
    mask = torch.zeros(rows, 1, tokens, tokens, dtype=model.dtype)
    kinds = getattr(model.config, "layer_types", None)
    masks = mask if kinds is None else dict.fromkeys(kinds, mask)
    return {"input_ids": torch.zeros(rows, tokens, dtype=torch.long), "attention_mask": masks}


def reading(model: PreTrainedModel, rows: int, tokens: int) -> int:
    """Measure one pass through the layers, as `capture` makes it.

    What a stopped trace leaves of the batches before it, until Python's garbage collector comes
    round, is not counted.

    Args:
        model: A model on the meta device, which must be the default device.
        rows: Prompts in the batch.
        tokens: Tokens of each.

    Returns:
        Bytes of all tensors at the peak, the model's own left out.
    """
    with _PeakBytes(model) as memory:
        model.model(**_inputs(model, rows, tokens), use_cache=False)
    return memory.peak


def ranking(sae: JumpReLUSAE, pairs: int) -> int:
    """Measure the ranking of captured pairs, as `rank_captured` makes it.

    Args:
        sae: An SAE on the meta device, which must be the default device.
        pairs: Prompt pairs.

    Returns:
        Bytes of all tensors at the peak, the SAE's own left out.
    """
    residual = torch.zeros(pairs, sae.cfg.d_in)
    with _PeakBytes(sae) as memory:
        rank_latents(encode(sae, residual), encode(sae, residual))
    return memory.peak


def generating(model: PreTrainedModel, rows: int, tokens: int, new_tokens: int) -> tuple[int, int]:
    """Measure a generation from one batch of prompts, as `generate` makes it.

    Args:
        model: A model on the meta device, which must be the default device.
        rows: Prompts in the batch.
        tokens: Tokens of each.
        new_tokens: Tokens generated from each.

    Returns:
        Bytes of the key-value cache at its largest, and of all other tensors at the peak of the
        pass that reads the prompts; later passes read one token each and need less.
    """
    cache = DynamicCache(config=model.config)
    with _PeakBytes(model) as memory:
        inputs = _inputs(model, rows, tokens)
        # Like transformers' generate: the last position's logits only, and a copy in float32.
        output = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        output.logits[:, -1].to(copy=True, dtype=torch.float32)
    sizes = [_held(cache)]
    activations = memory.peak - sizes[0]
    for _ in range(new_tokens - 1):  # the last token that is generated is never read
        for index, layer in enumerate(cache.layers):
            cache.update(layer.keys[:, :, :1], layer.values[:, :, :1], index)
        sizes.append(_held(cache))
    return max(sizes), activations


def _held(cache: DynamicCache) -> int:
    """Return what a cache keeps alive: whole storages, of which a layer may show a window only."""
    states = [state for layer in cache.layers for state in (layer.keys, layer.values)]
    return sum(state.untyped_storage().nbytes() for state in states)
