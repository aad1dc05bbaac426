"""Comparison of two methods on the same contents: paired difference of proportions."""

import math
from collections import Counter
from collections.abc import Iterable

from scipy.optimize import brentq
from scipy.stats import norm

from saif_helpers._internal.arguments import ArgumentError, share
from saif_helpers._internal.checked import checked
from saif_helpers.grading import Grades, Kind, passed
from saif_helpers.intervals import Interval


def check_distinct(contents: Iterable[str]) -> None:
    """Raise if a content is repeated, since its outputs are not independent.

    Args:
        contents: The contents.

    Raises:
        ValueError: If one of them is repeated.
    """
    for text, times in Counter(contents).items():
        if times > 1:
            said = f"the content {text!r} occurs {times} times; give each test content once"
            raise ArgumentError(said, "contents")


@checked
def paired_difference(
    first: Grades, second: Grades, kind: Kind, confidence: float = 0.95
) -> Interval:
    """Return how much more often `first` passes than `second` on the same contents.

    The interval is Tango's for paired proportions (doi
    10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B): the differences that a score
    test does not reject. A 95 % interval misses 4.7 to 6.6 % of the time (60 to 200 contents).

    >>> unsteered = saif.grade(saif.generate(organism, prompts), items, french)
    >>> print(saif.paired_difference(grades, unsteered, "loose").value)
    1.0

    Args:
        first: Grades of one method.
        second: Grades of another on the same items.
        kind: ``"strict"`` or ``"loose"``.
        confidence: Coverage of the interval.

    Returns:
        The difference of the two shares and its interval.

    Raises:
        ValueError: If they were not graded on the same contents, or a content is repeated.
    """
    if first.instruction != second.instruction:
        raise ArgumentError(
            f"grades for {first.instruction!r} and {second.instruction!r}; compare one instruction",
            "second",
        )
    share("confidence", confidence)
    if [item.content for item in first.items] != [item.content for item in second.items]:
        raise ArgumentError(
            "the grades are of different contents; grade both on the same", "second"
        )
    check_distinct(item.content for item in first.items)
    pairs = list(zip(passed(first, kind), passed(second, kind), strict=True))
    n = len(pairs)
    first_alone = sum(a and not b for a, b in pairs)
    second_alone = sum(b and not a for a, b in pairs)
    value = (first_alone - second_alone) / n
    high = _highest(first_alone, second_alone, n, confidence)
    low = -_highest(second_alone, first_alone, n, confidence)
    return Interval(value, min(low, value), max(high, value), n)


def _highest(first_alone: int, second_alone: int, n: int, confidence: float) -> float:
    """Return the highest difference that Tango's score test does not reject."""

    def rejected_by(difference: float) -> float:  # distance of the score below its bound
        middle = (2 * n - first_alone + second_alone) * difference - first_alone - second_alone
        last = 8 * n * second_alone * difference * (1 - difference)
        alone = (math.sqrt(max(middle**2 + last, 0.0)) - middle) / (4 * n)  # MLE of second's
        variance = n * (2 * alone + difference * (1 - difference))
        score = first_alone - second_alone - n * difference
        return -z - score / math.sqrt(variance) if variance > 0 else -z

    z, value = norm.ppf((1 + confidence) / 2), (first_alone - second_alone) / n
    nearly = math.nextafter(1.0, 0.0)
    return float(brentq(rejected_by, value, nearly)) if rejected_by(nearly) > 0 else 1.0
