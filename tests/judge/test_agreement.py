from itertools import product

import numpy as np
import pytest
from refusals import refused
from statsmodels.stats.inter_rater import cohens_kappa

from saif_helpers.graders.grader import Item
from saif_helpers.grading import Grades
from saif_helpers.judge.agreement import agreement


def raters(table: list[list[int]]) -> tuple[Grades, Grades]:
    """Return grades by two whose strict grades have this table, and who pass all loosely."""
    pairs = [(a, b) for a, b in product((False, True), repeat=2) for _ in range(table[a][b])]
    shared = ("french", (Item("A."),) * len(pairs), ("out",) * len(pairs))
    return tuple(
        Grades(*shared, strict, (True,) * len(pairs)) for strict in zip(*pairs, strict=True)
    )


def test_kappa_of_the_hand_worked_example():
    # 35 of 50 agree; by chance .5 * .6 + .5 * .4 = .5, so kappa = (.7 - .5) / .5 = .4.
    # Variance, with 1 - kappa = .6: the diagonal gives .4 (1 - 1.1 * .6)^2 + .3 (1 - .9 * .6)^2
    # = .10972, the rest .36 (.1 * 1.1^2 + .2 * .9^2) = .10188, less (.4 - .5 * .6)^2 = .01:
    # .2016 / (50 * .25) = .016128, half width 1.96 * .12700.
    found = agreement(*raters([[20, 5], [10, 15]]), "strict")
    assert found.table.to_numpy().tolist() == [[20, 5], [10, 15]]
    assert found.table.loc["passes", "fails"] == 10  # the first passes, the second fails
    assert found.raw.value == 0.7
    assert found.kappa.value == pytest.approx(0.4)
    half = 1.959964 * 0.016128**0.5
    assert (found.kappa.low, found.kappa.high) == pytest.approx((0.4 - half, 0.4 + half))
    assert str(found).startswith("agree 70% [56, 81], kappa 0.40 [0.15, 0.65], n = 50")


TABLES = [[[a, b], [c, d]] for a, b, c, d in product((0, 1, 4), repeat=4) if a + b + c + d]


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning:statsmodels")
def test_kappa_is_statsmodels_wherever_it_has_an_interval():
    notes = {"": 0, "undefined": 0, "no interval": 0}
    for table in TABLES:
        found, expected = agreement(*raters(table), "strict"), cohens_kappa(np.array(table))
        margins = np.array(table).sum(0).tolist() + np.array(table).sum(1).tolist()
        (note,) = [note for note in notes if note and note in found.note] or [""]
        notes[note] += 1
        if note == "undefined":
            assert margins.count(0) == 2
            assert np.isnan([found.kappa.value, found.kappa.low, found.kappa.high]).all()
            continue
        assert found.kappa.value == pytest.approx(expected.kappa)
        if note:
            diagonal = table[0][0] + table[1][1]
            assert 0 in margins or diagonal in (0, sum(margins) / 2)
            assert np.isnan([found.kappa.low, found.kappa.high]).all()
        else:
            ends = max(-1, expected.kappa_low), min(1, expected.kappa_upp)
            assert (found.kappa.low, found.kappa.high) == pytest.approx(ends)
    assert min(notes.values()) >= 4


def test_undefined_kappa_says_so():
    found = agreement(*raters([[20, 5], [10, 15]]), "loose")
    assert found.raw.value == 1
    assert "kappa is undefined: both say of every output that it passes" in str(found)


def test_agreement_is_of_the_same_outputs():
    first, second = raters([[2, 1], [1, 2]])
    for field, one in (("items", Item("B.")), ("outputs", "another")):
        other = Grades(**vars(second) | {field: (one, *getattr(second, field)[1:])})
        with refused("b"):
            agreement(first, other, "strict")
