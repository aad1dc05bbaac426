"""The difference of two shares whose outputs are not paired; `test_grading` has the paired one."""

import dataclasses
import functools

import numpy as np
import pytest
from letter import grades_of
from refusals import refused
from scipy.stats import norm

from saif_helpers.comparison import paired_difference
from saif_helpers.contents import Content
from saif_helpers.grading import pool_grades
from saif_helpers.study.pooled_difference import pooled_difference

N = 60  # contents
MANY = [Content(f"Sentence {i}.") for i in range(80)]


def passing(count, n=N):
    """Return grades of n outputs, of which the first ones pass."""
    return grades_of([i < count for i in range(n)], contents=MANY)


@functools.cache
def of_counts(first, second):
    return pooled_difference(passing(first), passing(second), "strict")


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_it_equals_newcombes_published_examples(first, second, low, high):
    """Table II, method 10, of the paper."""
    found = pooled_difference(passing(*first), passing(*second), "loose")
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert found.n == first[1]


def test_its_value_is_the_difference_of_the_shares_and_it_can_be_turned():
    for first, second in ((60, 0), (30, 30), (40, 3), (0, 0), (13, 29)):
        found, turned = of_counts(first, second), of_counts(second, first)
        assert found.value == pytest.approx((first - second) / N)
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_either_grade_can_be_compared():
    first = grades_of([True] * 10 + [False] * 50, [True] * 40 + [False] * 20)
    second = grades_of([True] * 20 + [False] * 40, [True] * 30 + [False] * 30)
    assert pooled_difference(first, second, "strict").value == pytest.approx(-1 / 6)
    assert pooled_difference(first, second, "loose").value == pytest.approx(1 / 6)


def test_draws_of_equal_outputs_make_it_no_surer_and_different_ones_are_averaged():
    mine, once, other = passing(40), passing(20), passing(10)
    assert pooled_difference(mine, pool_grades([once] * 10), "strict") == of_counts(40, 20)
    found = pooled_difference(mine, pool_grades([once, other]), "strict")
    assert (found.value, found.low, found.high) == pytest.approx(
        (lambda i: (i.value, i.low, i.high))(of_counts(40, 15))
    )


def draws(share, other, correlation, times=4000):
    """Draw counts of two methods on the same contents, whose passes are correlated."""
    generator = np.random.default_rng(0)
    common = generator.standard_normal((times, N))
    noise = generator.standard_normal((2, times, N))
    mixed = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * noise
    first, second = mixed < norm.ppf([share, other])[:, None, None]
    return list(zip(first.sum(1).tolist(), second.sum(1).tolist(), strict=True))


@pytest.mark.parametrize("shares", [(0.45, 0.05), (0.3, 0.3), (0.1, 0.02), (0.9, 0.6)], ids=str)
def test_it_covers_the_truth_of_independent_outputs_and_more_often_of_like_ones(shares):
    """A correlation of the outputs for a content makes it conservative."""
    covered = {}
    for correlation in (0.0, 0.6):
        found = [of_counts(*pair) for pair in draws(*shares, correlation)]
        truth = shares[0] - shares[1]
        covered[correlation] = np.mean([one.low <= truth <= one.high for one in found])
    assert covered[0.0] >= 0.94
    assert covered[0.6] >= max(0.95, covered[0.0] - 0.005)
    assert covered[0.0] < 0.99  # so it is not just wide


def test_it_covers_the_truth_of_pooled_draws():
    """Five draws for each content, some of whose contents are easy; that is conservative."""
    generator, covered = np.random.default_rng(1), 0
    for _ in range(200):
        easy = generator.random(N) < 0.3
        mine = generator.random(N) < 0.4
        theirs = generator.random((5, N)) < np.where(easy, 0.5, 0.0)
        pooled = pool_grades([grades_of(row, contents=MANY) for row in theirs])
        found = pooled_difference(grades_of(mine, contents=MANY), pooled, "strict")
        covered += found.low <= 0.4 - 0.15 <= found.high
    assert covered >= 0.93 * 200


def test_for_a_single_output_per_content_the_paired_one_is_narrower():
    first, second = passing(40), passing(30)
    unpaired, paired = (
        difference(first, second, "strict") for difference in (pooled_difference, paired_difference)
    )
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_only_grades_of_one_instruction_are_compared():
    other = dataclasses.replace(passing(3), instruction="another")
    with refused("second"):
        pooled_difference(passing(3), other, "strict")
    with refused("kind"):
        pooled_difference(passing(3), passing(3), "best")
