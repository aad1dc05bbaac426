"""Steered generation: a vector is added to the residual stream while the model generates.

Paper, causal steering: z' = z + vector (standing: ours).
"""

from collections.abc import Sequence

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor

from saif_helpers._internal.arguments import ArgumentError, several, whole_number
from saif_helpers._internal.checked import checked
from saif_helpers.generation.decoding import Sampling, generate_batch
from saif_helpers.generation.interventions import (
    BatchEdits,
    Edit,
    Intervention,
    Steering,
    edits_of,
    intervention_keys,
)
from saif_helpers.model.batching import ONE_AT_A_TIME, check_context_length
from saif_helpers.model.cached_batches import cached_batches
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import Prompt, tokenize, without_bos
from saif_helpers.placements import PLACEMENTS, Placement, position_scales

__all__ = ["PLACEMENTS", "Intervention", "Placement", "generate", "log_probabilities"]


@checked
def generate(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    steering: Steering = None,
    *,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] = (),
) -> list[str]:
    """Generate from each prompt, optionally steered, greedily unless `sampling` is given.

    The first pass reads the prompt, and its last position (the read-out position) produces the
    first generated token; each later pass reads one generated token and produces the next. A
    vector's placement determines at which positions it is added to the residual stream after its
    layer. It is added once per position: the key-value cache is not steered again.

    ======================  =====================  ==================  ==========================
    placement               prompt before its end  read-out position   t-th generated token
    ======================  =====================  ==================  ==========================
    ``last_prompt_token``   -                      1                   -
    ``every_position``      1                      1                   1
    ``generated_tokens``    -                      -                   1
    ``decaying``            -                      1                   ``decay ** t``, t = 1, 2...
    a slice, or a mask      1 if selected          1 if selected       -
    ======================  =====================  ==================  ==========================

    Padding and the beginning-of-sequence token are never steered. For a remote model, each batch is
    one request for all passes, which returns the tokens.

    >>> outputs = saif.generate(organism, prompts, vector.at("decaying", decay=0.5))
    >>> several = [vector, vector.at("every_position")]
    >>> mixed = saif.generate(organism, prompts[:2], [None, several])

    Args:
        model: The model.
        prompts: Rendered prompts (see `prompts.render`).
        steering: A vector to add, or latents to clamp; or a list with one intervention, several or
            None for each prompt, so that a sweep can share passes (layers and placements may
            differ); or None for no steering.
        max_new_tokens: Maximum number of tokens, unless the turn or the text ends earlier.
        batch_size: Prompts per batch; by default 128, on a GPU see `batching.default_batch_size`.
        sampling: Sampling parameters; None for greedy decoding.
        stop: Stop strings, which are not part of the output.

    Returns:
        The generated texts without special tokens, in the order of `prompts`. A text ends early,
        with a warning, if the residual stream overflows the model's dtype.

    Raises:
        ValueError: If there is nothing to generate or no room for it in the model's context, a
            layer does not exist, a vector does not have d_model entries or is not finite, there is
            not one entry per prompt, or latents are clamped with two SAEs of a layer or remotely.
    """
    sizes = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    if "" in (ends := several(stop)):
        raise ArgumentError("an empty string given in stop; give non-empty strings", "stop")
    written = generate_ids(model, prompts, steering, sampling=sampling, **sizes)
    return [_until(text_of(model, ids), ends) for ids in written]


def _until(text: str, ends: Sequence[str]) -> str:
    """Truncate a text before the first of several stop strings."""
    return text[: min((text.find(end) for end in ends if end in text), default=len(text))]


def text_of(model: ModelWithSAEs, ids: Sequence[int]) -> str:
    """Decode generated tokens.

    Args:
        model: The model, for its tokenizer.
        ids: Token ids of an output.

    Returns:
        The text without special tokens.
    """
    return model.tokenizer.decode(ids, skip_special_tokens=True)


def generate_ids(
    model: ModelWithSAEs,
    prompts: Sequence[Prompt],
    steering: Steering = None,
    *,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
    sampling: Sampling | None = None,
) -> list[list[int]]:
    """Generate as `generate` does, and return token ids.

    Args:
        model: As for `generate`.
        prompts: Rendered prompts, or their token ids.
        steering: As for `generate`.
        max_new_tokens: Maximum number of tokens to generate.
        batch_size: Prompts per batch.
        sampling: As for `generate`.

    Returns:
        The ids of each output, including stop tokens and padding.

    Raises:
        ValueError: As `generate`.
    """
    max_new_tokens = whole_number("max_new_tokens", max_new_tokens)
    if sampling and model.remote:
        raise ArgumentError("remote sampling cannot be seeded; generate greedily", "sampling")
    edits = edits_of(model, steering, len(prompts))
    written: list[list[int]] = [[] for _ in prompts]

    def step(rows: list[int], tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        here = batch_edits(model, [edit.select(rows) for edit in edits], tokens)
        if sampling is None:
            return {"new": generate_batch(model, tokens, here, max_new_tokens)}
        with torch.random.fork_rng():
            torch.manual_seed(sampling.seed_of_batch(rows))
            return {"new": generate_batch(model, tokens, here, max_new_tokens, sampling)}

    def keys() -> Sequence[object]:  # sampled rows are never duplicates
        found = intervention_keys(steering, len(prompts))
        return list(enumerate(found)) if sampling else found

    settings = {
        "max_new_tokens": max_new_tokens,
        "stop_ids": model.stop_ids,
        "pad_token_id": model.tokenizer.pad_token_id,
        "generation_config": model.hf.generation_config.to_dict(),
    }
    for rows, found in cached_batches(
        model,
        prompts,
        step,
        batch_size,
        kind="generate",
        settings=settings | ({"sampling": vars(sampling)} if sampling else {}),
        each=keys,
        given=f"max_new_tokens={max_new_tokens}, steered layers {[edit.layer for edit in edits]}",
        new_tokens=max_new_tokens,
        without_gpu=128,
    ):
        for row, ids in zip(rows, found["new"].tolist(), strict=True):
            written[row] = ids
    return written


def batch_edits(
    model: ModelWithSAEs, edits: Sequence[Edit], tokens: dict[str, Tensor]
) -> BatchEdits:
    """Combine the edits of a batch with the scales at its tokens.

    Args:
        model: The model.
        edits: The edits, restricted to the batch's prompts.
        tokens: The batch, from `tokens.tokenize`.

    Returns:
        The edits and their scales.
    """
    counted = without_bos(tokens, model.tokenizer)
    padding = (tokens["attention_mask"] == 0).sum(1).tolist()
    return BatchEdits(edits, [position_scales(counted, padding, one.placements) for one in edits])


@checked
def log_probabilities(
    model: ModelWithSAEs, prompt: str, output: str, steering: Steering = None
) -> Float[Tensor, "tokens"]:
    """Compute the log-probability of each token of an output, steered as in `generate`.

    The model reads prompt and output in one pass, steered at the positions of `generate`. Each
    token is conditioned on the prompt and the preceding tokens, to isolate an effect on this token.

    >>> with_it = saif.log_probabilities(organism, prompts[0], outputs[0], vector)
    >>> change = with_it - saif.log_probabilities(organism, prompts[0], outputs[0])

    Args:
        model: The model.
        prompt: A rendered prompt (see `prompts.render`).
        output: An answer to it, tokenised as plain text.
        steering: A vector to add or latents to clamp, a list of a list of several, or None.

    Returns:
        Natural logarithm of each token's probability, without the end-of-turn token. NaN, with a
        warning, if the residual stream overflows the model's dtype.

    Raises:
        ValueError: As `generate`.
    """
    asked = tokenize([prompt], model.tokenizer)
    written = model.tokenizer(output, add_special_tokens=False)["input_ids"]
    if not written:
        return torch.empty(0)
    targets = torch.tensor([written])
    ids = torch.cat([asked["input_ids"], targets], 1)
    check_context_length(model, ids.tolist())
    edits = batch_edits(model, edits_of(model, steering, 1), asked)
    changes = []
    for layer, change, scales in edits.for_trace(model, 0, len(written) + 1):
        scale = torch.cat(scales, 1)
        padded = torch.nn.functional.pad(scale, (0, ids.shape[1] - scale.shape[1]))
        changes.append((layer, change, padded[:, :, None]))
    options = {"use_cache": False, "remote": model.remote}
    with ONE_AT_A_TIME, torch.no_grad(), model.lm.trace(input_ids=ids, **options) as tracer:
        for layer, change, scale in changes:
            residual = layer.output
            full = change(residual) if callable(change) else change.to(residual)
            layer.output = residual + scale.to(residual) * full
        logits = tracer.result.logits[:, -targets.shape[1] - 1 : -1].float()
        likely = logits.log_softmax(-1).gather(2, targets[:, :, None].to(logits.device))
        likely = nnsight.save(likely.detach())
    if likely.isnan().any():
        model.warn_beyond_range("the probabilities of some tokens are not known")
    return likely[0, :, 0].cpu()
