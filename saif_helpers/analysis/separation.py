"""Input side of semantic proximity: does a latent tell prompts with the instruction from others?

Paper, claim C2 (standing: stated): the latents are semantically close to the instruction they
serve. The abstract does not say how; see `vocabulary` for the output side (standing:
ours).
"""

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import mannwhitneyu
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.intervals import Interval, wilson


def auroc(
    positive: Float[Tensor, "positive columns"], negative: Float[Tensor, "negative columns"]
) -> Float[Tensor, "columns"]:
    """Measure how well each column separates positive rows from negative ones.

    The area under the ROC curve: the probability that a positive row has a larger value than a
    negative row, ties counting half. 0.5 is chance, 1 perfect separation, 0 the reverse.

    Args:
        positive: Values of the positive samples, such as latents' activations.
        negative: Values of the negative samples.

    Returns:
        The AUROC of each column.

    Raises:
        ValueError: If there are no positive or no negative rows.
    """
    if not len(positive) or not len(negative):
        raise ArgumentError(
            f"{len(positive)} positive and {len(negative)} negative samples given; give both",
            "negative",
        )
    samples = (half.double().cpu().numpy() for half in (positive, negative))
    wins = mannwhitneyu(*samples, axis=0, method="asymptotic").statistic
    return torch.from_numpy(wins) / (len(positive) * len(negative))


def auroc_interval(
    area: float, n_positive: int, n_negative: int, confidence: float = 0.95
) -> Interval:
    """Return an AUROC with a conservative confidence interval.

    The variance of the estimate is at most area * (1 - area) / n, where n is the smaller sample
    size (Birnbaum and Klose, 1957). That is the variance of a proportion of n, so the interval is
    Wilson's. A 95 % interval misses the true value 1 to 2 % of the time for normal data; in the
    worst case, up to 6 % of the time with 150 samples and 9 % with 10 or 5.

    Args:
        area: The AUROC, from `auroc`.
        n_positive: Number of positive samples.
        n_negative: Number of negative samples.
        confidence: Coverage of the interval.

    Returns:
        The AUROC and its interval.
    """
    n = min(n_positive, n_negative)
    return wilson(area * n, n, confidence)


def success_correlation(
    latents: Float[Tensor, "samples latents"], success: Bool[Tensor, "grades"]
) -> Float[Tensor, "latents"]:
    """Correlate each latent's activation with the success of the output.

    Pearson's correlation over prompts with and without the instruction. Selection by correlation
    with success is from CorrSteer (arXiv:2508.12535), which pools activations over the answer; the
    read-out token alone is ours.

    Args:
        latents: Activations at the read-out token.
        success: Whether the model's output for that prompt passes.

    Returns:
        The correlations; NaN for a latent that never changes, and for all if all outputs pass or
        none does.

    Raises:
        ValueError: If there is not one grade for each sample.
    """
    if len(success) != len(latents):
        raise ArgumentError(
            f"{len(success)} grades given for {len(latents)} samples; give one each", "success"
        )
    x, y = (each.double() - each.double().mean(0) for each in (latents, success.to(latents)))
    return ((x * y[:, None]).sum(0) / (x.norm(dim=0) * y.norm())).to(latents)


def enrichment(
    scores: Float[Tensor, "latents"],
    chosen: Int[Tensor, "k"],
    pool: Int[Tensor, "pool"],
    *,
    draws: int = 999,
    seed: int = 0,
) -> pd.Series:
    """Test whether chosen latents promote an instruction's vocabulary more than random ones do.

    The test statistic is the mean score. The control draws equally many latents from `pool`.

    Args:
        scores: A score for each latent, from `vocabulary_scores`; only those of chosen latents and
            of the pool are used.
        chosen: The latents that are tested.
        pool: Latents to draw from, such as all that are not dead.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        ``score`` of the chosen latents, ``random`` (mean of the draws), ``low`` and ``high`` (the
        central 95 % of the draws), and ``p``: the share of draws, counting the chosen set as one,
        that score at least as high.

    Raises:
        ValueError: If the pool has too few latents, none is chosen, a chosen latent's score is not
            finite, or there are no draws.
    """
    if len(pool) < len(chosen):
        raise ArgumentError(
            f"{len(pool)} latents to draw from given; give at least {len(chosen)}, as many as are "
            "chosen",
            "pool",
        )
    if not len(chosen) or draws < 1 or not scores[chosen].isfinite().all():
        raise ArgumentError(
            f"{len(chosen)} latents chosen and draws={draws}; give at least one of each, and a "
            "finite score for each latent",
            "chosen",
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack(
        [
            scores[pool[torch.randperm(len(pool), generator=generator)[: len(chosen)]]].mean()
            for _ in range(draws)
        ]
    )
    score = scores[chosen].mean()
    return pd.Series(
        {
            "score": score.item(),
            "random": drawn.mean().item(),
            "low": drawn.quantile(0.025).item(),
            "high": drawn.quantile(0.975).item(),
            "p": (1 + int((drawn >= score).sum())) / (1 + draws),
        }
    )
