"""Sweep of settings on the validation split, and the choice of the best.

The test split is never used (`check_no_test_leakage`): a setting is chosen on validation contents
only.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import get_args

import pandas as pd

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Corpus, Style
from saif_helpers.contents import Content, load_contents
from saif_helpers.graders.text import normalise
from saif_helpers.grading import GradeOutputs, Grades, Kind, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.study.settings import (
    SETTING_COLUMNS,
    SteeringSetting,
    VectorSource,
    grade_settings,
)

MEASURED = ["contents", "strict", "loose", "norm"]
TEST_SPLITS = ("test", "devtest")  # the second is FLORES's, see `parallel`


@checked
def sweep(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    sources: Mapping[int, VectorSource],
    settings: Sequence[SteeringSetting],
    *,
    test: Sequence[Content] = (),
    style: Style | None = None,
    max_new_tokens: int = 40,
    grader: GradeOutputs = grade,
) -> pd.DataFrame:
    """Steer with every setting on validation contents, and tabulate the shares that pass.

    >>> table = saif.sweep(organism, french, validation, rankings, grid)

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        contents: Contents of the validation split.
        sources: Layer to ranking, from other contents, or to a vector of another rule.
        settings: The settings to try.
        test: Contents on which the choice will be reported. They must not occur in `contents`, and
            neither may the shipped test sentences.
        style: Style of the prompts.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs, as in `steer_and_grade`.

    Returns:
        A row for each setting, in the given order: the setting, the vector's norm, the number of
        contents, and the shares of outputs that are strict, loose and broken.

    Raises:
        ValueError: If a content is a test content, see `check_no_test_leakage`.
    """
    check_no_test_leakage(contents, test)
    options = {"style": style, "max_new_tokens": max_new_tokens, "grader": grader}
    graded = grade_settings(model, instruction, contents, sources, settings, **options)
    return settings_table(model, sources, dict(zip(settings, graded, strict=True)))


def check_no_test_leakage(contents: Sequence[Content], test: Sequence[Content] = ()) -> None:
    """Raise if latents or settings would be chosen on test contents.

    A content is a test content if its split says so, or if its text, ignoring white space and case,
    is that of one of `test` or of a shipped test sentence, whatever its split.

    Args:
        contents: Contents on which latents are found or settings are chosen.
        test: Contents on which the result will be reported.

    Raises:
        ValueError: If one of `contents` is a test content.
    """
    kept_back = _shipped_test() | {_key(content) for content in test}
    for content in contents:
        if content.split in TEST_SPLITS:
            problem = f"is in the split {content.split!r}"
        elif _key(content) in kept_back:
            problem = f"has the text of a test content, though its split is {content.split!r}"
        else:
            continue
        raise ArgumentError(
            f"the content {content.text!r} {problem}; find latents on the identification split and "
            "choose settings on the validation split, never on contents that are reported",
            "contents",
        )


@functools.cache
def _shipped_test() -> frozenset[str]:
    return frozenset(_key(one) for name in get_args(Corpus) for one in load_contents("test", name))


def _key(content: Content) -> str:
    return normalise(content.text).casefold()


def settings_table(
    model: ModelWithSAEs,
    sources: Mapping[int, VectorSource],
    graded: Mapping[SteeringSetting, Grades],
) -> pd.DataFrame:
    """Tabulate graded settings.

    Args:
        model: The model and its SAEs.
        sources: Layer to the source of the settings' vectors.
        graded: Setting to its grades.

    Returns:
        A row for each setting, see `sweep`.
    """
    rows = []
    for setting, grades in graded.items():
        norm = setting.vector(model, sources[setting.layer]).norm
        shares = {kind: grades.proportion(kind).value for kind in ("strict", "loose", "broken")}
        rows.append(vars(setting) | {"norm": norm, "contents": len(grades.outputs)} | shares)
    return pd.DataFrame(rows)


def shortlist(
    table: pd.DataFrame, n: int, per: Sequence[str] = (), by: Kind = "strict"
) -> list[SteeringSetting]:
    """Return the n best rows of a sweep: by one share, then the other, then the smaller norm.

    Settings that were tried on more contents come first.

    Args:
        table: A table from `sweep` or `search`, or some of its rows.
        n: Number of rows; all if there are fewer.
        per: Columns, such as ``["layer", "placement"]``, to return the n best of each combination.
        by: The share that decides first: ``"strict"`` or ``"loose"``.

    Returns:
        The settings, best first. Ties keep the order of the table.

    Raises:
        ValueError: If the table is empty, or lacks columns.
    """
    if table.empty:
        raise ArgumentError("an empty table given; sweep at least one setting", "table")
    if missing := {*SETTING_COLUMNS, *MEASURED} - set(table.columns):
        raise ArgumentError(
            f"the table has no {', '.join(sorted(missing))}; give a table from sweep", "table"
        )
    check_by(by)
    criteria = ["contents", by, "loose" if by == "strict" else "strict", "norm"]
    order = table.sort_values(criteria, ascending=[False, False, False, True], kind="stable")
    best = order.groupby(list(per), sort=False).head(n) if per else order.head(n)
    return [SteeringSetting(**row) for row in best[SETTING_COLUMNS].to_dict("records")]


def check_by(by: Kind) -> None:
    """Raise if settings cannot be chosen by a kind of share.

    Args:
        by: The share that decides first.

    Raises:
        ValueError: If it is not ``"strict"`` or ``"loose"``.
    """
    if by not in ("strict", "loose"):
        raise ArgumentError(f"by={by!r} given; give 'strict' or 'loose'", "by")


@checked
def best_setting(table: pd.DataFrame, by: Kind = "strict") -> SteeringSetting:
    """Choose the best row of a sweep, see `shortlist`.

    >>> best = saif.best_setting(table)

    Args:
        table: A table from `sweep` or `search`, or some of its rows.
        by: The share that decides first: ``"strict"`` or ``"loose"``.

    Returns:
        The setting.

    Raises:
        ValueError: If the table is empty.
    """
    return shortlist(table, 1, by=by)[0]
