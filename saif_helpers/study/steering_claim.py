"""The criteria of "steering follows the instruction" (claim C3), in three lines.

Steering must beat chance and reach the paper's own bars; whether it beats the simple opponents is
judged apart (standing of the bars: stated in words, reported in figures; of the lines: ours).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from saif_helpers._internal.arguments import share
from saif_helpers.comparison import paired_difference
from saif_helpers.grading import Grades, Kind
from saif_helpers.intervals import Interval
from saif_helpers.study.claims import Criterion
from saif_helpers.study.pooled_difference import pooled_difference

NOTHING, PROMPTING = "no instruction", "prompting"
RANDOM, RANDOM_SAE = "random latents", "random SAE"
MEANS, FIRST_WORD = "difference in means", "first word forced"
CONTROLS, OPPONENTS = (RANDOM, RANDOM_SAE), (MEANS, FIRST_WORD)
Line = Literal["beats the controls", "reaches the bars", "beats the simple opponents"]


@dataclass(frozen=True)
class Bars:
    """The paper's bars, each between 0 and 1.

    Attributes:
        strict: Minimum strict share (stated: over 30 %).
        loose: Minimum loose share, relative to prompting's (stated: comparable; the reported
            figures have a ratio of 0.85).
    """

    strict: float = 0.30
    loose: float = 0.85

    def __post_init__(self) -> None:
        """Raise if a bar is not between 0 and 1."""
        for name, value in vars(self).items():
            share(f"{name}_bar", value)


def deciding_grade(prompted: Grades, bars: Bars) -> Literal["strict", "loose"]:
    """Return the grade by which settings are chosen and methods are compared.

    Where not even prompting passes the paper's strict bar, as on a small real model whose answers
    are cut off, hardly any output passes strictly, and the strict share could not tell methods
    apart.

    Args:
        prompted: Grades of the prompted model on validation contents.
        bars: The bars.

    Returns:
        ``"strict"`` if prompting's strict share reaches the strict bar, else ``"loose"``.
    """
    return "strict" if prompted.proportion("strict").value >= bars.strict else "loose"


def steering_criteria(
    grades: Mapping[str, Grades],
    method: str,
    kind: Literal["strict", "loose"],
    bars: Bars,
) -> dict[Line, list[Criterion]]:
    """Return the criteria of each of the three lines.

    Args:
        grades: Method to grades on the same test contents: the method, `PROMPTING`, `CONTROLS` and
            one or more of `OPPONENTS`.
        method: The method that is judged.
        kind: The grade by which methods are compared, see `deciding_grade`.
        bars: The paper's bars.

    Returns:
        Line to criteria.
    """
    mine, prompting = grades[method], grades[PROMPTING]
    margin = (1 - bars.loose) * prompting.proportion("loose").value
    lag = paired_difference(mine, prompting, "loose")
    opponents = [name for name in OPPONENTS if name in grades and name != method]

    def ahead_of(names: Iterable[str]) -> list[Criterion]:
        found = {name: _difference(mine, grades[name], kind) for name in names}
        return [
            Criterion(f"{kind}, {method} minus {name}", interval, "above", 0.0)
            for name, interval in found.items()
        ]

    return {
        "beats the controls": ahead_of(CONTROLS),
        "reaches the bars": [
            Criterion(f"strict, {method}", mine.proportion("strict"), "above", bars.strict),
            Criterion(f"loose, {method} minus prompting", lag, "above", -margin),
        ],
        "beats the simple opponents": ahead_of(opponents),
    }


def _difference(mine: Grades, other: Grades, kind: Kind) -> Interval:
    """Return the paired difference, or the pooled one of a control of several draws."""
    once = len(other.items) == len(mine.items)
    return (paired_difference if once else pooled_difference)(mine, other, kind)
