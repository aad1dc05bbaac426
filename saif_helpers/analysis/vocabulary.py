"""Output side of semantic proximity: which tokens does a latent's decoder direction promote?

Paper, claim C2 (standing: stated): the latents are semantically close to the instruction they
serve. The abstract does not say how; see `separation` for the input side (standing: ours).
"""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.model.architecture import final_norm
from saif_helpers.model.model import ModelWithSAEs


def logit_lens(
    model: ModelWithSAEs, directions: Float[Tensor, "directions d_model"]
) -> Float[Tensor, "directions vocabulary"]:
    """Apply the final norm and the unembedding to directions of the residual stream.

    The norm makes the length of a direction irrelevant. The logit soft cap of Gemma 2 is omitted,
    since it does not change the order.

    Args:
        model: The model.
        directions: Directions, such as rows of an SAE's ``W_dec``.

    Returns:
        A logit for each token of the vocabulary, on the CPU.

    Raises:
        ValueError: If the directions do not have d_model entries, or the model is remote.
    """
    return _logits(model, directions).cpu()


def _logits(
    model: ModelWithSAEs, directions: Float[Tensor, "directions d_model"]
) -> Float[Tensor, "directions vocabulary"]:
    """Compute `logit_lens`, and keep the result on the device of the unembedding."""
    if directions.shape[-1] != model.d_model:
        raise ArgumentError(
            f"directions of {directions.shape[-1]} entries given; {model.name} has d_model "
            f"{model.d_model}",
            "directions",
        )
    model.require_local("the logit lens")
    with torch.no_grad():
        normed = final_norm(model.hf)(directions.to(model.device, model.lm.dtype))
        return model.hf.get_output_embeddings()(normed).float()


def promoted_tokens(
    logits: Float[Tensor, "directions vocabulary"],
    tokenizer: PreTrainedTokenizerBase,
    n: int = 10,
    *,
    suppressed: bool = False,
) -> list[list[str]]:
    """List the tokens that each direction promotes most, or suppresses most.

    Args:
        logits: From `logit_lens`.
        tokenizer: The model's tokenizer.
        n: Number of tokens.
        suppressed: List the tokens with the lowest logits instead.

    Returns:
        For each direction its tokens as text, the strongest first. A token that is only part of a
        character shows as the replacement character.

    Raises:
        ValueError: If the vocabulary has fewer than n tokens.
    """
    if not 1 <= n <= logits.shape[1]:
        raise ArgumentError(f"n = {n} given; the vocabulary has {logits.shape[1]} tokens", "n")
    ids = logits.topk(n, dim=1, largest=not suppressed).indices
    return [[tokenizer.decode([token]) for token in row] for row in ids.tolist()]


def vocabulary_scores(
    model: ModelWithSAEs,
    directions: Float[Tensor, "directions d_model"],
    vocabulary: Int[Tensor, "tokens"],
    chunk: int = 256,
) -> Float[Tensor, "directions"]:
    """Measure how well each direction's logits separate an instruction's tokens from all others.

    Args:
        model: The model.
        directions: Directions, such as rows of an SAE's ``W_dec``.
        vocabulary: The instruction's characteristic tokens, see `characteristic_tokens`.
        chunk: Directions in one step; the logits of all latents of a large SAE would not fit in
            memory.

    Returns:
        The AUROC (`auroc`) of each direction, on the CPU.

    Raises:
        ValueError: If the vocabulary is empty, or the model is remote.
    """
    if not len(vocabulary):
        raise ArgumentError("an empty vocabulary given; give at least one token", "vocabulary")
    scores = []
    for part in directions.split(chunk):
        logits = _logits(model, part)  # sorting dominates, so stay on the GPU
        others = torch.ones(logits.shape[1], dtype=torch.bool)
        others[vocabulary] = False
        scores.append(_areas(logits[:, vocabulary], logits[:, others]).cpu())
    return torch.cat(scores)


def _areas(
    positive: Float[Tensor, "rows positive"], negative: Float[Tensor, "rows negative"]
) -> Float[Tensor, "rows"]:
    """Compute `auroc` by row, by sorting the many negatives and searching for the few positives."""
    ordered = negative.sort(dim=1).values
    below = torch.searchsorted(ordered, positive.contiguous())
    up_to = torch.searchsorted(ordered, positive.contiguous(), right=True)
    wins = (below + up_to).double().sum(1) / 2
    return wins / (positive.shape[1] * negative.shape[1])


def characteristic_tokens(
    answers: Sequence[str],
    others: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    least_share: float = 0.02,
    ratio: float = 5.0,
) -> Int[Tensor, "tokens"]:
    """Find the tokens that are characteristic of an instruction's answers.

    Args:
        answers: Correct answers to the instruction.
        others: Texts to compare with, such as what the model writes without an instruction.
        tokenizer: The model's tokenizer.
        least_share: Minimum share of the answers that contain the token.
        ratio: Minimum ratio of that share to the share of `others` that contain it.

    Returns:
        Token ids, in ascending order; empty if no token qualifies.

    Raises:
        ValueError: If there are no answers or no other texts.
    """
    if not answers or not others:
        raise ArgumentError(
            f"{len(answers)} answers and {len(others)} other texts given; give some of each",
            "others" if answers else "answers",
        )
    shares, other_shares = (_token_shares(texts, tokenizer) for texts in (answers, others))
    chosen = [
        token
        for token, share in shares.items()
        if share >= least_share and share >= ratio * other_shares.get(token, 0.0)
    ]
    return torch.tensor(sorted(chosen), dtype=torch.long)


def _token_shares(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> dict[int, float]:
    """Return for each token the share of the texts that contain it."""
    counts = Counter(
        token
        for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        for token in set(ids)
    )
    return {token: count / len(texts) for token, count in counts.items()}
