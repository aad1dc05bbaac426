"""Miss rates of the package's intervals for known true values.

If there are few outcomes, the rate is computed exactly from their probabilities; otherwise outcomes
are drawn from a fixed seed. `simulate` collects these rates, and those of whole verdicts.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.stats import binom, norm

import saif_helpers as saif
from saif_helpers.analysis.separation import auroc, auroc_interval
from saif_helpers.graders.grader import Item
from saif_helpers.grading import Grades, Kind
from saif_helpers.intervals import Interval
from saif_helpers.judge.agreement import agreement
from saif_helpers.study.pooled_difference import pooled_difference

Together = Literal["independent", "alike", "apart"]
"""How runs relate: all answers are independent, every run gives the same, or the same and none
where the other method passes."""


@dataclass(frozen=True)
class Misses:
    """Probabilities that an interval misses the true value, by side.

    Attributes:
        above: Probability that the whole interval is above the true value.
        below: Probability that the whole interval is below the true value.
    """

    above: float
    below: float

    @property
    def either(self) -> float:
        """Probability of a miss on either side."""
        return self.above + self.below


def misses(
    intervals: Iterable[Interval], truth: float, weights: Sequence[float] | None = None
) -> Misses:
    """Compute how often intervals miss the true value.

    Args:
        intervals: The intervals.
        truth: The true value.
        weights: Probability of each interval; uniform by default.

    Returns:
        The probability of a miss on each side.
    """
    low, high = np.array([(interval.low, interval.high) for interval in intervals]).T
    weights = np.full(len(low), 1 / len(low)) if weights is None else np.asarray(weights)
    above, below = low > truth + 1e-12, high < truth - 1e-12
    return Misses(float(weights @ above), float(weights @ below))


@functools.cache
def shares(n: int, confidence: float = 0.95) -> list[Interval]:
    """Return the interval for each possible number of passes in n trials, from 0."""
    return [saif.wilson(count, n, confidence) for count in range(n + 1)]


def share_misses(n: int, truth: float, confidence: float = 0.95) -> Misses:
    """Compute how often the interval of a share (`wilson`) misses the true share.

    Args:
        n: Number of trials.
        truth: The true share.
        confidence: Nominal coverage.

    Returns:
        The exact probability of a miss on each side.
    """
    weights = binom.pmf(np.arange(n + 1), n, truth)
    return misses(shares(n, confidence), truth, weights)


@functools.cache
def pooled(contents: int, runs: int) -> list[Interval]:
    """Return the interval of a pooled share (`pool_grades`) for each number of passes, from 0."""
    found = []
    for count in range(contents * runs + 1):
        each = [count // runs + (run < count % runs) for run in range(runs)]
        grades = saif.pool_grades([graded([True] * n + [False] * (contents - n)) for n in each])
        found.append(grades.proportion("strict"))
    return found


def pooled_misses(contents: int, runs: int, truth: float, *, alike: bool) -> Misses:
    """Compute how often the interval of a pooled share misses the true share.

    Args:
        contents: Number of contents.
        runs: Number of runs on the same contents.
        truth: The true share.
        alike: Whether every run gives the same grade for a content; else all are independent.

    Returns:
        The exact probability of a miss on each side.
    """
    if alike:
        weights = binom.pmf(np.arange(contents + 1), contents, truth)
        return misses(pooled(contents, runs)[::runs], truth, weights)
    weights = binom.pmf(np.arange(contents * runs + 1), contents * runs, truth)
    return misses(pooled(contents, runs), truth, weights)


def graded(strict: Sequence[bool], loose: Sequence[bool] | None = None) -> Grades:
    """Return grades of one instruction that pass as given, loosely as strictly by default."""
    answers = [tuple(map(bool, each)) for each in (strict, strict if loose is None else loose)]
    return Grades("simulated", _items(len(strict)), ("",) * len(strict), *answers)


@functools.cache
def _items(n: int) -> tuple[Item, ...]:
    return tuple(Item(str(index)) for index in range(n))


@functools.cache
def differences(n: int, confidence: float = 0.95) -> dict[tuple[int, int], Interval]:
    """Return the interval by outcome: numbers of passes of only the first and only the second."""
    found = {}
    for first in range(n + 1):
        for second in range(first, n + 1 - first):
            one = graded([True] * first + [False] * (n - first))
            other = graded([False] * first + [True] * second + [False] * (n - first - second))
            interval = saif.paired_difference(one, other, "strict", confidence)
            turned = Interval(-interval.value, -interval.high, -interval.low, n)
            found |= {(first, second): interval, (second, first): turned}
    return found


def difference_misses(n: int, first: float, second: float, confidence: float = 0.95) -> Misses:
    """Compute how often the interval of `paired_difference` misses the true difference.

    Args:
        n: Number of contents.
        first: Probability that only the first method passes a content.
        second: Probability that only the second method passes it.
        confidence: Nominal coverage.

    Returns:
        The exact probability of a miss on each side.
    """
    outcomes = differences(n, confidence)
    only_first, only_second = np.array(list(outcomes)).T
    differ = first + second
    weights = binom.pmf(only_first + only_second, n, differ)
    if differ:
        weights *= binom.pmf(only_first, only_first + only_second, first / differ)
    else:
        weights *= only_first + only_second == 0
    return misses(outcomes.values(), first - second, weights)


@dataclass(frozen=True)
class _Known(Grades):
    """Grades whose share is already worked out, since counting outputs takes long."""

    known: Interval | None = None

    def proportion(self, kind: Kind, confidence: float = 0.95) -> Interval:
        return self.known


@functools.cache
def _gain(n: int, runs: int, mine: int, theirs: int) -> Interval:
    """Compare passes of one method on n contents with those of a control in all runs."""
    found = shares(n)[mine], pooled(n, runs)[theirs]
    return pooled_difference(
        *(_Known("simulated", (), (), (), (), known=each) for each in found), "strict"
    )


def pooled_difference_misses(
    n: int, runs: int, first: float, second: float, together: Together
) -> Misses:
    """Sum up how often the interval of `pooled_difference` misses the true difference.

    Args:
        n: Number of contents.
        runs: Number of runs of the second method on them.
        first: True share of the first method.
        second: True share of the second.
        together: How the runs relate to each other, and to the first method.

    Returns:
        The exact probability of a miss on either side, but for outcomes rarer than 1e-12.
    """
    each = 1 if together == "independent" else runs
    counts, others = np.arange(n + 1), np.arange(n * runs // each + 1)
    left, given = others[-1], second
    if together == "apart":
        left, given = n - counts[:, None], second / (1 - first)
    weights = binom.pmf(counts, n, first)[:, None] * binom.pmf(others, left, given)
    outcomes = np.argwhere(weights > 1e-12)
    found = [_gain(n, runs, mine, each * theirs) for mine, theirs in outcomes.tolist()]
    return misses(found, first - second, weights[tuple(outcomes.T)])


def uneven_misses(n: int, runs: int, easy: float, hard: float, draws: int, seed: int = 0) -> Misses:
    """Draw two equally good methods on contents of which half are easy, and count misses.

    Args:
        n: Number of contents.
        runs: Number of runs of the second method on them.
        easy: True share of both methods on easy contents.
        hard: The same on the others.
        draws: Number of simulations.
        seed: Seed of the draws.

    Returns:
        How often the interval of `pooled_difference` misses 0.
    """
    generator = np.random.default_rng(seed)
    number = generator.binomial(n, 0.5, draws)
    mine, theirs = (
        generator.binomial(number * times, easy) + generator.binomial((n - number) * times, hard)
        for times in (1, runs)
    )
    pairs = zip(mine.tolist(), theirs.tolist(), strict=True)
    return misses([_gain(n, runs, *pair) for pair in pairs], 0.0)


def kappa_misses(n: int, cells: Sequence[float], draws: int, seed: int = 0) -> tuple[Misses, float]:
    """Simulate tables of two graders, and measure how often kappa's interval misses true kappa.

    Args:
        n: Number of outputs.
        cells: Probability of (fails, fails), (fails, passes), (passes, fails), (passes, passes).
        draws: Number of tables.
        seed: Seed of the draws.

    Returns:
        The rates among the tables with an interval, and the share of tables without one.
    """
    tables = np.random.default_rng(seed).multinomial(n, cells, draws)
    found = [_kappa(tuple(table)) for table in tables.tolist()]
    kept = [interval for interval in found if not np.isnan(interval.low)]
    p = np.reshape(cells, (2, 2))
    chance = p.sum(1) @ p.sum(0)
    return misses(kept, (np.trace(p) - chance) / (1 - chance)), 1 - len(kept) / draws


@functools.cache
def _kappa(table: tuple[int, ...]) -> Interval:
    answers = [(False, False), (False, True), (True, False), (True, True)]
    rows = [answer for answer, count in zip(answers, table, strict=True) for _ in range(count)]
    first, second = zip(*rows, strict=True)
    return agreement(graded(first), graded(second), "strict").kappa


def worst_area_misses(
    n_positive: int, n_negative: int, area: float, confidence: float = 0.95
) -> Misses:
    """Compute the miss rate of an area's interval (`separation.auroc_interval`) in the worst case.

    In the case of maximum variance, each positive value is above or below all negative ones, so the
    area is a share.

    Args:
        n_positive: Number of positive samples.
        n_negative: Number of negative samples, at least as many.
        area: The true area.
        confidence: Nominal coverage.

    Returns:
        The exact probability of a miss on each side.
    """
    counts = np.arange(n_positive + 1)
    found = [
        auroc_interval(k / n_positive, n_positive, n_negative, confidence) for k in counts.tolist()
    ]
    return misses(found, area, binom.pmf(counts, n_positive, area))


def area_misses(n_positive: int, n_negative: int, area: float, draws: int, seed: int = 0) -> Misses:
    """Simulate normal values with a known area, and measure how often its interval misses it.

    Args:
        n_positive: Number of positive samples.
        n_negative: Number of negative samples.
        area: The true area.
        draws: Number of simulations.
        seed: Seed of the draws.

    Returns:
        The rates.
    """
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randn(n_positive, draws, generator=generator) + 2**0.5 * norm.ppf(area)
    areas = auroc(positive, torch.randn(n_negative, draws, generator=generator)).tolist()
    return misses([auroc_interval(one, n_positive, n_negative) for one in areas], area)
