"""Sources of steering vectors by rule: the paper's ranking, signed latents, difference in means."""

from collections.abc import Mapping, Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.ranking import LatentRanking
from saif_helpers.study.settings import VectorSource
from saif_helpers.vector_rules import mean_difference_vector, signed_latents_vector

Rule = Literal["paper", "signed latents", "difference in means"]
RULES: tuple[Rule, ...] = ("paper", "signed latents", "difference in means")


def rule_source(
    rule: Rule,
    model: ModelWithSAEs,
    layer: int,
    ranking: LatentRanking,
    positive: Float[Tensor, "pairs d_model"],
    negative: Float[Tensor, "pairs d_model"],
    k: int,
) -> VectorSource:
    """Return the source of a setting's vector for a rule, see `SteeringSetting.vector`.

    Args:
        rule: ``"paper"``, ``"signed latents"`` or ``"difference in means"``.
        model: The model, for the layer's SAE.
        layer: The layer.
        ranking: The layer's ranking.
        positive: Residual stream after the layer with the instruction, from `capture_pairs`.
        negative: The same without it.
        k: Number of latents for the signed rule.

    Returns:
        The ranking for the paper's rule, a steering vector for the others.
    """
    if rule == "signed latents":
        return signed_latents_vector(ranking, model.saes[layer], k, layer=layer)
    if rule == "difference in means":
        return mean_difference_vector({layer: positive}, {layer: negative}, layer)
    return ranking


def rule_sources(
    rules: Sequence[Rule],
    model: ModelWithSAEs,
    rankings: Mapping[int, LatentRanking],
    positive: Mapping[int, Float[Tensor, "pairs d_model"]],
    negative: Mapping[int, Float[Tensor, "pairs d_model"]],
    k: int,
) -> dict[str, dict[int, VectorSource]]:
    """Return the sources of the settings' vectors for several rules and layers.

    Args:
        rules: The rules.
        model: The model, for the layers' SAEs.
        rankings: Layer to ranking.
        positive: Layer to residual stream with the instruction, from `capture_pairs`.
        negative: The same without it.
        k: Number of latents for the signed rule.

    Returns:
        Rule and layer to source, see `rule_source`.
    """
    return {
        rule: {
            at: rule_source(rule, model, at, ranking, positive[at], negative[at], k)
            for at, ranking in rankings.items()
        }
        for rule in rules
    }
