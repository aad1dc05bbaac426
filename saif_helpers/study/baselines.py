"""Baselines without an SAE: the prompted model's answers, and a forced first token.

A vector added at the last prompt token after the final layer can only change the first generated
token, so such steering must be compared with forcing that token (standing: ours).
"""

from collections import Counter
from collections.abc import Sequence

from saif_helpers._internal.arguments import whole_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.contents import Content
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import REPLACEMENT, token_ids
from saif_helpers.prompts import make_pairs
from saif_helpers.steering import generate, generate_ids, text_of


def first_tokens(model: ModelWithSAEs, texts: Sequence[str]) -> list[int | None]:
    """Return the first token of each text.

    Args:
        model: The model, for its tokenizer.
        texts: Answers to a prompt.

    Returns:
        A token id for each text; None for an empty text. A token may be only part of a character.
    """
    ids = model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [tokens[0] if tokens else None for tokens in ids]


def most_frequent_first_token(model: ModelWithSAEs, texts: Sequence[str]) -> str:
    """Return the most frequent first token of texts; ties go to the one seen first.

    Args:
        model: The model, for its tokenizer.
        texts: Reference answers.

    Returns:
        The token as text. If it is only part of a character, the most frequent first character of
        the texts that start with it.

    Raises:
        ValueError: If there are no texts.
    """
    if not texts:
        raise ArgumentError(
            "most_frequent_first_token was given no texts; give reference answers", "texts"
        )
    firsts = first_tokens(model, texts)
    most = Counter(firsts).most_common(1)[0][0]
    token = "" if most is None else model.tokenizer.decode([most])
    if REPLACEMENT not in token:
        return token
    begun = [text[:1] for text, first in zip(texts, firsts, strict=True) if first == most]
    return Counter(begun).most_common(1)[0][0]


@checked
def force_first_token(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    tokens: str | int | Sequence[str | int | None],
    *,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
) -> list[str]:
    """Append a token to each prompt, and let the unsteered model continue.

    >>> (begun,) = saif.force_first_token(organism, prompts[:1], "Les")
    >>> begun.startswith("Les")
    True

    Args:
        model: The model.
        prompts: Rendered prompts.
        tokens: The first token of every output, or one for each prompt: a token id (see
            `first_tokens`), a string, which may be several tokens, or None or an empty string to
            force nothing.
        max_new_tokens: Maximum number of tokens of an output, including the first forced one.
        batch_size: Prompts per batch, by default as in `generate`.

    Returns:
        The outputs, including the forced token, in the order of `prompts`.

    Raises:
        ValueError: If there is not one token for each prompt, no room for another token, or a
            forced token is special, such as end of turn.
    """
    given = [tokens] * len(prompts) if isinstance(tokens, str | int) else list(tokens)
    if len(given) != len(prompts):
        raise ArgumentError(
            f"{len(given)} first tokens given for {len(prompts)} prompts; give one for each, or "
            "a single one for all",
            "tokens",
        )
    max_new_tokens = whole_number("max_new_tokens", max_new_tokens, least=2)
    forced = [_forced_ids(model, token) for token in given]
    asked = token_ids(prompts, model.tokenizer)
    begun = [prompt + ids for prompt, ids in zip(asked, forced, strict=True)]
    rest = generate_ids(model, begun, max_new_tokens=max_new_tokens - 1, batch_size=batch_size)
    return [text_of(model, ids + written) for ids, written in zip(forced, rest, strict=True)]


@checked
def force_beginnings(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    outputs: Sequence[str],
    n: int,
    *,
    max_new_tokens: int = 40,
) -> list[str]:
    """Force the first n tokens of outputs, and let the unsteered model continue.

    As a curve over n, it shows how much of an effect on outputs lies in their beginnings.

    >>> begun = force_beginnings(organism, prompts, outputs, 2)

    Args:
        model: The model.
        prompts: Rendered prompts.
        outputs: An output for each prompt, such as a steered one.
        n: Number of tokens to force; 0 is the unsteered model.
        max_new_tokens: Maximum number of tokens of an output, including the forced ones.

    Returns:
        The outputs; those of at most n tokens are returned as they are.

    Raises:
        ValueError: If there is not one output for each prompt, or n is not below `max_new_tokens`.
    """
    if len(outputs) != len(prompts):
        said = f"{len(outputs)} outputs given for {len(prompts)} prompts; give one for each"
        raise ArgumentError(said, "outputs")
    n = whole_number("n", n, 0, max_new_tokens - 1)
    written = model.tokenizer(list(outputs), add_special_tokens=False)["input_ids"]
    asked = token_ids(prompts, model.tokenizer)
    unfinished = [row for row, ids in enumerate(written) if len(ids) > n]
    begun = [asked[row] + written[row][:n] for row in unfinished]
    found = list(outputs)
    if begun:
        rest = generate_ids(model, begun, max_new_tokens=max_new_tokens - n)
        for row, ids in zip(unfinished, rest, strict=True):
            found[row] = text_of(model, written[row][:n] + ids)
    return found


def _forced_ids(model: ModelWithSAEs, token: str | int | None) -> list[int]:
    """Return the ids of a forced token; raise if it is special."""
    if token is None or isinstance(token, int):
        ids = [] if token is None else [whole_number("token", token, 0, len(model.tokenizer) - 1)]
    else:
        ids = model.tokenizer(token, add_special_tokens=False)["input_ids"]
    special = sorted(set(ids) & {*model.tokenizer.all_special_ids, *model.stop_ids})
    if special:
        raise ArgumentError(
            f"the special token {model.tokenizer.decode(special[:1])!r} cannot be forced as a "
            "first token; give a token that an answer can start with",
            "tokens",
        )
    return ids


@checked
def reference_answers(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    *,
    max_new_tokens: int = 60,
    seed: int = 0,
) -> list[str]:
    """Return a reference answer for each content.

    The organism's sentences have exact references. For natural sentences, the reference is the
    model's own answer to the prompt with an English wording. It shows what this model's answers
    look like, but not whether they are correct, so it must not be used for grading.

    >>> (answer,) = saif.reference_answers(organism, french, test[:1])
    >>> answer == test[0].references["french"]
    True

    Args:
        model: The model.
        instruction: The instruction.
        contents: The contents.
        max_new_tokens: Maximum number of tokens of an answer.
        seed: Seed that decides which content gets which wording.

    Returns:
        The answers, in the order of the contents.

    Raises:
        ValueError: If there are no contents, or the instruction has no English wording.
    """
    max_new_tokens = whole_number("max_new_tokens", max_new_tokens)
    pairs = make_pairs(instruction, contents, model.tokenizer, languages=["en"], seed=seed)
    missing = [p for p in pairs if p.content.references.get(instruction.name) is None]
    prompts = [pair.positive for pair in missing]
    written = iter(generate(model, prompts, max_new_tokens=max_new_tokens) if prompts else ())
    known = [pair.content.references.get(instruction.name) for pair in pairs]
    return [next(written) if answer is None else answer for answer in known]
