"""The first-token control: begin each output with a given token, with no SAE and no vector.

A vector added at the last prompt token after the final layer can change nothing but the first
generated token, so steering there must be set against simply writing that token. The paper has no
such control (standing: ours).
"""

from collections import Counter
from collections.abc import Sequence

from saif_helpers.models import ModelWithSAEs
from saif_helpers.steering import generate


def first_tokens(model: ModelWithSAEs, texts: Sequence[str]) -> list[str]:
    """Return the first token of each text, as text.

    Args:
        model: Its tokenizer splits the texts.
        texts: Answers, as they follow a prompt.

    Returns:
        A token for each text; an empty string for an empty text.
    """
    ids = model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [model.tokenizer.decode(tokens[:1]) for tokens in ids]


def most_frequent_first_token(model: ModelWithSAEs, texts: Sequence[str]) -> str:
    """Return the token that most of the texts begin with; ties go to the one seen first.

    Args:
        model: Its tokenizer splits the texts.
        texts: Reference answers.

    Returns:
        The token as text.

    Raises:
        ValueError: If there is no text.
    """
    if not texts:
        raise ValueError("most_frequent_first_token was given no texts; give reference answers")
    return Counter(first_tokens(model, texts)).most_common(1)[0][0]


def force_first_token(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    tokens: str | Sequence[str],
    *,
    max_new_tokens: int = 40,
    batch_size: int = 128,
) -> list[str]:
    """Write a token behind each prompt and let the model, unsteered, go on from there.

    Args:
        model: The model.
        prompts: Rendered prompts.
        tokens: The first token of every output, or one for each prompt; empty forces nothing.
        max_new_tokens: Most tokens of an output, the forced one included.
        batch_size: Prompts generated from at once.

    Returns:
        The outputs, each with its forced token, in the order of `prompts`.

    Raises:
        ValueError: If there is not one token for each prompt, or no room for a further token.
    """
    forced = [tokens] * len(prompts) if isinstance(tokens, str) else list(tokens)
    if len(forced) != len(prompts):
        raise ValueError(
            f"{len(forced)} first tokens given for {len(prompts)} prompts; give one for each, or "
            "a single one for all"
        )
    if max_new_tokens < 2:
        raise ValueError(f"max_new_tokens={max_new_tokens} asked for; give at least 2")
    begun = [prompt + token for prompt, token in zip(prompts, forced, strict=True)]
    rest = generate(model, begun, max_new_tokens=max_new_tokens - 1, batch_size=batch_size)
    return [token + text for token, text in zip(forced, rest, strict=True)]
