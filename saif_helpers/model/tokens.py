"""Batches of tokens: rendered prompts, tokenised and padded on the left."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

Prompt = str | Sequence[int]
"""A rendered prompt, or the token ids of one."""
REPLACEMENT = "\ufffd"
"""What a tokenizer decodes a part of a character to."""
AT_ONCE = 256
"""Prompts tokenised together: the tokenizer's record of one takes several times its ids."""


def tokenize(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Int[Tensor, "prompts tokens"]]:
    """Tokenise rendered prompts as one batch, padded on the left.

    Args:
        prompts: Rendered prompts, special tokens as text (see `render`).
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
    """Return whether a prompt begins as the chat template does, where that writes no BOS."""
    return prompt.startswith(_looked_up(tokenizer, "openings", _openings))


def markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the tokens that no text of a user's may hold, since they mark turns.

    Args:
        tokenizer: The tokenizer.

    Returns:
        Its special tokens, and those of its added ones that its chat template writes.
    """
    return _looked_up(tokenizer, "markers", _markers)


_KNOWN: WeakKeyDictionary = WeakKeyDictionary()
"""What was looked up in a tokenizer, since a list of thousands of added tokens is made anew at each
look, and as what it was looked up: tokens may be added later, and a template exchanged."""


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
        # Turn markers may be listed as not special, and so may plain line breaks.
        if token.special or (str(token).strip() and str(token) in template)
    )


def _openings(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return what a chat may begin with: the template's opening, another of the added tokens."""
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
    return without_first(tokens, tokenizer.bos_token_id)


def without_first(
    tokens: Mapping[str, Int[Tensor, "prompts tokens"]], bos_token_id: int | None
) -> Bool[Tensor, "prompts tokens"]:
    """Mark tokens like `without_bos`, given the id of the beginning-of-sequence token.

    Args:
        tokens: A batch from `tokenize`.
        bos_token_id: The id; None where the model has no such token.

    Returns:
        True where a token counts.
    """
    mask = tokens["attention_mask"].bool()
    if bos_token_id is None:
        return mask
    return mask & ~((tokens["position_ids"] == 0) & (tokens["input_ids"] == bos_token_id))


def whole_characters(
    ids: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> list[tuple[str, range]]:
    """Decode tokens one by one, those that are parts of one character together.

    Args:
        ids: Token ids of a text.
        tokenizer: Their tokenizer.

    Returns:
        Pieces of text and the places of the tokens that they are made of; all together they are the
        decoded text.
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
    order = order_by_length(ids)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, pad([ids[row] for row in rows], tokenizer)
