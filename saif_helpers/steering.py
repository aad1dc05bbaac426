"""Steered generation through nnsight: a vector is added while the model writes.

Paper, causal steering: z' = z + vector (standing: ours). At which positions of the generation it is
added is not known, so the placement is a parameter.
"""

from collections.abc import Mapping, Sequence

import nnsight
import torch
from jaxtyping import Float, Int
from nnsight.intervention.interleaver import OutOfOrderError
from torch import Tensor
from transformers import DynamicCache

from saif_helpers.interventions import (
    PLACEMENTS,
    Additions,
    Intervention,
    Placement,
    Steering,
    Weights,
    additions,
    position_weights,
)
from saif_helpers.models import ModelWithSAEs
from saif_helpers.progress import progress
from saif_helpers.tokens import batches, tokenize, without_bos

__all__ = ["PLACEMENTS", "Intervention", "Placement", "generate", "log_probabilities"]

TOKENS_A_STAGE = 6
"""Tokens generated between two looks at which rows have ended; few enough to drop them soon."""


def generate(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    steering: Steering = None,
    *,
    placement: Placement = "last_prompt_token",
    strength: float = 1.0,
    decay: float = 0.8,
    max_new_tokens: int = 40,
    batch_size: int = 128,
) -> list[str]:
    """Generate greedily from each prompt, optionally steered.

    The model reads the prompt in one pass, whose last position (the read-out position) produces the
    first generated token; each later pass reads one generated token and produces the next. A
    placement says which positions' residual streams, after the vector's layer, get the vector. Each
    of them gets it once: what it leaves in the key-value cache is not steered again.

    ======================  =====================  =================  ==========================
    placement               prompt before its end  read-out position  t-th generated token
    ======================  =====================  =================  ==========================
    ``last_prompt_token``   -                      1                  -
    ``every_position``      1                      1                  1
    ``generated_tokens``    -                      -                  1
    ``decaying``            -                      1                  ``decay ** t``, t = 1, 2...
    ======================  =====================  =================  ==========================

    Padding and the beginning-of-sequence token are never steered.

    >>> prompts = [pair.negative for pair in pairs]
    >>> outputs = generate(organism, prompts, saif_vector(ranking, sae, k=15))

    Args:
        model: The model.
        prompts: Rendered prompts (see `prompts.render`).
        steering: The vector to add, or latents to clamp; or one for each prompt, None for a prompt
            that is not steered, so that a sweep shares one pass (their layers may differ); or None
            for no steering.
        placement: Where the vector is added, see the table.
        strength: Factor on every vector; 0 gives what no steering gives. Factor on the values of
            clamped latents; 0 switches them off.
        decay: Factor from one generated token to the next, in the placement ``"decaying"``.
        max_new_tokens: Most tokens to generate for a prompt. A prompt stops earlier at the end of
            the model's turn or of the text.
        batch_size: Prompts generated from at once.

    Returns:
        The generated texts without special tokens, in the order of `prompts`.

    Raises:
        ValueError: If the placement is unknown, there is nothing to generate, a layer does not
            exist, a vector is not d_model long, there is not one vector for each prompt, or one
            call clamps latents of two SAEs of one layer.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens} asked for; give at least 1")
    whole = additions(model, steering, len(prompts), strength)
    texts = [""] * len(prompts)
    for rows, tokens in progress(list(batches(prompts, model.tokenizer, batch_size)), "generate"):
        weights = position_weights(without_bos(tokens, model.tokenizer), placement, decay)
        new = _generate_batch(model, tokens, whole.of(rows), weights, max_new_tokens)
        decoded = model.tokenizer.batch_decode(new, skip_special_tokens=True)
        for row, text in zip(rows, decoded, strict=True):
            texts[row] = text
    return texts


def _generate_batch(
    model: ModelWithSAEs,
    tokens: Mapping[str, Int[Tensor, "rows tokens"]],
    added: Additions,
    weights: Weights,
    max_new_tokens: int,
) -> Int[Tensor, "rows new_tokens"]:
    """Generate from one left-padded batch, adding ``weights(step) * added`` in every pass.

    It goes some tokens at a time; rows that have ended then leave the batch and the cache. Until
    they do they are filled with padding, which gets the vector too, but no other row sees it.
    """
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    unsteered = not weights(0)[:, :-1].any()
    cache = _read_prompts(model, tokens) if unsteered else DynamicCache(config=model.lm.config)
    new = torch.full((len(ids), max_new_tokens), model.tokenizer.pad_token_id)
    rows = torch.arange(len(ids))
    stop_ids = torch.tensor(model.stop_ids)
    for done in range(0, max_new_tokens, TOKENS_A_STAGE):
        n = min(TOKENS_A_STAGE, max_new_tokens - done)
        ids = _generate_stage(model, ids, mask, cache, added, weights, done, n)
        written = ids[:, tokens["input_ids"].shape[1] + done :]
        new[rows, done : done + written.shape[1]] = written
        goes_on = ~torch.isin(written, stop_ids).any(1)
        if not goes_on.any():
            break
        rows, ids = rows[goes_on], ids[goes_on]
        mask = torch.cat([mask[goes_on], torch.ones_like(written[goes_on])], 1)
        added = added.of(goes_on)
        cache.batch_select_indices(goes_on.nonzero()[:, 0].to(model.device))
    return new


def _read_prompts(
    model: ModelWithSAEs, tokens: Mapping[str, Int[Tensor, "rows tokens"]]
) -> DynamicCache:
    """Read all but the last token of each prompt, equal prompts once, into a cache of all rows.

    Where no two prompts are equal nothing is read, since the generation then does it as fast.
    """
    cache = DynamicCache(config=model.lm.config)
    names = ("input_ids", "attention_mask", "position_ids")
    rows = torch.stack([tokens[name][:, :-1] for name in names], 1)
    prompts, prompt_of_row = rows.unique(dim=0, return_inverse=True)
    if len(prompts) < len(rows) and prompts.shape[2]:
        inputs = {name: prompts[:, i].to(model.device) for i, name in enumerate(names)}
        with torch.no_grad():
            model.lm._module.model(**inputs, past_key_values=cache, use_cache=True)
        cache.batch_select_indices(prompt_of_row.to(model.device))
    return cache


def _generate_stage(
    model: ModelWithSAEs,
    ids: Int[Tensor, "rows tokens"],
    mask: Int[Tensor, "rows tokens"],
    cache: DynamicCache,
    added: Additions,
    weights: Weights,
    done: int,
    n_tokens: int,
) -> Int[Tensor, "rows longer"]:
    """Append up to `n_tokens` to rows that have `done` tokens, reading what is not cached."""
    options = {"max_new_tokens": n_tokens, "eos_token_id": model.stop_ids, "do_sample": False}
    options |= {"use_cache": True, "pad_token_id": model.tokenizer.pad_token_id}
    with torch.no_grad(), model.lm.generate(**options, past_key_values=cache) as tracer:
        # Two workers: the first may outlast the generation, the second waits for its result.
        with tracer.invoke(input_ids=ids, attention_mask=mask):
            _steer(model, tracer, added, weights, done)
        with tracer.invoke():
            longer = nnsight.save(tracer.result)
    return longer.cpu()


def _steer(
    model: ModelWithSAEs,
    tracer: nnsight.intervention.tracer.InterleavingTracer,
    added: Additions,
    weights: Weights,
    done: int,
) -> None:
    """Steer pass after pass, from pass `done` on; runs inside a trace, in step with the model."""
    try:
        for step in tracer.iter[:]:
            weight = weights(done + step)
            if weight is None or not added.offsets:
                return
            added.add(model, weight)
    except OutOfOrderError:
        # How nnsight ends an open loop once the generation has stopped, after its last pass.
        return


def log_probabilities(
    model: ModelWithSAEs,
    prompt: str,
    output: str,
    steering: Intervention | None = None,
    *,
    placement: Placement = "last_prompt_token",
    strength: float = 1.0,
    decay: float = 0.8,
) -> Float[Tensor, "tokens"]:
    """Measure how likely a model finds each token of an output, steered as in `generate`.

    The model reads prompt and output in one pass, with the vector at the positions that `generate`
    would steer. Each token is judged in the same context, the prompt and the output's own tokens
    before it, so that the difference between two steerings is what they do to this one token.

    Args:
        model: The model.
        prompt: A rendered prompt (see `prompts.render`).
        output: An answer to it, split into tokens as the tokenizer splits the text.
        steering: The vector to add or latents to clamp; None for no steering.
        placement: Where the vector is added, see `generate`.
        strength: Factor on the vector; 0 gives exactly what no steering gives.
        decay: Factor from one token of the output to the next, in the placement ``"decaying"``.

    Returns:
        Natural logarithm of each token's probability. The token that ends the turn is not counted.

    Raises:
        ValueError: If the placement is unknown, the layer does not exist or the vector is not
            d_model long.
    """
    asked = tokenize([prompt], model.tokenizer)
    written = model.tokenizer(output, add_special_tokens=False)["input_ids"]
    if not written:
        return torch.empty(0)
    targets = torch.tensor([written])
    steps = position_weights(without_bos(asked, model.tokenizer), placement, decay)
    later = [steps(step) for step in range(1, len(written) + 1)]
    nothing = torch.zeros(1, 1)
    weight = torch.cat([steps(0), *(nothing if each is None else each for each in later)], 1)
    added = additions(model, steering, 1, strength)
    ids = torch.cat([asked["input_ids"], targets], 1)
    with torch.no_grad(), model.lm.trace(input_ids=ids, use_cache=False) as tracer:
        added.add(model, weight)
        logits = nnsight.save(tracer.result.logits)
    likely = logits[:, -len(written) - 1 : -1].float().log_softmax(-1).cpu()
    return likely.gather(2, targets[:, :, None])[0, :, 0]
