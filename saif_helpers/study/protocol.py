"""The protocol of every steering result: choose on validation, report on test, with controls.

The controls are random latents at the same layer, placement and norm (standing: ours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from saif_helpers._internal.arguments import check_some, whole_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Style
from saif_helpers.contents import Content
from saif_helpers.generation.interventions import Intervention
from saif_helpers.grading import GradeOutputs, Grades, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import LatentRanking
from saif_helpers.study.search import best_setting, search
from saif_helpers.study.settings import SteeringSetting, VectorSource, grade_settings
from saif_helpers.vectors import SteeringVector


@dataclass(frozen=True, eq=False)
class TestedSetting:
    """A setting chosen on validation contents and graded on test contents.

    Attributes:
        setting: The setting.
        vector: Its steering vector, with its placement.
        grades: Grades of the outputs for the test contents.
        tried: The measurements of the search on validation contents, a row for each setting.
    """

    __test__ = False  # not a test class of pytest

    setting: SteeringSetting
    vector: Intervention
    grades: Grades
    tried: pd.DataFrame


@checked
def choose_and_test(
    model: ModelWithSAEs,
    instruction: InstructionType,
    sources: Mapping[int, VectorSource],
    settings: Sequence[SteeringSetting],
    *,
    validation: Sequence[Content],
    test: Sequence[Content],
    rounds: tuple[int, int, int] = (8, 20, 60),
    keep: tuple[int, int] = (3, 6),
    style: Style | None = None,
    max_new_tokens: int = 40,
    grader: GradeOutputs = grade,
) -> TestedSetting:
    """Choose a setting on validation contents, and grade the chosen one on test contents.

    >>> splits = {"validation": validation, "test": test, "rounds": (2, 4, 12)}
    >>> found = saif.choose_and_test(organism, french, rankings, grid, **splits)
    >>> print(found.setting, found.grades.proportion("loose"))

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        sources: Layer to ranking, or to a vector of another rule.
        settings: The settings to try, see `settings_grid`.
        validation: Contents on which the setting is chosen.
        test: Contents on which it is reported; they must not occur in `validation`.
        rounds: As for `search`.
        keep: As for `search`.
        style: Style of the prompts.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs, as in `steer_and_grade`.

    Returns:
        The setting, its vector and its grades.

    Raises:
        ValueError: As `search`.
    """
    check_some(test=test)
    options = {"style": style, "max_new_tokens": max_new_tokens, "grader": grader}
    found = {"rounds": rounds, "keep": keep, "test": test} | options
    tried = search(model, instruction, validation, sources, settings, **found)
    setting = best_setting(tried)
    (graded,) = grade_settings(model, instruction, test, sources, [setting], **options)
    return TestedSetting(setting, setting.vector(model, sources[setting.layer]), graded, tried)


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
