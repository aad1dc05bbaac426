"""SAE-Lens with TransformerLens' bridge to transformers."""

import copy
from collections.abc import Sequence

import torch
from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge
from torch import Tensor

from benchmarks.peers.work import Asked, Found, Work, decoded, rank
from saif_helpers.vectors import SteeringVector


class Bridge:
    """Caches named activations of a batch, and adds a vector with the bridge's hooks."""

    name = "SAE-Lens with TransformerBridge"
    note = ""

    def __init__(self, work: Work) -> None:
        """Build the bridge from a copy of the model, whose modules it replaces."""
        self.work = work
        self.model = SAETransformerBridge.boot_transformers(
            work.lm.config.name_or_path or work.lm.config.model_type,
            hf_model=copy.deepcopy(work.lm),
            tokenizer=work.tokenizer,
            device="cpu",
        )

    @torch.no_grad()
    def identify(self, layers: Sequence[int]) -> Found:
        """Find latents at the last position of the cache; the pass stops after the last layer."""
        names = {layer: f"blocks.{layer}.hook_out" for layer in layers}
        kept: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        options = {"prepend_bos": False, "padding_side": "left", "pos_slice": -1}
        options |= {"names_filter": [*names.values()], "stop_at_layer": layers[-1] + 1}
        prompts, size = self.work.positive + self.work.negative, self.work.batch_size
        for start in range(0, len(prompts), size):
            _, cache = self.model.run_with_cache(prompts[start : start + size], **options)
            for layer, name in names.items():
                kept[layer].append(cache[name].flatten(0, -2))
        return rank(self.work.saes, {layer: torch.cat(parts) for layer, parts in kept.items()})

    @torch.no_grad()
    def generate(self, asked: Asked, steering: SteeringVector) -> list[str]:
        """Generate with a vector added at the last position of every forward pass."""

        def add(residual: Tensor, hook: object) -> Tensor:
            residual[:, -1] += steering.vector
            return residual

        options = {"max_new_tokens": asked.new_tokens, "do_sample": False, "verbose": False}
        options |= {"prepend_bos": False, "return_type": "tokens", "eos_token_id": asked.stop_ids}
        texts = []
        with self.model.hooks(fwd_hooks=[(f"blocks.{steering.layer}.hook_out", add)]):
            for start in range(0, len(asked.prompts), asked.batch_size):
                prompts = asked.prompts[start : start + asked.batch_size]
                width = self.model.to_tokens(prompts, prepend_bos=False).shape[1]
                new = self.model.generate(prompts, **options)[:, width:]
                texts += decoded(self.work.tokenizer, new, asked)
        return texts
