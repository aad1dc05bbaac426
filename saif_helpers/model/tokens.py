"""Tokenisation of rendered prompts, with padding on the left."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.errors import ArgumentError

Prompt = str | Sequence[int]
"""A rendered prompt, or the token ids of one."""
REPLACEMENT = "\ufffd"
"""The character that a tokenizer decodes an incomplete character to."""
AT_ONCE = 256
"""Number of prompts per tokenizer call, which limits the memory of its intermediate results."""


def tokenize(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Int[Tensor, "prompts tokens"]]:
    """Tokenise rendered prompts as one batch, padded on the left.

    Args:
        prompts: Rendered prompts, special tokens as text (see `render`).
        tokenizer: The model's tokenizer.

    Returns:
        ``input_ids``, ``attention_mask`` (0 on padding) and ``position_ids`` (0 on a prompt's first
        token regardless of padding), so that results do not depend on padding.

    Raises:
        ValueError: If a prompt is empty or lacks the beginning-of-sequence token. A chat prompt
            does not need it if the chat template does not write it.
    """
    return pad(token_ids(prompts, tokenizer), tokenizer)


def token_ids(prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the token ids of each rendered prompt, without padding.

    Args:
        prompts: Rendered prompts; token ids are returned unchanged.
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
            raise ArgumentError(
                f"the prompt {prompt[:60]!r} does not start with {tokenizer.bos_token!r}; "
                "create it with prompts.render or prompts.make_pairs",
                "prompts",
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
    """Return whether a prompt starts like the chat template, if that writes no BOS."""
    return prompt.startswith(_looked_up(tokenizer, "openings", _openings))


def markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the tokens that a user's text must not contain, since they mark turns.

    Args:
        tokenizer: The tokenizer.

    Returns:
        Its special tokens, and the added tokens that its chat template writes.
    """
    return _looked_up(tokenizer, "markers", _markers)


_KNOWN: WeakKeyDictionary = WeakKeyDictionary()
"""Cache of facts about tokenizers, since listing thousands of added tokens is slow. Entries include
the tokenizer's state, since tokens and the template can change."""


def _looked_up(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    look: Callable[[PreTrainedTokenizerBase], tuple[str, ...]],
) -> tuple[str, ...]:
    state = (len(tokenizer), tokenizer.chat_template, tokenizer.bos_token)
    known = _KNOWN.setdefault(tokenizer, {})
    if known.get(name, (None,))[0] != state:
        known[name] = (state, look(tokenizer))
    return known[name][1]


def _markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    template = tokenizer.chat_template or ""
    return tuple(
        str(token)
        for token in tokenizer.added_tokens_decoder.values()
        # Turn markers may be marked as not special, like plain line breaks.
        if token.special or (str(token).strip() and str(token) in template)
    )


def _openings(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return how a chat may start: with the template's opening or another added token."""
    if not tokenizer.chat_template:
        return ()
    message = {"role": "user", "content": "text"}
    chat = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    if chat.startswith(tokenizer.bos_token or ""):
        return ()
    return (chat.partition("text")[0], *tokenizer.get_added_vocab())


def pad(
    sequences: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Int[Tensor, "prompts tokens"]]:
    """Pad token ids on the left to one batch.

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
    """Return a mask of the tokens that are neither padding nor the beginning of the sequence.

    SAEs such as Gemma Scope's were not trained on the beginning-of-sequence token, whose residual
    stream is an outlier, so it is excluded from every statistic. Only the first token is excluded:
    in some models (SmolLM2, Qwen) the same token starts every turn of a chat.

    Args:
        tokens: A batch from `tokenize`.
        tokenizer: The model's tokenizer.

    Returns:
        True for tokens that count.
    """
    return without_first(tokens, tokenizer.bos_token_id)


def without_first(
    tokens: Mapping[str, Int[Tensor, "prompts tokens"]], bos_token_id: int | None
) -> Bool[Tensor, "prompts tokens"]:
    """Return the mask of `without_bos`, given the id of the beginning-of-sequence token.

    Args:
        tokens: A batch from `tokenize`.
        bos_token_id: The id; None if the model has no such token.

    Returns:
        True for tokens that count.
    """
    mask = tokens["attention_mask"].bool()
    if bos_token_id is None:
        return mask
    return mask & ~((tokens["position_ids"] == 0) & (tokens["input_ids"] == bos_token_id))


def whole_characters(
    ids: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> list[tuple[str, range]]:
    """Decode tokens one by one, merging those of one character.

    Args:
        ids: Token ids of a text.
        tokenizer: Their tokenizer.

    Returns:
        Pieces of text with the positions of their tokens; joined, they are the decoded text.
    """
    pieces, decoded, start = [], "", 0
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end])
        if end < len(ids) and (text.endswith(REPLACEMENT) or not text.startswith(decoded)):
            continue
        pieces.append((text[len(decoded) :], range(start, end)))
        decoded, start = text, end
    return pieces


def order_by_length(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of sequences sorted by length; ties keep their order."""
    return sorted(range(len(sequences)), key=lambda index: (len(sequences[index]), index))


def batches(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Iterator[tuple[list[int], dict[str, Int[Tensor, "rows tokens"]]]]:
    """Split prompts into tokenised batches sorted by length, the longest last.

    Args:
        prompts: Rendered prompts.
        tokenizer: The model's tokenizer.
        batch_size: Maximum number of prompts in a batch.

    Yields:
        The indices of the batch's prompts in `prompts`, and the batch from `tokenize`.

    Raises:
        ValueError: If there are no prompts or the batch size is not positive.
    """
    if not prompts or batch_size < 1:
        raise ArgumentError(
            f"{len(prompts)} prompts and batch_size={batch_size} given; give at least one of each",
            "batch_size" if prompts else "prompts",
        )
    ids = token_ids(prompts, tokenizer)
    order = order_by_length(ids)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, pad([ids[row] for row in rows], tokenizer)
