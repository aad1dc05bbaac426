"""Generation of one batch with interventions, through nnsight; `steering.generate` calls it.

Finished rows leave the batch, and the cache of equal prompts is computed once.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import nnsight
import torch
from jaxtyping import Bool, Float, Int
from nnsight.intervention.interleaver import OutOfOrderError
from torch import Tensor
from transformers import DynamicCache

from saif_helpers._internal.arguments import seed_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.cache.entry import digest
from saif_helpers.generation.interventions import BatchEdits
from saif_helpers.generation.key_value_cache import empty_cache
from saif_helpers.model.model import ModelWithSAEs

LEAVING = 8
"""Minimum number of finished rows before the batch is compacted (or a quarter of it, if larger).

A finished row is padded until it is dropped, at the full cost of a row; compacting the batch costs
about as much as one token of 20 rows in a small model.
"""
NOTHING_BUT_GREEDY = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "min_length": 0,
    **dict.fromkeys(
        (
            "bad_words_ids",
            "begin_suppress_tokens",
            "cache_implementation",
            "exponential_decay_length_penalty",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "guidance_scale",
            "max_time",
            "min_new_tokens",
            "no_repeat_ngram_size",
            "prompt_lookup_num_tokens",
            "sequence_bias",
            "stop_strings",
            "suppress_tokens",
        )
    ),
}
"""Overrides of a model's ``generation_config``, so that decoding is plain greedy by default."""


@checked
@dataclass(frozen=True)
class Sampling:
    """Parameters of sampling, as opposed to greedy decoding.

    >>> dice = saif.Sampling(temperature=0.7, top_p=0.9, seed=1)
    >>> drawn = saif.generate(organism, prompts, vector, sampling=dice)

    Attributes:
        temperature: Divisor of the logits; above 0.
        top_p: Cumulative probability of the tokens to sample from (nucleus sampling).
        seed: Random seed; the same seed, prompts and batch give the same outputs.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise if a parameter is out of range."""
        if not 0 < self.temperature < float("inf"):
            raise ArgumentError(
                f"temperature={self.temperature} given; give a number above 0", "temperature"
            )
        if not 0 < self.top_p <= 1:
            raise ArgumentError(
                f"top_p={self.top_p} given; give a number above 0, at most 1", "top_p"
            )
        seed_number(self.seed)

    @property
    def options(self) -> dict[str, float | bool | None]:
        """The options for transformers' ``generate``, which override the model's own."""
        return {
            "do_sample": True,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0,
            "typical_p": 1.0,
            "epsilon_cutoff": 0.0,
            "eta_cutoff": 0.0,
            "min_p": None,
            "top_h": None,
        }

    def seed_of_batch(self, rows: Sequence[int]) -> int:
        """Return the seed of a batch, different for each batch of a call."""
        return int(digest([self.seed, *rows])[:15], 16)


def generate_batch(
    model: ModelWithSAEs,
    tokens: Mapping[str, Int[Tensor, "rows tokens"]],
    edits: BatchEdits,
    max_new_tokens: int,
    sampling: Sampling | None = None,
) -> Int[Tensor, "rows new_tokens"]:
    """Generate from one left-padded batch, with interventions.

    When enough rows have finished, generation stops, drops them from the batch and the cache, and
    resumes. Until then they are padded; padding is steered too, but does not affect other rows. A
    remote model generates without compaction, since the cache would have to be downloaded.
    """
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    cache = None if model.remote else _first_cache(model, tokens, edits, max_new_tokens)
    new = torch.full((len(ids), max_new_tokens), model.tokenizer.pad_token_id)
    rows, done = torch.arange(len(ids)), 0
    while done < max_new_tokens:
        n = max_new_tokens - done
        ids = _generate_stage(model, ids, mask, cache, edits, done, n, sampling)
        written = ids[:, tokens["input_ids"].shape[1] + done :]
        new[rows, done : done + written.shape[1]] = written
        done += written.shape[1]
        goes_on = ~torch.isin(written, torch.tensor(model.stop_ids)).any(1)
        if not goes_on.any() or cache is None:
            break
        rows, ids = rows[goes_on], ids[goes_on]
        mask = torch.cat([mask[goes_on], torch.ones_like(written[goes_on])], 1)
        edits = edits.select(goes_on)
        cache.batch_select_indices(goes_on.nonzero()[:, 0])
    return new


def _first_cache(
    model: ModelWithSAEs,
    tokens: Mapping[str, Int[Tensor, "rows tokens"]],
    edits: BatchEdits,
    max_new_tokens: int,
) -> DynamicCache:
    """Build the cache of all but the last token of each prompt, computing equal prompts once.

    The cache is empty if these tokens are steered or all prompts differ.
    """
    cache = empty_cache(model.lm.config, max_new_tokens)
    if tokens["input_ids"].shape[1] == 1 or not edits.leave_prompts_alone:
        return cache
    names = ("input_ids", "attention_mask", "position_ids")
    rows = torch.stack([tokens[name][:, :-1] for name in names], 1)
    prompts, prompt_of_row = rows.unique(dim=0, return_inverse=True)
    if len(prompts) < len(rows):
        inputs = {name: prompts[:, i].to(model.device) for i, name in enumerate(names)}
        with torch.no_grad():
            model.hf.base_model(**inputs, past_key_values=cache, use_cache=True)
        cache.batch_select_indices(prompt_of_row)
    return cache


def _generate_stage(
    model: ModelWithSAEs,
    ids: Int[Tensor, "rows tokens"],
    mask: Int[Tensor, "rows tokens"],
    cache: DynamicCache | None,
    edits: BatchEdits,
    done: int,
    n_tokens: int,
    sampling: Sampling | None,
) -> Int[Tensor, "rows longer"]:
    """Append up to `n_tokens` tokens to rows that have `done` new tokens already.

    It stops early when enough rows have finished, except on a remote model, which cannot run the
    stopping criterion.

    The trace block must not reference this package or contain another trace, see `remote`.
    """
    lm, changes = model.lm, edits.for_trace(model, done, n_tokens)
    inputs = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}
    options = {"max_new_tokens": n_tokens, "eos_token_id": model.stop_ids}
    options |= NOTHING_BUT_GREEDY | (sampling.options if sampling else {"do_sample": False})
    options |= {"use_cache": True, "pad_token_id": model.tokenizer.pad_token_id}
    if not model.remote:  # NDIF cannot run these functions
        options["logits_processor"] = [partial(_end_beyond_range, model)]
        options["stopping_criteria"] = [partial(_enough_have_ended, model.stop_ids, ids.shape[1])]
    with torch.no_grad(), lm.generate(**inputs, **options, remote=model.remote) as tracer:
        new = nnsight.save([])
        # nnsight raises this when generation ends before the loop.
        with suppress(OutOfOrderError):
            for step in tracer.iter[:n_tokens]:
                for layer, change, scales in changes:
                    if step >= len(scales):
                        continue
                    residual = layer.output
                    factor = scales[step][:, -residual.shape[1] :, None].to(residual)
                    full = change(residual) if callable(change) else change.to(residual)
                    layer.output = residual + factor * full
                # The streamer emits the prompt before the first new token, hence `step + 1`.
                for _ in tracer.iter[step + 1]:
                    new.append(lm.generator.streamer.output)
    return torch.cat([ids, torch.stack(new, 1)], 1)


def _enough_have_ended(
    stop_ids: Sequence[int], start: int, ids: Int[Tensor, "rows tokens"], _: object
) -> Bool[Tensor, "rows"]:
    """Return, for all rows alike, whether enough have finished to compact the batch."""
    ended = torch.isin(ids[:, start:], torch.tensor(stop_ids, device=ids.device)).any(1)
    return (ended.sum() >= max(LEAVING, len(ids) / 4)).expand(len(ids))


def _end_beyond_range(
    model: ModelWithSAEs, _: Tensor, logits: Float[Tensor, "rows vocabulary"]
) -> Float[Tensor, "rows vocabulary"]:
    """End rows whose logits are NaN, for which greedy decoding would pick token 0."""
    broken = logits.isnan().any(1)
    if broken.any():
        ended = f"{int(broken.sum())} outputs end early, so most graders will fail them"
        model.warn_beyond_range(ended)
        logits[broken] = -torch.inf
        logits[broken, model.stop_ids[0]] = 0
    return logits
