"""Ranking of latents by their sensitivity to an instruction.

Paper, latent identification: latents are scored by their change of state within a pair, and the top
k are kept (standing: stated, without a formula); C_j = mean over pairs of 1[a_j(positive) > 0 and
a_j(negative) = 0] (standing: ours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.pairs import check_halves, check_pair_latents, check_ranking
from saif_helpers.activations import capture_pairs
from saif_helpers.latents import encode_parts
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import SAE
from saif_helpers.prompts import PromptPair


@checked
@dataclass(frozen=True, eq=False)
class LatentRanking:
    """Sensitivity and mean activation of every latent, and the resulting order.

    >>> table = ranking.to_frame().head(15)  # the 15 most sensitive latents
    >>> table["latent"].tolist() == ranking.top(15).tolist()
    True

    Attributes:
        sensitivity: C_j, the share of pairs with latent j active only on the positive sample.
        mean: mu_j, the mean of latent j over all positive samples, zeros included.
        std: sigma_j, the population standard deviation over the same samples (divided by n).
        negative_mean: The mean over all negative samples, zeros included.
        order: Latent indices, most sensitive first; ties go to the larger mean, then lower index.
        layer: The layer of the latents, None if unknown.
    """

    sensitivity: Float[Tensor, "d_sae"]
    mean: Float[Tensor, "d_sae"]
    std: Float[Tensor, "d_sae"]
    negative_mean: Float[Tensor, "d_sae"]
    order: Int[Tensor, "d_sae"]
    layer: int | None = None

    def __post_init__(self) -> None:
        """Raise if the fields differ in length, or the order is not a permutation."""
        names = ("sensitivity", "mean", "std", "negative_mean")
        check_ranking({name: getattr(self, name) for name in names}, self.order, self.layer)

    @property
    def living(self) -> Bool[Tensor, "d_sae"]:
        """Mask of the latents that are active on at least one sample, positive or negative."""
        return (self.mean > 0) | (self.negative_mean > 0)

    @property
    def n_living(self) -> int:
        """Number of latents that are active on at least one sample."""
        return int(self.living.sum())

    @checked
    def top(self, k: int) -> Int[Tensor, "k"]:
        """Return the indices of the k most sensitive latents.

        Raises:
            ValueError: If there are fewer than k latents.
        """
        if not 1 <= k <= len(self.order):
            n = len(self.order)
            raise ArgumentError(f"k = {k} given; give 1 to {n}, the number of latents", "k")
        return self.order[:k]

    @checked
    def by(self, scores: Float[Tensor, "d_sae"]) -> "LatentRanking":
        """Return the ranking sorted by other scores, the largest first.

        Ties keep the order of this ranking. Latents whose score is NaN come last.

        Raises:
            ValueError: If there is not one score for each latent.
        """
        if scores.shape != self.order.shape:
            said = f"{len(scores)} scores given for {len(self.order)} latents; give one for each"
            raise ArgumentError(said, "scores")
        given = scores.to(self.sensitivity.device)[self.order].nan_to_num(nan=-torch.inf)
        return replace(self, order=self.order[given.sort(descending=True, stable=True).indices])

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each latent, the most sensitive first."""
        columns = {
            "latent": self.order,
            "sensitivity": self.sensitivity[self.order],
            "mean": self.mean[self.order],
            "std": self.std[self.order],
            "negative_mean": self.negative_mean[self.order],
        }
        frame = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
        return frame.rename_axis("rank")


@checked
def newly_active(
    positive: Float[Tensor, "pairs d_sae"], negative: Float[Tensor, "pairs d_sae"]
) -> Bool[Tensor, "pairs d_sae"]:
    """Return which latents each pair switches on: active only with the instruction.

    >>> halves = saif.capture_pairs(organism, pairs, layers=[0])
    >>> active = saif.newly_active(*(saif.encode(sae, half) for half in halves))

    Args:
        positive: Latents at the read-out position of the positive samples.
        negative: Latents of the negative samples, in the same order of pairs.

    Returns:
        1[a_j(positive) > 0 and a_j(negative) = 0], whose mean over pairs is C_j (standing: ours).
    """
    check_pair_latents(positive, negative, "newly_active")
    return (positive > 0) & (negative == 0)


@checked
def rank_latents(
    positive: Float[Tensor, "pairs d_sae"], negative: Float[Tensor, "pairs d_sae"]
) -> LatentRanking:
    """Rank latents by sensitivity: C_j = mean over pairs of 1[a_j(pos) > 0 and a_j(neg) = 0].

    >>> halves = saif.capture_pairs(organism, pairs, layers=[0])
    >>> ranking = saif.rank_latents(*(saif.encode(sae, half) for half in halves))

    Args:
        positive: Latents at the read-out position of the positive samples.
        negative: Latents of the negative samples, in the same order of pairs.

    Returns:
        The ranking.

    Raises:
        ValueError: If there are no pairs, not one negative for each positive sample, or an
            activation is negative or not finite.
    """
    check_pair_latents(positive, negative, "rank_latents")
    fine = torch.promote_types(positive.dtype, torch.float32)  # 16-bit shares would tie
    positive, negative = positive.to(fine), negative.to(fine)
    sensitivity = newly_active(positive, negative).to(fine).mean(0)
    mean, std = positive.mean(0), positive.std(0, correction=0)
    return LatentRanking(sensitivity, mean, std, negative.mean(0), _order(sensitivity, mean))


def _order(
    sensitivity: Float[Tensor, "d_sae"], mean: Float[Tensor, "d_sae"]
) -> Int[Tensor, "d_sae"]:
    by_mean = mean.sort(descending=True, stable=True).indices
    return by_mean[sensitivity[by_mean].sort(descending=True, stable=True).indices]


@checked
def rank_layers(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], layers: Sequence[int]
) -> dict[int, LatentRanking]:
    """Rank the latents of several layers from one capture pass over the prompt pairs.

    >>> rankings = saif.rank_layers(organism, pairs, layers=[0, 2])

    Args:
        model: The model and its SAEs.
        pairs: Prompt pairs of one instruction.
        layers: The layers.

    Returns:
        Layer to ranking of its SAE's latents.
    """
    return rank_captured(model, *capture_pairs(model, pairs, layers))


@checked
def rank_captured(
    model: ModelWithSAEs,
    positive: Mapping[int, Float[Tensor, "pairs d_model"]],
    negative: Mapping[int, Float[Tensor, "pairs d_model"]],
) -> dict[int, LatentRanking]:
    """Rank the latents of several layers from captured residual streams.

    >>> positive, negative = saif.capture_pairs(organism, pairs, layers=[0, 2])
    >>> rankings = saif.rank_captured(organism, positive, negative)

    Args:
        model: The model, for its SAEs.
        positive: Layer to residual stream with the instruction, from `capture_pairs`.
        negative: The same without it.

    Returns:
        Layer to ranking of its SAE's latents.

    Raises:
        KeyError: If a layer has no SAE.
        ValueError: If there are no layers, or both do not have the same layers and pairs.
    """
    check_halves(positive, negative)
    return {layer: _rank(model.saes[layer], layer, positive, negative) for layer in positive}


def _rank(
    sae: SAE,
    layer: int,
    positive: Mapping[int, Float[Tensor, "pairs d_model"]],
    negative: Mapping[int, Float[Tensor, "pairs d_model"]],
) -> LatentRanking:
    """Rank the latents of one layer, accumulating sums over chunks if there are many."""
    streams = positive[layer], negative[layer]
    parts = zip(*(encode_parts(sae, stream) for stream in streams), strict=True)
    n, sums = 0, None
    for (_, with_it), (_, without_it) in parts:
        if len(with_it) == len(streams[0]) and len(without_it) == len(streams[1]):
            return replace(rank_latents(with_it, without_it), layer=layer)
        check_pair_latents(with_it, without_it, "rank_captured")
        on = newly_active(with_it, without_it)
        exact = with_it.double()
        found = torch.stack(
            [on.double().sum(0), exact.sum(0), exact.square().sum(0), without_it.double().sum(0)]
        )
        n, sums = n + len(with_it), found if sums is None else sums + found
    if sums is None:
        raise ArgumentError("rank_captured was given no pairs; give at least one", "positive")
    sensitivity, mean, square, negative_mean = (sums / n).unbind()
    std = (square - mean.square()).clamp(min=0).sqrt()
    order = _order(sensitivity, mean)
    return LatentRanking(
        sensitivity.float(), mean.float(), std.float(), negative_mean.float(), order, layer
    )
