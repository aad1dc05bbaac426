"""Measurements of the checks of C3 and C7 where steering is exactly at every bar."""

import numpy as np
from simulate_intervals import Misses, differences, graded

import saif_helpers as saif
from saif_helpers.study.claims import Criterion
from saif_helpers.study.steering_claim import (
    PROMPTING,
    RANDOM,
    RANDOM_SAE,
    Bars,
    steering_criteria,
)


def steering_at_the_bars(
    generator: np.random.Generator, n: int = 200, runs: int = 3
) -> list[Criterion]:
    """Draw the checks of C3 for a method that is exactly at all four bars.

    It passes as often as both controls, on other contents, and prompting never fails.

    Args:
        generator: Draws the outputs.
        n: Number of contents.
        runs: Number of draws of random latents.

    Returns:
        The checks.
    """
    bars = Bars()
    mine, trained_nothing, *random = (
        graded(each < bars.strict, each < bars.loose) for each in generator.random((2 + runs, n))
    )
    grades = {"SAIF": mine, PROMPTING: graded([True] * n)}
    grades |= {RANDOM: saif.pool_grades(random), RANDOM_SAE: trained_nothing}
    lines = steering_criteria(grades, "SAIF", "strict", bars)
    return [*lines["beats the controls"], *lines["reaches the bars"]]


def lag_misses(
    n: int, prompting: float, bar: float, draws: int, *, nested: bool, seed: int = 0
) -> Misses:
    """Draw a method exactly as far behind prompting as C3 allows, and count how C3 judges it.

    The bar is a share of prompting's *measured* share, so it varies too.

    Args:
        n: Number of contents.
        prompting: True share of prompting.
        bar: True share of the method, as a share of prompting's.
        draws: Number of simulations.
        nested: The method passes only where prompting does; else the two are independent.
        seed: Seed of the draws.

    Returns:
        How often the whole interval lies above the bar, and below it.
    """
    both = bar * prompting if nested else bar * prompting**2
    alone = bar * prompting - both
    cells = [both, prompting - both, alone, 1 - prompting - alone]
    tables = np.random.default_rng(seed).multinomial(n, np.clip(cells, 0, 1), draws).tolist()
    found = differences(n)
    above = below = 0
    for both, behind, ahead, _ in tables:
        interval, margin = found[ahead, behind], (1 - bar) * (both + behind) / n
        above += interval.low > -margin
        below += interval.high < -margin
    return Misses(above / draws, below / draws)
