"""Simulated error rates of the book's intervals and verdicts.

Run as a program, this measures every rate and fails if one is higher than stated:

    python tools/simulate.py --draws 20000

`tests/guarantees/test_statistics.py` does the same with fewer draws. A rate is the probability of
an error: an interval that misses the true value, or a verdict that is due to chance.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from simulate_claims import (
    count_at_the_bar,
    judge_latents,
    meaning_at_the_bars,
    states,
    swapped,
)
from simulate_intervals import (
    Misses,
    Together,
    area_misses,
    difference_misses,
    kappa_misses,
    pooled_difference_misses,
    pooled_misses,
    share_misses,
    uneven_misses,
    worst_area_misses,
)
from simulate_steering import lag_misses, steering_at_the_bars

from saif_helpers.study.claims import verdict

SIZES = (40, 60, 100, 150, 200, 300, 400)
"""Sample sizes (outputs or pairs) of the chapters' intervals."""
HIGHER = {
    "share, five or more expected on both sides: worst": 0.0725,
    "share near 0 or 1: worst": 0.1481,
    "pooled share, both runs alike: worst": 0.0668,
    "paired difference: worst": 0.0657,
    "pooled difference, both runs alike: worst": 0.056,
    "area, 150 positive samples, values that vary most: worst": 0.0567,
    "area, 10 positive samples, values that vary most: worst": 0.0861,
    "area, 5 positive samples, values that vary most: worst": 0.0815,
    "kappa, half of the outputs pass, n = 60": 0.074,
    "kappa, half of the outputs pass, n = 200": 0.058,
    "kappa, one in seven fails, n = 60": 0.084,
    "kappa, one in seven fails, n = 200": 0.061,
    "kappa, one in thirty fails, n = 60": 0.191,
    "kappa, one in thirty fails, n = 200": 0.102,
    "C2, area of one latent: fails": 0.0023,
    "C3, strict share: holds": 0.0284,
    "C3, loose share behind prompting that never fails: holds": 0.0255,
    "C3, loose share behind prompting that never fails: fails": 0.0335,
    "C3, loose share behind prompting that fails too: fails": 0.027,
    "C3, random SAE or draws that pass alike: holds": 0.0257,
    "C3, random SAE or draws that pass alike: fails": 0.0257,
    "C3, random SAE or draws that pass where SAIF fails: holds": 0.0895,
    "C3, random SAE or draws that pass where SAIF fails: fails": 0.0895,
    "C3+, difference: holds": 0.026,
    "C3+, difference: fails": 0.026,
    "C4, random latents that pass alike: holds": 0.028,
    "C4, random latents that pass alike: fails": 0.028,
    "C4 and C5, difference: holds": 0.0261,
    "C4 and C5, difference: fails": 0.0261,
    "C6, difference of one style: holds": 0.0238,
    "C6, difference of one style: fails": 0.0126,
}
"""Measured rates that exceed the nominal ones; docstrings and pages state them."""
TABLES = {
    "half of the outputs pass": (0.4, 0.1, 0.1, 0.4),
    "one in seven fails": (0.1, 0.05, 0.05, 0.8),
    "one in thirty fails": (0.02, 0.02, 0.01, 0.95),
}
"""Joint probabilities of two graders: (fail, fail), (fail, pass), (pass, fail), (pass, pass)."""


@dataclass(frozen=True)
class Rate:
    """A nominal error rate and the measured one.

    Attributes:
        name: Description of the error.
        nominal: The rate implied by the confidence of the intervals.
        observed: The measured rate.
        draws: Number of simulations; 0 if the rate is computed exactly from all outcomes.
    """

    name: str
    nominal: float
    observed: float
    draws: int = 0

    @property
    def stated(self) -> float:
        """The rate that the book states: the nominal rate, or a higher measured one."""
        return HIGHER.get(self.name, self.nominal)

    @property
    def error(self) -> float:
        """Tolerance for sampling error: 3.5 standard errors of the measured rate."""
        variance = self.stated * (1 - self.stated)
        return 3.5 * (variance / self.draws) ** 0.5 if self.draws else 5e-5

    @property
    def holds(self) -> bool:
        """Whether the measured rate is at most the stated one."""
        return self.observed <= self.stated + self.error


def interval_rates(draws: int) -> Iterator[Rate]:
    """Measure how often each interval of the package misses the true value.

    Args:
        draws: Number of simulations for each rate that is not computed exactly.

    Yields:
        The rates.
    """
    truths = np.arange(1, 1000) / 1000
    missed = {(n, p): share_misses(n, p).either for n in SIZES for p in truths.tolist()}
    yield Rate("share: mean", 0.05, float(np.mean(list(missed.values()))))
    inner = [miss for (n, p), miss in missed.items() if n * min(p, 1 - p) >= 5]
    yield Rate("share, five or more expected on both sides: worst", 0.05, max(inner))
    yield Rate("share near 0 or 1: worst", 0.05, max(missed.values()))
    for name, alike in (("both runs alike", True), ("independent runs", False)):
        missed = [
            pooled_misses(n, 2, p, alike=alike).either
            for n in (100, 200)
            for p in truths[49:950:10].tolist()
        ]
        yield Rate(f"pooled share, {name}: worst", 0.05, max(missed))
    pairs = [
        (less + by, less)
        for less in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45)
        for by in (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
        if 2 * less + by <= 1
    ]
    missed = [difference_misses(n, *pair).either for n in (60, 100, 200) for pair in pairs]
    yield Rate("paired difference: mean", 0.05, float(np.mean(missed)))
    yield Rate("paired difference: worst", 0.05, max(missed))
    shares = [(0.02, 0.02), (0.1, 0.1), (0.3, 0.0), (0.5, 0.2), (0.5, 0.5), (0.95, 0.05)]
    for together, name in (("alike", "both runs alike"), ("independent", "independent runs")):
        missed = [pooled_difference_misses(100, 2, *pair, together).either for pair in shares]
        yield Rate(f"pooled difference, {name}: worst", 0.05, max(missed))
    areas = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    missed = [area_misses(n, 150, area, draws).either for n in (10, 150) for area in areas[::3]]
    yield Rate("area, normal values: worst", 0.05, max(missed), draws)
    for n in (150, 10, 5):
        missed = [worst_area_misses(n, 150, area).either for area in areas]
        yield Rate(f"area, {n} positive samples, values that vary most: worst", 0.05, max(missed))
    for name, cells in TABLES.items():
        for n in (60, 200):
            found, _ = kappa_misses(n, cells, draws)
            yield Rate(f"kappa, {name}, n = {n}", 0.05, found.either, draws)


def bar_rates(draws: int) -> Iterator[Rate]:
    """Measure how often a check holds or fails by chance when the true value equals its bar.

    Sample sizes and bars are those of the chapters. Each check is measured in both directions.

    Args:
        draws: Number of simulations for each rate that is not computed exactly.

    Yields:
        The rates.
    """
    splits = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)  # how often the worse method alone passes
    three, four, six, many = (
        [difference_misses(n, less + by, less, confidence) for less in splits]
        for n, by, confidence in (
            (200, 0.0, 0.95),
            (100, 0.0, 0.95),
            (200, 0.05, 0.975),
            (100, 0.0, 1 - 0.05 / 9),
        )
    )
    lag, strict = difference_misses(200, 0.0, 0.15), share_misses(200, 0.3)
    area = worst_area_misses(150, 150, 0.8, 1 - 0.05 / 15)
    for name, nominal, holds, fails in (
        ("C2, area of one latent", 0.05 / 30, area.above, area.below),
        ("C3, strict share", 0.025, strict.above, strict.below),
        ("C3, loose share behind prompting that never fails", 0.025, lag.above, lag.below),
        ("C3, random SAE or draws that pass alike", 0.025, *_control(200, 1, "alike")),
        ("C3, random SAE or draws that pass where SAIF fails", 0.025, *_control(200, 1, "apart")),
        ("C3+, difference", 0.025, *_worst(three)),
        ("C4, random latents", 0.025, *_control(100, 2, "independent")),
        ("C4, random latents that pass alike", 0.025, *_control(100, 2, "alike")),
        ("C4 and C5, difference", 0.025, *_worst(four)),
        ("C6, difference of one style", 0.0125, *_worst(six)),
        ("rules, difference of one method", 0.05 / 18, *_worst(many)),
    ):
        yield Rate(f"{name}: holds", nominal, holds)
        yield Rate(f"{name}: fails", nominal, fails)
    behind = [
        lag_misses(200, share, 0.85, draws, nested=nested)
        for share in (0.95, 0.7, 0.4)
        for nested in (True, False)
    ]
    even = [uneven_misses(200, 3, share, share, draws) for share in (0.05, 0.3, 0.5, 0.8)]
    uneven = [
        [uneven_misses(200, runs, *pair, draws) for pair in ((0.1, 0.0), (0.6, 0.0), (0.9, 0.1))]
        for runs in (3, 1)
    ]
    for name, found in (
        ("C3, loose share behind prompting that fails too", behind),
        ("C3, random latents", even),
        ("C3, random latents where half of the contents are easy", uneven[0]),
        ("C3, random SAE where half of the contents are easy", uneven[1]),
    ):
        holds, fails = _worst(found)
        yield Rate(f"{name}: holds", 0.025, holds, draws)
        yield Rate(f"{name}: fails", 0.025, fails, draws)


def _worst(found: Sequence[Misses]) -> tuple[float, float]:
    return max(one.above for one in found), max(one.below for one in found)


def _control(n: int, runs: int, together: Together) -> tuple[float, float]:
    """Measure how often a method seems better or worse than an equally good control, at worst."""
    shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, *(() if together == "apart" else (0.64, 0.9)))
    return _worst([pooled_difference_misses(n, runs, each, each, together) for each in shares])


def verdict_rates(draws: int) -> Iterator[Rate]:
    """Measure how often verdicts are due to chance.

    Args:
        draws: Number of simulations.

    Yields:
        The rates.
    """
    some = max(1, draws // 2)  # each computes a hundred rankings
    for name, responding in (("no latent responds", 0), ("20 latents respond", 20)):
        checks = [judge_latents(*swapped(*states(seed, responding), seed)) for seed in range(some)]
        supported = sum(verdict(found) == "supported" for found in checks) / some
        yield Rate(f"C1, labels swapped, {name}: supported", 0.025, supported, some)
        holds = sum(found[1].holds is True for found in checks) / some
        yield Rate(f"C1, labels swapped, {name}: swapped rankings", 0.05, holds, some)
    generator = np.random.default_rng(0)
    holds = sum(count_at_the_bar(generator).holds is True for _ in range(draws)) / draws
    yield Rate("C1, 8 of 15 latents at the bar, 7 above: holds", 0.025, holds, draws)
    area = worst_area_misses(150, 150, 0.8, 1 - 0.05 / 15)
    yield Rate("C2, 8 of 15 areas at the bar, 7 above: holds", 0.025, 1 - (1 - area.above) ** 8)
    found = [meaning_at_the_bars(seed) for seed in range(draws)]
    holds = sum(checks[0].holds is True for checks in found) / draws
    yield Rate("C2, vocabulary of latents drawn at random: holds", 0.025, holds, draws)
    supported = sum(verdict(checks) == "supported" for checks in found) / draws
    yield Rate("C2, all at the bars: supported", 0.025, supported, draws)
    found = Counter(verdict(steering_at_the_bars(generator)) for _ in range(10 * draws))
    yield Rate("C3, all at the bars: supported", 0.025, found["supported"] / draws / 10, 10 * draws)
    wrong = found["not supported"] / draws / 10
    yield Rate("C3, all at the bars: not supported", 0.1, wrong, 10 * draws)
    six = difference_misses(200, 0.05, 0.0, 0.975)
    yield Rate("C6, both styles at the bar: not supported", 0.025, 1 - (1 - six.below) ** 2)
    found = Counter(
        verdict([check for _ in range(5) for check in steering_at_the_bars(generator, runs=1)])
        for _ in range(draws)
    )
    yield Rate("C7, all at the bars: supported", 0.025, found["supported"] / draws, draws)
    wrong = found["not supported"] / draws
    yield Rate("C7, all at the bars: not supported", 1 - (1 - 0.1) ** 5, wrong, draws)


def main() -> int:
    """Measure and print all rates.

    Returns:
        0 if no rate is higher than stated, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--draws", type=int, default=2000, help="simulations for each rate")
    draws = parser.parse_args().draws
    failed = 0
    for measure in (interval_rates, bar_rates, verdict_rates):
        for rate in measure(draws):
            how = f"{rate.draws} draws" if rate.draws else "exact"
            stated = f"nominal {rate.nominal:.4f}, stated {rate.stated:.4f}"
            mark = "" if rate.holds else "  HIGHER THAN STATED"
            print(f"{rate.observed:.4f}  {rate.name} ({stated}, {how}){mark}", flush=True)
            failed += not rate.holds
    return int(failed > 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
