"""Proportions with their confidence intervals."""

import math
from dataclasses import dataclass

from scipy.stats import norm

from saif_helpers._internal.arguments import ArgumentError, share, whole_number
from saif_helpers._internal.checked import checked


@checked
@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    >>> print(saif.Interval(0.52, 0.38, 0.66, n=50))
    52% [38, 66]

    Attributes:
        value: The estimate.
        low: Lower bound of the interval.
        high: Upper bound.
        n: Number of outputs; several for one content count once.
    """

    value: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        """Raise if the number of outputs is negative."""
        whole_number("n", self.n, least=0)

    def __str__(self) -> str:
        """Write it as ``52% [38, 66]``."""
        return format(self, "")

    def __format__(self, spec: str) -> str:
        """Write it in percent; ``+`` writes the sign, for differences: ``+12% [+5, +19]``."""
        ends = (f"{100 * each:{spec}z.0f}" for each in (self.value, self.low, self.high))
        return "{}% [{}, {}]".format(*ends)


@checked
def wilson(count: int | float, n: int, confidence: float = 0.95) -> Interval:
    """Return a proportion with its Wilson interval.

    Averaged over all true proportions, a 95 % interval misses 5 % of the time. For a single one it
    misses up to 7 % of the time if at least 5 of 40 to 400 trials are expected to pass and to fail,
    and up to 15 % closer to 0 or 1. SciPy's ``binomtest`` does not support fractional counts.

    >>> print(saif.wilson(45, 60))
    75% [63, 84]

    Args:
        count: Number of successes; fractional if a trial is itself a share.
        n: Number of trials.
        confidence: Coverage of the interval.

    Returns:
        The proportion and its interval.

    Raises:
        ValueError: If n is 0, `count` is not in 0 to n, or the confidence not in 0 to 1.
    """
    if not 0 <= count <= n or n < 1:
        said = f"{count} of {n} given; give a count from 0 to n and an n of at least 1"
        raise ArgumentError(said, "n" if n < 1 else "count")
    z, p = norm.ppf((1 + share("confidence", confidence)) / 2), count / n
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return Interval(p, float(low) if count else 0.0, float(high) if count < n else 1.0, n)
