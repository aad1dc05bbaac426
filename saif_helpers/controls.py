"""The controls that steering must beat (the paper is not known to have them; standing: ours).

Random latents and random directions of the same norm; and the first token forced, with no SAE and
no vector: a vector added at the last prompt token after the final layer can change nothing but the
first generated token, so steering there must be set against simply writing that token.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from sae_lens import SAE

from saif_helpers.models import ModelWithSAEs
from saif_helpers.ranking import LatentRanking
from saif_helpers.steering import generate
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
    batch_size: int | None = None,
) -> list[str]:
    """Write a token behind each prompt and let the model, unsteered, go on from there.

    Args:
        model: The model.
        prompts: Rendered prompts.
        tokens: The first token of every output, or one for each prompt; empty forces nothing.
        max_new_tokens: Most tokens of an output, the forced one included.
        batch_size: Prompts generated from at once, by default as in `steering.generate`.

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
