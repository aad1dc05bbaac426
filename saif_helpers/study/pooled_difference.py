"""Difference of a method and a control whose draws are pooled, on the same contents."""

import math

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.grading import Grades, Kind
from saif_helpers.intervals import Interval


@checked
def pooled_difference(first: Grades, second: Grades, kind: Kind) -> Interval:
    """Return how much more often `first` passes than `second`, whose outputs are pooled.

    Newcombe's interval for independent shares (method 10, doi
    10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I). It misses up to 5.6 % of the
    time (100 or 200 contents), less if both tend to pass on the same contents, and up to 18 % if
    both pass on half of the contents and never on the same. For a single output per content,
    `paired_difference` is narrower.

    >>> twice = saif.pool_grades([grades, grades])
    >>> print(pooled_difference(grades, twice, "loose").value)
    0.0

    Args:
        first: Grades of one method.
        second: Grades of another, with several outputs for each content, see `pool_grades`.
        kind: ``"strict"`` or ``"loose"``.

    Returns:
        The difference of the two shares and its 95 % interval.

    Raises:
        ValueError: If they are for different instructions.
    """
    if first.instruction != second.instruction:
        raise ArgumentError(
            f"grades for {first.instruction!r} and {second.instruction!r}; compare one instruction",
            "second",
        )
    mine, theirs = first.proportion(kind), second.proportion(kind)
    value = mine.value - theirs.value
    below = math.hypot(mine.value - mine.low, theirs.high - theirs.value)
    above = math.hypot(mine.high - mine.value, theirs.value - theirs.low)
    return Interval(value, max(-1.0, value - below), min(1.0, value + above), mine.n)
