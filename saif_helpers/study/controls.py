"""Controls of a steering result (standing: ours).

Random latents at the method's own setting; random latents, and SAEs in which nothing is trained,
each with a search of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saif_helpers._internal.arguments import whole_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.generation.interventions import Intervention
from saif_helpers.grading import Grades, pool_grades
from saif_helpers.instructions import InstructionType
from saif_helpers.latents import encode
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import LatentRanking, rank_latents
from saif_helpers.study.protocol import TestedSetting, choose_and_test
from saif_helpers.study.random_sae import random_sae
from saif_helpers.study.settings import SteeringSetting
from saif_helpers.study.steering_claim import RANDOM, RANDOM_SAE
from saif_helpers.vector_rules import saif_vector
from saif_helpers.vectors import SteeringVector


@checked
def norm_matched_controls(
    model: ModelWithSAEs,
    ranking: LatentRanking,
    like: Intervention,
    k: int,
    *,
    beta: float = 0.0,
    n: int = 1,
    seed: int = 0,
) -> list[SteeringVector]:
    """Draw random latents as controls of a vector, with its layer, placement and norm.

    >>> controls = saif.norm_matched_controls(organism, ranking, vector, k=15, n=2)

    Args:
        model: The model and its SAEs.
        ranking: Ranked latents of the vector's layer.
        like: The vector under control.
        k: Number of latents of each control.
        beta: As for `saif_vector`; determines the weights of the latents.
        n: Number of controls.
        seed: Seed of the first control; further controls use the following seeds.

    Returns:
        The controls.

    Raises:
        ValueError: As `random_latents_vector`.
    """
    sae, layer, n = model.saes[like.layer], like.layer, whole_number("n", n)
    if len(like.vector) != model.d_model:
        raise ArgumentError(
            f"a vector with {len(like.vector)} entries given for controls; {model.name} has "
            f"d_model {model.d_model}: give a vector of this model",
            "like",
        )
    drawn = (
        random_latents_vector(ranking, sae, k, beta, seed=seed + i, layer=layer) for i in range(n)
    )
    return [
        vector.scaled(like.norm / vector.norm).at(like.placement, like.decay) for vector in drawn
    ]


@checked
def searched_controls(
    model: ModelWithSAEs,
    instruction: InstructionType,
    rankings: Mapping[int, LatentRanking],
    settings: Sequence[SteeringSetting],
    *,
    k: int,
    n: int = 10,
    seed: int = 0,
    **splits: Any,
) -> list[TestedSetting]:
    """Steer with random latents, each draw at its own best setting.

    A control that only takes over the method's setting has not been given the method's chances: the
    setting was chosen for another vector. So each draw gets random latents of every layer
    (`random_latents_vector`) and its own search over the same settings.

    >>> splits = {"validation": validation, "test": test, "rounds": (2, 4, 12)}
    >>> drawn = searched_controls(organism, french, rankings, grid, k=15, n=1, **splits)

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        rankings: Layer to ranking.
        settings: The settings to try.
        k: Number of latents of each control.
        n: Number of draws.
        seed: Seed of the first draw; further draws use the following seeds.
        **splits: Arguments of `choose_and_test`.

    Returns:
        The result of each draw.

    Raises:
        ValueError: As `choose_and_test` and `random_latents_vector`.
    """
    found = []
    for each in range(seed, seed + whole_number("n", n)):
        drawn = {
            layer: random_latents_vector(ranking, model.saes[layer], k, seed=each, layer=layer)
            for layer, ranking in rankings.items()
        }
        found.append(choose_and_test(model, instruction, drawn, settings, **splits))
    return found


@checked
def random_sae_control(
    model: ModelWithSAEs,
    instruction: InstructionType,
    positive: Mapping[int, Float[Tensor, "pairs d_model"]],
    negative: Mapping[int, Float[Tensor, "pairs d_model"]],
    settings: Sequence[SteeringSetting],
    *,
    k: int,
    seed: int = 0,
    **splits: Any,
) -> TestedSetting:
    """Apply the paper's rule to SAEs in which nothing is trained, see `random_sae`.

    >>> positive, negative = saif.capture_pairs(organism, pairs, layers=[0, 2])
    >>> splits = {"validation": validation, "test": test, "rounds": (2, 4, 12)}
    >>> how = {"k": 15} | splits
    >>> control = random_sae_control(organism, french, positive, negative, grid, **how)

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        positive: Layer to residual stream with the instruction, from `capture_pairs`.
        negative: The same without it.
        settings: The settings to try.
        k: Number of latents.
        seed: Seed of the SAEs' directions.
        **splits: Arguments of `choose_and_test`.

    Returns:
        The result.

    Raises:
        ValueError: As `choose_and_test`.
    """
    vectors = {}
    for layer in positive:
        both = torch.cat([positive[layer], negative[layer]])
        sae = random_sae(model.saes[layer], both, seed=seed)
        ranking = rank_latents(encode(sae, positive[layer]), encode(sae, negative[layer]))
        vectors[layer] = saif_vector(ranking, sae, k, layer=layer)
    return choose_and_test(model, instruction, vectors, settings, **splits)


def control_grades(
    model: ModelWithSAEs,
    instruction: InstructionType,
    rankings: Mapping[int, LatentRanking],
    streams: Sequence[Mapping[int, Float[Tensor, "pairs d_model"]]],
    settings: Sequence[SteeringSetting],
    *,
    n: int,
    k: int,
    seed: int = 0,
    **splits: Any,
) -> dict[str, Grades]:
    """Grade the controls that get their own search: random latents and a random SAE.

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        rankings: Layer to ranking.
        streams: Layer to residual stream, with the instruction and without it; layers without a
            ranking are left out.
        settings: The settings to try.
        n: Number of draws of random latents.
        k: Number of latents.
        seed: Seed of the first draw and of the random SAEs.
        **splits: Arguments of `choose_and_test`.

    Returns:
        The pooled grades of `RANDOM`, and those of `RANDOM_SAE`.
    """
    halves = [{at: half[at] for at in rankings} for half in streams]
    how = {"k": k, "seed": seed} | splits
    drawn = searched_controls(model, instruction, rankings, settings, n=n, **how)
    return {
        RANDOM: pool_grades([each.grades for each in drawn]),
        RANDOM_SAE: random_sae_control(model, instruction, *halves, settings, **how).grades,
    }
