"""The protocol of every steering result: choose on validation, report on test, with controls.

Its controls are in `controls`, a forced first token in `first_word`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from saif_helpers._internal.arguments import check_some
from saif_helpers._internal.checked import checked
from saif_helpers._internal.types import Style
from saif_helpers.contents import Content
from saif_helpers.generation.interventions import Intervention
from saif_helpers.grading import GradeOutputs, Grades, Kind, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.study.search import search
from saif_helpers.study.settings import SteeringSetting, VectorSource, grade_settings
from saif_helpers.study.sweep import best_setting


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
    rounds: Sequence[int] = (8, 16, 32, 60),
    by: Kind = "strict",
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
        by: The share that decides first, see `shortlist`.
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
    found = {"rounds": rounds, "by": by, "test": test} | options
    tried = search(model, instruction, validation, sources, settings, **found)
    setting = best_setting(tried, by)
    (graded,) = grade_settings(model, instruction, test, sources, [setting], **options)
    return TestedSetting(setting, setting.vector(model, sources[setting.layer]), graded, tried)
