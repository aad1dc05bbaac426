"""Verdicts on claims, by a rule that is fixed in advance.

A claim consists of criteria, each of which requires a measured share to be above or below a
threshold. The whole confidence interval must be on that side; an interval that contains the
threshold is undecided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from saif_helpers._internal.arguments import check_finite
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.intervals import Interval

Verdict = Literal["supported", "not supported", "undecided"]


@checked
@dataclass(frozen=True)
class Criterion:
    """One measurable part of a claim.

    >>> saif.Criterion("strict, steered", saif.wilson(45, 60), "above", 0.3).holds
    True

    Attributes:
        what: What is measured, for example ``"strict, steered"``.
        interval: The measurement.
        side: Side of the threshold on which the claim expects the share.
        threshold: The threshold, fixed before the measurement.
    """

    what: str
    interval: Interval
    side: Literal["above", "below"]
    threshold: float

    def __post_init__(self) -> None:
        """Raise if the side or the threshold is not valid."""
        if self.side not in ("above", "below"):
            raise ArgumentError(f"side={self.side!r} given; give 'above' or 'below'", "side")
        check_finite("threshold", self.threshold)

    @property
    def holds(self) -> bool | None:
        """Whether the criterion holds; None if the interval contains the threshold or is NaN."""
        above = self.interval.low > self.threshold
        if above == (self.interval.high < self.threshold):
            return None
        return above == (self.side == "above")


@checked
def verdict(checks: Sequence[Criterion]) -> Verdict:
    """Judge a claim: supported if all checks hold, not supported if one fails, else undecided.

    >>> saif.verdict([saif.Criterion("strict, steered", saif.wilson(45, 60), "above", 0.3)])
    'supported'

    Args:
        checks: The claim's checks.

    Returns:
        The verdict.

    Raises:
        ValueError: If there are no checks.
    """
    if not checks:
        raise ArgumentError("verdict was given no checks; give at least one", "checks")
    outcomes = [check.holds for check in checks]
    if False in outcomes:
        return "not supported"
    return "undecided" if None in outcomes else "supported"


def bounded_share(surely: int, possibly: int, n: int) -> Interval:
    """Return a share with an interval from lower and upper bounds of its count.

    Args:
        surely: Number that certainly count.
        possibly: Number that may count, including the certain ones.
        n: Total number.

    Returns:
        The certain share as value and lower bound, and the possible share as upper bound.

    Raises:
        ValueError: If not 0 <= surely <= possibly <= n, or n is 0.
    """
    if not 0 <= surely <= possibly <= n or n < 1:
        raise ArgumentError(
            f"{surely} surely and {possibly} possibly of {n} given; give 0 <= surely <= possibly "
            "<= n, and n of at least 1",
            "possibly",
        )
    return Interval(surely / n, surely / n, possibly / n, n)
