"""Steered generation through nnsight: a vector is added while the model writes.

Paper, causal steering: z' = z + vector (standing: ours). At which positions of the generation it is
added is not known, so the placement is a parameter.
"""

from collections.abc import Sequence

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor

from saif_helpers._internal.arguments import whole_number
from saif_helpers._internal.types import PLACEMENTS, Placement
from saif_helpers.decoding import generate_batch
from saif_helpers.interventions import (
    Intervention,
    Steering,
    additions,
    check_placement,
    intervention_keys,
    pass_factors,
    position_weights,
)
from saif_helpers.model.batching import ONE_AT_A_TIME, check_context_length
from saif_helpers.model.cached_batches import cached_batches
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import Prompt, tokenize, without_bos

__all__ = ["PLACEMENTS", "Intervention", "Placement", "generate", "log_probabilities"]


def generate(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    steering: Steering = None,
    *,
    placement: Placement = "last_prompt_token",
    strength: float = 1.0,
    decay: float = 0.8,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
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

    Padding and the beginning-of-sequence token are never steered. A remote model is sent one
    request for each batch, for all of its passes, and returns the tokens.

    >>> prompts = [pair.negative for pair in pairs]
    >>> outputs = generate(organism, prompts, saif_vector(ranking, sae, k=15))

    Args:
        model: The model.
        prompts: Rendered prompts (see `render`).
        steering: The vector to add, or latents to clamp; or one for each prompt, None for a prompt
            that is not steered, so that a sweep shares one pass (their layers may differ); or None
            for no steering.
        placement: Where the vector is added, see the table.
        strength: Factor on every vector; 0 gives what no steering gives. Factor on the values of
            clamped latents; 0 switches them off.
        decay: Factor from one generated token to the next, in the placement ``"decaying"``.
        max_new_tokens: Most tokens to generate for a prompt. A prompt stops earlier at the end of
            the model's turn or of the text.
        batch_size: Prompts generated from at once. By default 128, on a GPU as many as fit, see
            `batching.default_batch_size`.

    Returns:
        The generated texts without special tokens, in the order of `prompts`. A text ends where
        the model's number format becomes too narrow for its residual stream; a warning says so.

    Raises:
        ValueError: If the placement is unknown, the decay not between 0 and 1, there is nothing to
            generate or no room for it in the model's context, a layer does not exist, a vector is
            not d_model long or not finite, there is not one vector for each prompt, or latents are
            clamped of two SAEs of one layer or in a remote model.
    """
    options = {"placement": placement, "strength": strength, "decay": decay}
    sizes = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    written = generate_ids(model, prompts, steering, **options, **sizes)
    return [text_of(model, ids) for ids in written]


def text_of(model: ModelWithSAEs, ids: Sequence[int]) -> str:
    """Return what a model wrote as text.

    Args:
        model: Its tokenizer knows the tokens.
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
    placement: Placement = "last_prompt_token",
    strength: float = 1.0,
    decay: float = 0.8,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
) -> list[list[int]]:
    """Generate as `generate` does, and return token ids.

    Args:
        model: As for `generate`.
        prompts: Rendered prompts, or their token ids.
        steering: As for `generate`, and so are the others.
        placement: Where the vector is added.
        strength: Factor on every vector.
        decay: Factor from one generated token to the next.
        max_new_tokens: Most tokens to generate for a prompt.
        batch_size: Prompts generated from at once.

    Returns:
        The ids of each output, what ends or pads it included.

    Raises:
        ValueError: As `generate`.
    """
    max_new_tokens = whole_number("max_new_tokens", max_new_tokens)
    check_placement(placement, decay)
    whole = additions(model, steering, len(prompts), strength)
    written: list[list[int]] = [[] for _ in prompts]

    def step(rows: list[int], tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = position_weights(without_bos(tokens, model.tokenizer), placement, decay)
        return {"new": generate_batch(model, tokens, whole.of(rows), weights, max_new_tokens)}

    def keys() -> list[list | None]:
        where = [placement, strength, decay if placement == "decaying" else None]
        return [key and [*key, *where] for key in intervention_keys(steering, len(prompts))]

    settings = {
        "max_new_tokens": max_new_tokens,
        "stop_ids": model.stop_ids,
        "pad_token_id": model.tokenizer.pad_token_id,
        "generation_config": model.lm._module.generation_config.to_dict(),
    }
    for rows, found in cached_batches(
        model,
        prompts,
        step,
        batch_size,
        kind="generate",
        settings=settings,
        each=keys,
        given=f"max_new_tokens={max_new_tokens}, steered layers {list(whole.offsets)}",
        new_tokens=max_new_tokens,
        without_gpu=128,
    ):
        for row, ids in zip(rows, found["new"].tolist(), strict=True):
            written[row] = ids
    return written


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

    The model reads prompt and output in one pass, steered where `generate` would. Each token is
    judged after the prompt and the output's own tokens, so that the difference between two
    steerings is what they do to this one token.

    Args:
        model: The model.
        prompt: A rendered prompt (see `render`).
        output: An answer to it, split into tokens as the tokenizer splits the text.
        steering: The vector to add or latents to clamp; None for no steering.
        placement: Where the vector is added, see `generate`.
        strength: Factor on the vector; 0 gives exactly what no steering gives.
        decay: Factor from one token of the output to the next, in the placement ``"decaying"``.

    Returns:
        Natural logarithm of each token's probability, without the token that ends the turn. Not a
        number, with a warning, where the model's number format is too narrow for its residual
        stream.

    Raises:
        ValueError: As `generate`.
    """
    asked = tokenize([prompt], model.tokenizer)
    written = model.tokenizer(output, add_special_tokens=False)["input_ids"]
    if not written:
        return torch.empty(0)
    targets = torch.tensor([written])
    weights = position_weights(without_bos(asked, model.tokenizer), placement, decay)
    factors = torch.cat(pass_factors(weights, 0, len(written) + 1), 1)
    ids = torch.cat([asked["input_ids"], targets], 1)
    check_context_length(model, ids.tolist())
    factors = torch.nn.functional.pad(factors, (0, ids.shape[1] - factors.shape[1]))
    changes = additions(model, steering, 1, strength).changes(model)
    options = {"use_cache": False, "remote": model.remote}
    with ONE_AT_A_TIME, torch.no_grad(), model.lm.trace(input_ids=ids, **options) as tracer:
        for layer, change in changes:
            residual = layer.output
            full = change(residual) if callable(change) else change.to(residual)
            layer.output = residual + factors[:, :, None].to(residual) * full
        logits = tracer.result.logits[:, -targets.shape[1] - 1 : -1].float()
        likely = logits.log_softmax(-1).gather(2, targets[:, :, None].to(logits.device))
        likely = nnsight.save(likely.detach())
    if likely.isnan().any():
        model.warn_beyond_range("the probabilities of some tokens are not known")
    return likely[0, :, 0].cpu()
