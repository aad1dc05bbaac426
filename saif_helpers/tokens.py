"""Batches of tokens: rendered prompts, tokenised and padded on the left."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

Prompt = str | Sequence[int]
"""A rendered prompt, or the token ids of one."""

AT_ONCE = 256
"""Prompts tokenised together: the tokenizer's record of one takes several times its ids."""


def tokenize(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Int[Tensor, "prompts tokens"]]:
    """Tokenise rendered prompts as one batch, padded on the left.

    Args:
        prompts: Rendered prompts, special tokens as text (see `prompts.render`).
        tokenizer: The model's tokenizer.

    Returns:
        ``input_ids``, ``attention_mask`` (0 on padding) and ``position_ids`` (0 on a prompt's first
        token whatever the padding), so that a batch gives what its members give one by one.

    Raises:
        ValueError: If a prompt is empty or lacks the beginning-of-sequence token that the model's
            prompts begin with. A chat prompt needs none where the chat template writes none.
    """
    return pad(token_ids(prompts, tokenizer), tokenizer)


def token_ids(prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the token ids of each rendered prompt, without padding.

    Args:
        prompts: Rendered prompts; what is token ids already stays as it is.
        tokenizer: The model's tokenizer.

    Returns:
        The ids.

    Raises:
        ValueError: As `tokenize`.
    """
    bos = tokenizer.bos_token or ""
    for prompt in prompts:
        if prompt and not isinstance(prompt, str):
            continue
        if not prompt or not (prompt.startswith(bos) or _opens_a_chat(prompt, tokenizer)):
            raise ValueError(
                f"the prompt {prompt[:60]!r} does not begin with {tokenizer.bos_token!r}; "
                "make it with prompts.render or prompts.make_pairs"
            )
    ids = [[] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    texts = [row for row, prompt in enumerate(prompts) if isinstance(prompt, str)]
    for start in range(0, len(texts), AT_ONCE):
        rows = texts[start : start + AT_ONCE]
        split = tokenizer([prompts[row] for row in rows], add_special_tokens=False)
        for row, found in zip(rows, split["input_ids"], strict=True):
            ids[row] = found
    return ids


def _opens_a_chat(prompt: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a prompt begins as the chat template does, where that writes no BOS.

    It does if it begins with what the template writes before a user's first text, or with another
    of the tokenizer's added tokens, such as the marker of a system prompt.
    """
    if not tokenizer.chat_template:
        return False
    message = {"role": "user", "content": "text"}
    chat = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    if chat.startswith(tokenizer.bos_token or ""):
        return False
    opening = chat.partition("text")[0]
    return prompt.startswith((opening, *tokenizer.get_added_vocab()))


def pad(
    sequences: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Int[Tensor, "prompts tokens"]]:
    """Make one batch of token ids, padded on the left.

    Args:
        sequences: Token ids of each prompt, from `token_ids`.
        tokenizer: The model's tokenizer.

    Returns:
        As `tokenize`.
    """
    rows = [torch.tensor(ids) for ids in sequences]
    left = {"batch_first": True, "padding_side": "left"}
    padded = pad_sequence(rows, padding_value=tokenizer.pad_token_id, **left)
    mask = pad_sequence([torch.ones_like(row) for row in rows], **left)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": padded, "attention_mask": mask, "position_ids": positions}


def without_bos(
    tokens: Mapping[str, Int[Tensor, "prompts tokens"]], tokenizer: PreTrainedTokenizerBase
) -> Bool[Tensor, "prompts tokens"]:
    """Mark the tokens that count: neither padding nor the beginning of the sequence.

    SAEs such as Gemma Scope's were not trained on the beginning-of-sequence token, whose residual
    stream is unlike any other, so it is left out of every statistic. Only the first token is the
    beginning: in some models (SmolLM2, Qwen) the same token opens every turn of a chat.

    Args:
        tokens: A batch from `tokenize`.
        tokenizer: The model's tokenizer.

    Returns:
        True where a token counts.
    """
    mask = tokens["attention_mask"].bool()
    if tokenizer.bos_token_id is None:
        return mask
    first = tokens["position_ids"] == 0
    return mask & ~(first & (tokens["input_ids"] == tokenizer.bos_token_id))


def by_length(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of sequences, the shortest first; of equal ones the earlier first."""
    return sorted(range(len(sequences)), key=lambda index: (len(sequences[index]), index))


def batches(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Iterator[tuple[list[int], dict[str, Int[Tensor, "rows tokens"]]]]:
    """Split prompts into tokenised batches of like length, the longest last.

    Args:
        prompts: Rendered prompts.
        tokenizer: The model's tokenizer.
        batch_size: Largest number of prompts in a batch.

    Yields:
        The indices of the batch's prompts in `prompts`, and the batch from `tokenize`.

    Raises:
        ValueError: If there is no prompt or the batch size is not positive.
    """
    if not prompts or batch_size < 1:
        raise ValueError(
            f"{len(prompts)} prompts and batch_size={batch_size} given; give at least one of each"
        )
    ids = token_ids(prompts, tokenizer)
    order = by_length(ids)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, pad([ids[row] for row in rows], tokenizer)
