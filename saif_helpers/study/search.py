"""Choice of a setting (layer, k, beta, placement, strength, decay) on the validation split.

The test split is never used (`check_no_test_leakage`): a setting is chosen on validation contents
only. `search` tries a large grid on a few of them and the best settings on more, in rounds of
`sweep`; `best_setting` chooses one.
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
from saif_helpers.grading import GradeOutputs, Grades, grade, pool_grades
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.study.settings import (
    SETTING_COLUMNS,
    SteeringSetting,
    VectorSource,
    grade_settings,
)

MEASURED = ["contents", "strict", "loose", "norm"]  # criteria of the choice, in this order
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
    return _table(model, sources, dict(zip(settings, graded, strict=True)))


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


def _table(
    model: ModelWithSAEs,
    sources: Mapping[int, VectorSource],
    graded: Mapping[SteeringSetting, Grades],
) -> pd.DataFrame:
    rows = []
    for setting, grades in graded.items():
        norm = setting.vector(model, sources[setting.layer]).norm
        shares = {kind: grades.proportion(kind).value for kind in ("strict", "loose", "broken")}
        rows.append(vars(setting) | {"norm": norm, "contents": len(grades.outputs)} | shares)
    return pd.DataFrame(rows)


@checked
def search(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    sources: Mapping[int, VectorSource],
    settings: Sequence[SteeringSetting],
    *,
    rounds: tuple[int, int, int] = (8, 20, 60),
    keep: tuple[int, int] = (3, 6),
    test: Sequence[Content] = (),
    style: Style | None = None,
    max_new_tokens: int = 40,
    grader: GradeOutputs = grade,
) -> pd.DataFrame:
    """Search many settings in three rounds: all on a few contents, the best on more (ours).

    The second round keeps the best of each layer, placement and decay, the third the best overall.

    >>> tried = saif.search(organism, french, validation, rankings, grid, rounds=(2, 4, 12))

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        contents: Contents of the validation split.
        sources: Layer to ranking, from other contents, or to a vector of another rule.
        settings: The settings to try.
        rounds: Number of contents, from the first on, in each round.
        keep: Number of settings of each layer, placement and decay in the second round, and in
            total in the third.
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
    check_search(contents, rounds, keep, test)
    graded: dict[SteeringSetting, Grades] = {}
    staying, done = list(settings), 0
    options = {"style": style, "max_new_tokens": max_new_tokens, "grader": grader}
    of_each_kind = {"n": keep[0], "per": ["layer", "placement", "decay"]}
    for n, choice in zip(rounds, (None, of_each_kind, {"n": keep[1]}), strict=True):
        if choice:
            staying = shortlist(_table(model, sources, {s: graded[s] for s in staying}), **choice)
        more = grade_settings(model, instruction, contents[done:n], sources, staying, **options)
        for setting, new in zip(staying, more, strict=True):
            graded[setting] = pool_grades([graded[setting], new]) if done else new
        done = n
    return _table(model, sources, graded)


def check_search(
    contents: Sequence[Content],
    rounds: tuple[int, int, int],
    keep: tuple[int, int],
    test: Sequence[Content] = (),
) -> None:
    """Raise if the arguments of `search` are not valid.

    For arguments and errors see `search`.
    """
    if not 0 < rounds[0] < rounds[1] < rounds[2] or min(keep) < 1:
        raise ArgumentError(
            f"rounds={rounds} and keep={keep} given; each round must steer more contents than the "
            "one before it, and keep at least one setting",
            "rounds",
        )
    if len(contents) < max(rounds):
        raise ArgumentError(
            f"{len(contents)} contents given, but the last round needs {max(rounds)}; give more "
            "validation contents or smaller rounds",
            "contents",
        )
    check_no_test_leakage(contents, test)


def shortlist(table: pd.DataFrame, n: int, per: Sequence[str] = ()) -> list[SteeringSetting]:
    """Return the n best rows of a sweep, by strict share, then loose share, then smaller norm.

    Settings that were tried on more contents come first.

    Args:
        table: A table from `sweep` or `search`, or some of its rows.
        n: Number of rows; all if there are fewer.
        per: Columns, such as ``["layer", "placement"]``, to return the n best of each combination.

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
    order = table.sort_values(MEASURED, ascending=[False, False, False, True], kind="stable")
    best = order.groupby(list(per), sort=False).head(n) if per else order.head(n)
    return [SteeringSetting(**row) for row in best[SETTING_COLUMNS].to_dict("records")]


@checked
def best_setting(table: pd.DataFrame) -> SteeringSetting:
    """Choose the best row of a sweep, see `shortlist`.

    >>> best = saif.best_setting(table)

    Args:
        table: A table from `sweep` or `search`, or some of its rows.

    Returns:
        The setting.

    Raises:
        ValueError: If the table is empty.
    """
    return shortlist(table, 1)[0]
