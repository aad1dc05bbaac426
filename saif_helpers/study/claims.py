"""Verdicts on claims, by a rule that is stated before the result and applied by code.

A claim is broken up into criteria, each of which asks whether a measured share lies above or below
a threshold. The whole confidence interval has to lie on the right side; an interval that holds the
threshold decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from saif_helpers._internal.arguments import check_finite
from saif_helpers._internal.checked import checked
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
        side: Whether the claim says ``"above"`` or ``"below"`` the threshold.
        threshold: The threshold, fixed before the measurement.
    """

    what: str
    interval: Interval
    side: Literal["above", "below"]
    threshold: float

    def __post_init__(self) -> None:
        """Refuse a side that there is not."""
        if self.side not in ("above", "below"):
            raise ValueError(f"side={self.side!r} given; give 'above' or 'below'")
        check_finite("threshold", self.threshold)

    @property
    def holds(self) -> bool | None:
        """Whether the claim's side holds; None where the interval holds the threshold or is nan."""
        above = self.interval.low > self.threshold
        if above == (self.interval.high < self.threshold):
            return None
        return above == (self.side == "above")


@checked
def verdict(checks: Sequence[Criterion]) -> Verdict:
    """Judge a claim: supported if every check holds, not supported if one fails, else undecided.

    >>> saif.verdict([saif.Criterion("strict, steered", saif.wilson(45, 60), "above", 0.3)])
    'supported'

    Args:
        checks: The claim's checks.

    Returns:
        The verdict.

    Raises:
        ValueError: If there is no check.
    """
    if not checks:
        raise ValueError("verdict was given no checks; a claim that nothing checks has no verdict")
    outcomes = [check.holds for check in checks]
    if False in outcomes:
        return "not supported"
    return "undecided" if None in outcomes else "supported"


def bounded_share(surely: int, possibly: int, n: int) -> Interval:
    """Write how many of n things count, known only between two bounds, as a share with an interval.

    Args:
        surely: How many count for certain.
        possibly: How many may count, the certain ones included.
        n: Number of things.

    Returns:
        The share that counts for certain, as the value and the lower end, and the share that may.

    Raises:
        ValueError: If not 0 <= surely <= possibly <= n, or n is 0.
    """
    if not 0 <= surely <= possibly <= n or n < 1:
        raise ValueError(
            f"{surely} surely and {possibly} possibly of {n} given; give 0 <= surely <= possibly "
            "<= n, and at least one thing"
        )
    return Interval(surely / n, surely / n, possibly / n, n)
