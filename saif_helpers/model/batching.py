"""Work in batches: how large they are, and what happens when memory runs out."""

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from threading import RLock
from typing import TypeVar

import torch
from torch import Tensor

from saif_helpers._internal.progress import progress
from saif_helpers._internal.warn import warn
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import Prompt, order_by_length, pad, token_ids

T = TypeVar("T")
Step = Callable[[list[int], dict[str, Tensor]], T]
ONE_AT_A_TIME = RLock()
"""Held by what runs a model: nnsight traces no two threads at once, so a second one waits."""
Parts = Iterator[tuple[list[int], T]]
"""Rows of prompts and the result for them, batch by batch."""
LARGEST = 256
"""Most prompts in a batch whose size nobody chose: more are hardly faster and lost together."""


def default_batch_size(
    model: ModelWithSAEs,
    n_tokens: int,
    *,
    new_tokens: int = 0,
    all_logits: bool = False,
    largest: int = LARGEST,
    without_gpu: int = 64,
) -> int:
    """Choose how many prompts fit into one forward pass.

    On a GPU, a prompt of T tokens takes about as many bytes as the sum of ::

        key-value cache   2 * layers * key-value heads * head_dim * (T + new) * bytes
        one layer         T * (4 * d_model + 3 * d_intermediate) * bytes
        attention scores  heads * T ** 2 * (bytes + 4)
        logits            positions * vocabulary * (bytes + 2 * 4)

    with `bytes` for one number of the model (2 in bfloat16) and 4 in float32. The cache counts only
    if the model generates; the logits' positions are all T with `all_logits`, else the last.
    Gemma 2 2B in bfloat16 with T = 200 and 40 new tokens needs 25.6 + 14.7 + 1.9 + 2.6 = 45 MB, so
    that 9 GB of free memory, of which four fifths are used, hold 160 prompts. The largest power of
    two that fits is taken, 128: a little more or less free memory then gives the same batches.

    Args:
        model: The model.
        n_tokens: Tokens of the longest prompt.
        new_tokens: Most tokens to generate.
        all_logits: Whether the logits of all positions are computed.
        largest: Most prompts to answer.
        without_gpu: What to answer where there is no GPU.

    Returns:
        A power of two up to `largest`, at least 1; or `without_gpu`.
    """
    if model.device.type != "cuda":
        return without_gpu
    config, size = model.hf.config.get_text_config(), model.lm.dtype.itemsize
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    length = n_tokens + new_tokens if new_tokens else 0
    row = 2 * config.num_hidden_layers * kv_heads * head_dim * length * size
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size  # as in GPT-2
    row += n_tokens * ((4 * config.hidden_size + 3 * inner) * size + heads * n_tokens * (size + 4))
    row += (n_tokens if all_logits else 1) * config.vocab_size * (size + 8)
    free, _ = torch.cuda.mem_get_info(model.device)
    # What torch holds and does not use counts as taken there, and is free for the next batch.
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    fitting = int(0.8 * free / row)
    return min(largest, 2 ** (max(1, fitting).bit_length() - 1))


def check_context_length(
    model: ModelWithSAEs, sequences: Sequence[Sequence[int]], new_tokens: int = 0
) -> None:
    """Refuse what is longer than the model's context, which it would answer with nonsense.

    Args:
        model: The model.
        sequences: Token ids of each prompt.
        new_tokens: Most tokens to generate behind them.

    Raises:
        ValueError: If a prompt leaves no room for them.
    """
    config = model.hf.config.get_text_config()
    context = getattr(config, "max_position_embeddings", None) or math.inf
    if new_tokens >= context:
        raise ValueError(
            f"{new_tokens} new tokens asked for; the context of {model.name} has room for "
            f"{context} tokens, prompt included; ask for fewer"
        )
    for number, ids in enumerate(sequences):
        if len(ids) + new_tokens > context:
            beside = f" beside {new_tokens} new ones" if new_tokens else ""
            raise ValueError(
                f"prompt {number} ({model.tokenizer.decode(ids[:20])!r}...) is too long: "
                f"{len(ids)} tokens given, and {model.name} has room for "
                f"{context - new_tokens}{beside}; shorten it"
            )


def checked_ids(
    model: ModelWithSAEs, prompts: Sequence[Prompt], new_tokens: int = 0
) -> list[list[int]]:
    """Return the token ids of rendered prompts, if the model has room for all of them.

    Args:
        model: The model.
        prompts: Rendered prompts.
        new_tokens: Most tokens to generate behind them.

    Returns:
        The ids, without padding.

    Raises:
        ValueError: As `check_context_length` and `tokens.token_ids`.
    """
    ids = token_ids(prompts, model.tokenizer)
    check_context_length(model, ids, new_tokens)
    return ids


def run_batches(
    model: ModelWithSAEs,
    prompts: Sequence[Prompt],
    step: Step,
    batch_size: int | None,
    *,
    description: str,
    given: str = "",
    ids: Sequence[Sequence[int]] | None = None,
    only: Sequence[int] | None = None,
    **sizing: int | bool,
) -> Parts:
    """Do something with prompts in batches of like length, the longest last, as memory allows.

    If a batch does not fit into memory, the batch size is halved, a warning says so, and the work
    goes on from the same prompt.

    Args:
        model: The model.
        prompts: Rendered prompts.
        step: What to do with a batch; gets the rows of its prompts and the batch from `pad`.
        batch_size: Largest number of prompts in a batch; None for one chosen by free memory.
        description: What is done, for the bar and for messages.
        given: What else takes memory, for the message if a single prompt does not fit.
        ids: What `checked_ids` returned for the prompts, if it was asked already.
        only: Rows of the prompts to do it with; by default all.
        **sizing: What `default_batch_size` should know.

    Yields:
        The rows of each batch and what `step` returned for it.

    Raises:
        ValueError: If there is no prompt, the batch size is not positive, or a prompt is longer
            than the model's context.
        torch.OutOfMemoryError: If a single prompt does not fit.
    """
    if ids is None:
        ids = checked_ids(model, prompts, sizing.get("new_tokens", 0))
    if batch_size is None:
        batch_size = default_batch_size(model, max(map(len, ids), default=0), **sizing)
    if not prompts or batch_size < 1:
        raise ValueError(
            f"{len(prompts)} prompts and batch_size={batch_size} given; give at least one of each"
        )
    ordered = order_by_length(ids)
    if only is not None:
        chosen = set(only)
        ordered = [row for row in ordered if row in chosen]

    def tokenized(part: list[int]) -> T:
        return step(part, pad([ids[row] for row in part], model.tokenizer))

    for part, result in run_batches_with_oom_retry(
        ordered,
        tokenized,
        batch_size,
        lengths=[*map(len, ids)],
        description=description,
        given=given,
    ):
        if model.device.type == "cuda":
            gc.collect()  # a trace that stopped early holds its tensors until then
        yield part, result


def run_batches_with_oom_retry(
    ordered: Sequence[int],
    step: Callable[[list[int]], T],
    batch_size: int,
    *,
    lengths: Sequence[int],
    description: str,
    given: str = "",
) -> Parts:
    """Do something with rows in batches; halve the batches, with a warning, when one does not fit.

    Args:
        ordered: The rows, in the order to do them.
        step: What to do with the rows of a batch.
        batch_size: Largest number of rows in a batch.
        lengths: Number of tokens of each row, for the message if a single one does not fit.
        description: What is done, for the bar and for messages.
        given: What else takes memory, for that message.

    Yields:
        The rows of each batch and what `step` returned for it.

    Raises:
        torch.OutOfMemoryError: If a single row does not fit.
    """
    waiting = iter(progress(ordered, description))
    rows = list(islice(waiting, batch_size))
    while rows:
        part = rows[:batch_size]
        try:
            with ONE_AT_A_TIME:
                result = step(part)
        except torch.OutOfMemoryError as error:
            if len(part) == 1:
                raise torch.OutOfMemoryError(
                    f"{description}: a single prompt of {lengths[part[0]]} tokens does not fit "
                    f"into the memory{given and f' ({given})'}; delete what else is in it or "
                    "restart the kernel, or take shorter prompts, a smaller model or one in "
                    "bfloat16"
                ) from error
            batch_size = len(part) // 2
        else:
            yield part, result
            rows = rows[len(part) :] or list(islice(waiting, batch_size))
            continue
        # Only here is the exception gone, which holds the tensors of the pass that failed.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warn(
            f"{description}: {len(part)} prompts did not fit into the memory; going on with "
            f"{batch_size} at a time",
        )
