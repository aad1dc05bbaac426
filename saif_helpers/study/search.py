"""Search for a setting (layer, k, beta, placement, strength, decay) on the validation split.

A large grid is tried on a few contents and halved again and again (successive halving,
arXiv:1502.07943); then the strengths are extended until the best one lies inside the grid.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Style
from saif_helpers.contents import Content
from saif_helpers.grading import GradeOutputs, Grades, Kind, grade, pool_grades
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.study.settings import SteeringSetting, VectorSource, grade_settings
from saif_helpers.study.sweep import (
    best_setting,
    check_by,
    check_no_test_leakage,
    settings_table,
    shortlist,
)

MOST_DOUBLINGS = 8
"""Maximum number of times that a strength is doubled or halved to leave the grid's edge."""


@checked
def search(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    sources: Mapping[int, VectorSource],
    settings: Sequence[SteeringSetting],
    *,
    rounds: Sequence[int] = (8, 16, 32, 60),
    least: int = 4,
    by: Kind = "strict",
    inside: bool = True,
    test: Sequence[Content] = (),
    style: Style | None = None,
    max_new_tokens: int = 40,
    grader: GradeOutputs = grade,
) -> pd.DataFrame:
    """Search many settings by successive halving, then extend the strengths if needed (ours).

    All settings are tried on a few contents; of each layer, the better part is tried on more, and
    so on, so that each round costs about the same. Then, as long as the best setting has the
    largest or the smallest strength tried with its layer, k, beta, placement and decay, that
    strength is doubled or halved: the choice never lies at an edge of the grid, unless no output
    passes. (A decay cannot lie at one, if 0, the last prompt token alone, and 1 are among those
    tried.)

    >>> tried = saif.search(organism, french, validation, rankings, grid, rounds=(2, 4, 12))

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        contents: Contents of the validation split.
        sources: Layer to ranking, from other contents, or to a vector of another rule.
        settings: The settings to try.
        rounds: Number of contents, from the first on, in each round.
        least: Minimum number of settings of each layer in every round.
        by: The share that decides first, see `shortlist`.
        inside: Whether to extend the strengths.
        test: As in `sweep`.
        style: Style of the prompts.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs, as in `steer_and_grade`.

    Returns:
        A row for each setting, as from `sweep`, over all rounds; settings that were kept longer
        have more contents.

    Raises:
        ValueError: If the rounds do not grow, contents are too few, or one is a test content.
    """
    check_by(by)
    check_search(contents, rounds, least, test)
    graded: dict[SteeringSetting, Grades] = {}
    staying, done = list(settings), 0
    options = {"style": style, "max_new_tokens": max_new_tokens, "grader": grader}
    for n in rounds:
        if done:
            table = settings_table(model, sources, {s: graded[s] for s in staying})
            staying = halved(table, done / n, least, by)
        more = grade_settings(model, instruction, contents[done:n], sources, staying, **options)
        for setting, new in zip(staying, more, strict=True):
            graded[setting] = pool_grades([graded[setting], new]) if done else new
        done = n
    for _ in range(MOST_DOUBLINGS * inside):
        table = settings_table(model, sources, {s: graded[s] for s in staying})
        beyond = _beyond_the_edge(best_setting(table, by), graded)
        if not beyond or not table[["strict", "loose"]].to_numpy().any():
            break
        more = grade_settings(model, instruction, contents[:done], sources, beyond, **options)
        graded |= zip(beyond, more, strict=True)
        staying += beyond
    return settings_table(model, sources, graded)


def halved(table: pd.DataFrame, share: float, least: int, by: Kind) -> list[SteeringSetting]:
    """Return the best settings of each layer, a share of them or at least a few.

    Args:
        table: Rows of a sweep.
        share: The share to keep.
        least: Minimum number of settings of each layer.
        by: The share of outputs that decides first.

    Returns:
        The settings, by layer.
    """
    return [
        setting
        for _, rows in table.groupby("layer", sort=False)
        for setting in shortlist(rows, max(least, math.ceil(share * len(rows))), by=by)
    ]


def _beyond_the_edge(
    best: SteeringSetting, tried: Collection[SteeringSetting]
) -> list[SteeringSetting]:
    """Return the setting to try next if the best one has an extreme strength."""
    strengths = [s.strength for s in tried if replace(s, strength=best.strength) == best]
    if len(strengths) == 1 or best.strength == 0:  # a strength that the caller has fixed, or none
        return []
    sizes = [abs(strength) for strength in strengths if strength * best.strength >= 0]
    factor = {min(sizes): 0.5, max(sizes): 2.0}.get(abs(best.strength))
    return [replace(best, strength=factor * best.strength)] if factor else []


def check_rounds(rounds: Sequence[int], least: int) -> None:
    """Raise if the rounds do not grow, or keep nothing.

    Args:
        rounds: As for `search`.
        least: As for `search`.

    Raises:
        ValueError: If they do not.
    """
    grow = all(0 < few < more for few, more in itertools.pairwise(rounds))
    if not rounds or rounds[0] < 1 or not grow or least < 1:
        raise ArgumentError(
            f"rounds={tuple(rounds)} and least={least} given; each round must steer more contents "
            "than the one before it, and keep at least one setting",
            "rounds",
        )


def check_search(
    contents: Sequence[Content],
    rounds: Sequence[int],
    least: int,
    test: Sequence[Content] = (),
) -> None:
    """Raise if the arguments of `search` are not valid.

    For arguments and errors see `search`.
    """
    check_rounds(rounds, least)
    check_no_test_leakage(contents, test)
    if len(contents) < max(rounds):
        raise ArgumentError(
            f"{len(contents)} contents given, but the last round needs {max(rounds)}; give more "
            "validation contents or smaller rounds",
            "contents",
        )
