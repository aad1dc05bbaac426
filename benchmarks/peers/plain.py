"""Plain transformers: the limit, in batches, and a loop over single prompts."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.peers.work import Asked, Found, Work, decoded, order, rank
from saif_helpers.model.tokens import batches
from saif_helpers.vectors import SteeringVector

Around = Callable[[dict[str, Tensor]], contextlib.AbstractContextManager]


class _Enough(Exception):  # noqa: N818 (nothing went wrong)
    """Stops a forward pass after the last requested layer."""


@torch.no_grad()
def identify(work: Work, layers: Sequence[int]) -> Found:
    """Find latents with forward hooks that store the last token and stop the pass: the limit.

    Args:
        work: Model, SAEs and prompts.
        layers: Layers, in ascending order.

    Returns:
        The residual streams and rankings.
    """
    order_of_rows: list[int] = []
    with last_tokens(work.lm, layers) as (kept, run):
        prompts = work.positive + work.negative
        for rows, tokens in batches(prompts, work.tokenizer, work.batch_size):
            order_of_rows += rows
            run(**tokens, use_cache=False)
    return rank(work.saes, in_order(kept, order_of_rows))


@contextlib.contextmanager
def last_tokens(
    lm: PreTrainedModel, layers: Sequence[int]
) -> Iterator[tuple[dict[int, list[Tensor]], Callable[..., None]]]:
    """Store the residual stream at the last token of every pass, with forward hooks.

    Args:
        lm: The model.
        layers: Layers, in ascending order.

    Yields:
        The stored tensors by layer, one for each pass; and a function that runs a pass up to the
        last of the layers and takes the same arguments as the model.
    """
    kept: dict[int, list[Tensor]] = {layer: [] for layer in layers}

    def keep(layer: int) -> Callable[..., None]:
        def hook(_module: object, _inputs: object, output: Tensor) -> None:
            kept[layer].append(output[:, -1].clone())
            if layer == layers[-1]:
                raise _Enough

        return hook

    def run(**given: object) -> None:
        with contextlib.suppress(_Enough):
            lm.model(**given)

    handles = [lm.model.layers[at].register_forward_hook(keep(at)) for at in layers]
    try:
        yield kept, run
    finally:
        for handle in handles:
            handle.remove()


def in_order(kept: Mapping[int, Sequence[Tensor]], rows: Sequence[int]) -> dict[int, Tensor]:
    """Return the stored rows in the order of the prompts.

    Args:
        kept: Stored tensors by layer, from `last_tokens`.
        rows: Indices of the prompts of these rows.

    Returns:
        Rows in the order of the prompts, by layer.
    """
    back = torch.tensor(rows).argsort()
    return {layer: torch.cat([*parts])[back] for layer, parts in kept.items()}


@torch.no_grad()
def identify_one_by_one(work: Work, layers: Sequence[int]) -> Found:
    """Find latents prompt by prompt, from all hidden states and the latents of all tokens.

    The last hidden state in transformers' output is after the final norm and would give different
    latents, so the stream after the last layer is taken from the layer itself.

    Args:
        work: Model, SAEs and prompts.
        layers: Layers.

    Returns:
        The residual streams and rankings.
    """
    residual: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    latents: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    last: list[Tensor] = []
    handle = work.lm.model.layers[-1].register_forward_hook(lambda *given: last.append(given[-1]))
    for prompt in work.positive + work.negative:
        tokens = work.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        output = work.lm(**tokens, output_hidden_states=True)
        states = [*output.hidden_states[1:-1], last.pop()]
        for layer in layers:
            residual[layer].append(states[layer][0, -1])
            latents[layer].append(work.saes[layer].encode(states[layer])[0, -1])
    handle.remove()
    found = Found({layer: torch.stack(rows) for layer, rows in residual.items()})
    for layer, rows in latents.items():
        found.order[layer] = order(*torch.stack(rows).tensor_split(2))
    return found


@torch.no_grad()
def generate(
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Asked,
    around: Around = contextlib.nullcontext,
) -> list[str]:
    """Generate with transformers alone, in batches of similar length, and decode.

    Args:
        lm: The model.
        tokenizer: Its tokenizer.
        asked: Prompts and options.
        around: Function from a batch to a context manager that is active during its generation.

    Returns:
        The texts, in the order of the prompts.
    """
    texts = [""] * len(asked.prompts)
    for rows, tokens in batches(asked.prompts, tokenizer, asked.batch_size):
        with around(tokens):
            ids = lm.generate(
                input_ids=tokens["input_ids"].to(lm.device),
                attention_mask=tokens["attention_mask"].to(lm.device),
                max_new_tokens=asked.new_tokens,
                do_sample=False,
                eos_token_id=asked.stop_ids,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = decoded(tokenizer, ids[:, tokens["input_ids"].shape[1] :], asked)
        for row, text in zip(rows, new, strict=True):
            texts[row] = text
    return texts


def generate_hooked(work: Work, asked: Asked, steering: SteeringVector) -> list[str]:
    """Generate as `generate` does, with a hook that adds a vector at the last position.

    Args:
        work: The model.
        asked: Prompts and options.
        steering: The vector and its layer.

    Returns:
        The texts.
    """

    def hook(_module: object, _inputs: object, output: Tensor) -> None:
        output[:, -1] += steering.vector

    handle = work.lm.model.layers[steering.layer].register_forward_hook(hook)
    try:
        return generate(work.lm, work.tokenizer, asked)
    finally:
        handle.remove()
