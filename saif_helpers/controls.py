"""The controls that steering must beat (the paper is not known to have them; standing: ours).

Random latents and random directions of the same norm; and the first token forced, with no SAE and
no vector: a vector added at the last prompt token after the final layer can change nothing but the
first generated token, so steering there must be set against simply writing that token.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from sae_lens import SAE

from saif_helpers.arguments import whole_number
from saif_helpers.models import ModelWithSAEs
from saif_helpers.ranking import LatentRanking
from saif_helpers.steering import generate_ids, text_of
from saif_helpers.tokens import REPLACEMENT, token_ids
from saif_helpers.vectors import SteeringVector, saif_vector


def random_latents_vector(
    ranking: LatentRanking,
    sae: SAE,
    k: int,
    beta: float = 0.0,
    *,
    seed: int,
    layer: int | None = None,
) -> SteeringVector:
    """Build the control of `saif_vector`: k random latents in place of the top k, at the same norm.

    The latents are drawn from those that were active on at least one sample, positive or negative,
    and are not in the top k. They get the top k's strengths, in order, and the sum is rescaled to
    the norm of `saif_vector`.

    Args:
        ranking: Ranked latents of the same SAE.
        sae: The SAE.
        k: How many latents.
        beta: As for the vector that this is the control of.
        seed: Decides which latents are drawn.
        layer: The layer to steer, where the SAE does not name it.

    Returns:
        The steering vector.

    Raises:
        ValueError: As `saif_vector`; or if fewer than k latents can be drawn from.
    """
    like = saif_vector(ranking, sae, k, beta, layer=layer)
    top, W_dec = ranking.top(k), sae.W_dec.detach()
    live = (ranking.mean > 0) | (ranking.negative_mean > 0)
    live[top] = False
    pool = live.nonzero()[:, 0]
    if len(pool) < k:
        raise ValueError(
            f"only {len(pool)} latents outside the top {k} were ever active; "
            f"ask for a k of at most {len(pool)} or rank on more samples"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = pool[torch.randperm(len(pool), generator=generator)[:k]].to(W_dec.device)
    strengths = (ranking.mean[top] + beta * ranking.std[top]).to(W_dec)
    vector = (strengths @ W_dec[drawn]).to(ranking.mean.device)
    vector = vector * (like.vector.norm() / vector.norm())
    return SteeringVector(like.layer, vector, f"random latents, k = {k}, seed {seed}")


def random_direction_vector(like: SteeringVector, *, seed: int) -> SteeringVector:
    """Build a control: a random direction at the layer and with the norm of another vector.

    Args:
        like: The vector that this is the control of.
        seed: Decides the direction.

    Returns:
        The steering vector, drawn evenly over all directions.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(like.vector.shape, generator=generator).to(like.vector)
    vector = direction * (like.vector.norm() / direction.norm())
    return SteeringVector(like.layer, vector, f"random direction, seed {seed}")


def first_tokens(model: ModelWithSAEs, texts: Sequence[str]) -> list[int | None]:
    """Return the first token of each text.

    Args:
        model: Its tokenizer splits the texts.
        texts: Answers, as they follow a prompt.

    Returns:
        A token id for each text; None for an empty text. A token may be a part of a character, so
        it need not be a text of its own.
    """
    ids = model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [tokens[0] if tokens else None for tokens in ids]


def most_frequent_first_token(model: ModelWithSAEs, texts: Sequence[str]) -> str:
    """Return the token that most of the texts begin with; ties go to the one seen first.

    Args:
        model: Its tokenizer splits the texts.
        texts: Reference answers.

    Returns:
        The token as text. Where it is a part of a character, the character that most of the texts
        with this token begin with.

    Raises:
        ValueError: If there is no text.
    """
    if not texts:
        raise ValueError("most_frequent_first_token was given no texts; give reference answers")
    firsts = first_tokens(model, texts)
    most = Counter(firsts).most_common(1)[0][0]
    token = "" if most is None else model.tokenizer.decode([most])
    if REPLACEMENT not in token:
        return token
    begun = [text[:1] for text, first in zip(texts, firsts, strict=True) if first == most]
    return Counter(begun).most_common(1)[0][0]


def force_first_token(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    tokens: str | int | Sequence[str | int | None],
    *,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
) -> list[str]:
    """Write a token behind each prompt and let the model, unsteered, go on from there.

    Args:
        model: The model.
        prompts: Rendered prompts.
        tokens: The first token of every output, or one for each prompt: a token id (see
            `first_tokens`), a text, which may be several tokens, or None or an empty text to force
            nothing.
        max_new_tokens: Most tokens of an output, the first forced one included.
        batch_size: Prompts generated from at once, by default as in `steering.generate`.

    Returns:
        The outputs, each with its forced token, in the order of `prompts`.

    Raises:
        ValueError: If there is not one token for each prompt, no room for a further token, or a
            special token, such as one that ends a turn, is to be forced.
    """
    given = [tokens] * len(prompts) if isinstance(tokens, str | int) else list(tokens)
    if len(given) != len(prompts):
        raise ValueError(
            f"{len(given)} first tokens given for {len(prompts)} prompts; give one for each, or "
            "a single one for all"
        )
    max_new_tokens = whole_number("max_new_tokens", max_new_tokens, least=2)
    forced = [_forced_ids(model, token) for token in given]
    asked = token_ids(prompts, model.tokenizer)
    begun = [prompt + ids for prompt, ids in zip(asked, forced, strict=True)]
    rest = generate_ids(model, begun, max_new_tokens=max_new_tokens - 1, batch_size=batch_size)
    return [text_of(model, ids + written) for ids, written in zip(forced, rest, strict=True)]


def _forced_ids(model: ModelWithSAEs, token: str | int | None) -> list[int]:
    """Return the ids of what is to be forced; no special token is."""
    if token is None or isinstance(token, int):
        ids = [] if token is None else [token]
    else:
        ids = model.tokenizer(token, add_special_tokens=False)["input_ids"]
    special = sorted(set(ids) & {*model.tokenizer.all_special_ids, *model.stop_ids})
    if special:
        raise ValueError(
            f"the special token {model.tokenizer.decode(special[:1])!r} is to be forced as a first "
            "token; give a token that an answer can begin with"
        )
    return ids
