"""Batching: choice of the batch size, and retries when memory runs out."""

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from threading import RLock
from typing import TypeVar

import torch
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.progress import progress
from saif_helpers._internal.warn import warn
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import Prompt, order_by_length, pad, token_ids

T = TypeVar("T")
Step = Callable[[list[int], dict[str, Tensor]], T]
ONE_AT_A_TIME = RLock()
"""Lock around every use of a model, since nnsight is not thread-safe."""
Parts = Iterator[tuple[list[int], T]]
"""Iterator over batches: rows of the prompts, and the result for them."""
LARGEST = 256
"""Maximum default batch size: larger batches are hardly faster, and lose more when interrupted."""


def default_batch_size(
    model: ModelWithSAEs,
    n_tokens: int,
    *,
    new_tokens: int = 0,
    all_logits: bool = False,
    largest: int = LARGEST,
    without_gpu: int = 64,
) -> int:
    """Choose the batch size of a forward pass.

    On a GPU, a prompt of T tokens takes about as many bytes as the sum of ::

        key-value cache   2 * layers * key-value heads * head_dim * (T + new) * bytes
        one layer         T * (4 * d_model + 3 * d_intermediate) * bytes
        attention scores  heads * T ** 2 * (bytes + 4)
        logits            positions * vocabulary * (bytes + 2 * 4)

    where `bytes` is the size of the model's dtype (2 for bfloat16), and 4 is that of float32. The
    cache counts only in generation; logits count at all T positions with `all_logits`, otherwise at
    the last. For example, Gemma 2 2B in bfloat16 with T = 200 and 40 new tokens needs 25.6 + 14.7 +
    1.9 + 2.6 = 45 MB, so four fifths of 9 GB of free memory hold 160 prompts. Rounding down to a
    power of two, 128, makes the result robust to small changes in free memory.

    Args:
        model: The model.
        n_tokens: Number of tokens of the longest prompt.
        new_tokens: Maximum number of tokens to generate.
        all_logits: Whether the logits of all positions are computed.
        largest: Maximum batch size.
        without_gpu: Batch size without a GPU.

    Returns:
        A power of two up to `largest`, or `without_gpu`.
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
    # mem_get_info counts torch's cached memory as used, but the next batch can use it.
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    fitting = int(0.8 * free / row)
    return min(largest, 2 ** (max(1, fitting).bit_length() - 1))


def check_context_length(
    model: ModelWithSAEs, sequences: Sequence[Sequence[int]], new_tokens: int = 0
) -> None:
    """Raise if a prompt with its output exceeds the model's context.

    Args:
        model: The model.
        sequences: Token ids of each prompt.
        new_tokens: Maximum number of tokens to generate after them.

    Raises:
        ValueError: If a prompt leaves no room for them.
    """
    config = model.hf.config.get_text_config()
    context = getattr(config, "max_position_embeddings", None) or math.inf
    if new_tokens >= context:
        raise ArgumentError(
            f"{new_tokens} new tokens requested; the context of {model.name} has room for "
            f"{context} tokens, including the prompt; request fewer",
            "max_new_tokens",
        )
    for number, ids in enumerate(sequences):
        if len(ids) + new_tokens > context:
            also = f" besides {new_tokens} new ones" if new_tokens else ""
            raise ArgumentError(
                f"prompt {number} ({model.tokenizer.decode(ids[:20])!r}...) has {len(ids)} tokens, "
                f"but {model.name} has room for {context - new_tokens}{also}; shorten it",
                "prompts",
            )


def checked_ids(
    model: ModelWithSAEs, prompts: Sequence[Prompt], new_tokens: int = 0
) -> list[list[int]]:
    """Return the token ids of rendered prompts, and raise if one exceeds the context.

    Args:
        model: The model.
        prompts: Rendered prompts.
        new_tokens: Maximum number of tokens to generate after them.

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
    """Process prompts in batches sorted by length, the longest last.

    If a batch does not fit into memory, the batch size is halved with a warning.

    Args:
        model: The model.
        prompts: Rendered prompts.
        step: Function that processes a batch, given the rows of its prompts and the padded batch.
        batch_size: Maximum number of prompts in a batch; None to choose it by free memory.
        description: Name of the step, for the progress bar and messages.
        given: Other factors of memory use, for the message if a single prompt does not fit.
        ids: The result of `checked_ids` for the prompts, if available.
        only: Rows of the prompts to process; by default all.
        **sizing: Options of `default_batch_size`.

    Yields:
        The rows of each batch and what `step` returned for it.

    Raises:
        ValueError: If there are no prompts, the batch size is not positive, or a prompt exceeds the
            model's context.
        torch.OutOfMemoryError: If a single prompt does not fit.
    """
    if ids is None:
        ids = checked_ids(model, prompts, sizing.get("new_tokens", 0))
    if batch_size is None:
        batch_size = default_batch_size(model, max(map(len, ids), default=0), **sizing)
    if not prompts or batch_size < 1:
        raise ArgumentError(
            f"{len(prompts)} prompts and batch_size={batch_size} given; give at least one of each",
            "batch_size" if prompts else "prompts",
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
            gc.collect()  # a trace that stopped early keeps its tensors until then
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
    """Process rows in batches, halving the batch size with a warning when memory runs out.

    Args:
        ordered: The rows, in order of processing.
        step: Function that processes the rows of a batch.
        batch_size: Maximum number of rows in a batch.
        lengths: Number of tokens of each row, for the message if a single row does not fit.
        description: Name of the step, for the progress bar and messages.
        given: Other factors of memory use, for that message.

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
                    f"into memory{given and f' ({given})'}; free memory or restart the kernel, or "
                    "use shorter prompts, a smaller model or bfloat16"
                ) from error
            batch_size = len(part) // 2
        else:
            yield part, result
            rows = rows[len(part) :] or list(islice(waiting, batch_size))
            continue
        # Only here is the exception released, which references the tensors of the failed pass.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warn(
            f"{description}: {len(part)} prompts did not fit into memory; continuing with "
            f"{batch_size} at a time",
        )
