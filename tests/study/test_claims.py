import json
import math

import pytest
from refusals import refused

from saif_helpers.book.record import checks_table, record_verdict
from saif_helpers.intervals import Interval
from saif_helpers.study.claims import Criterion, bounded_share, verdict


def check(low, high, side="above", threshold=0.3):
    return Criterion("share", Interval((low + high) / 2, low, high, 100), side, threshold)


@pytest.mark.parametrize(
    ("interval", "side", "holds"),
    [
        ((0.31, 0.5), "above", True),
        ((0.1, 0.29), "above", False),
        ((0.2, 0.4), "above", None),
        ((0.3, 0.4), "above", None),
        ((0.1, 0.29), "below", True),
        ((0.31, 0.5), "below", False),
        ((0.2, 0.3), "below", None),
        ((math.nan, math.nan), "above", None),
        ((math.nan, math.nan), "below", None),
    ],
)
def test_a_check_needs_its_whole_interval_on_one_side(interval, side, holds):
    assert check(*interval, side=side).holds is holds


def test_a_claim_needs_every_check():
    yes, no, unknown = check(0.4, 0.5), check(0.1, 0.2), check(0.2, 0.4)
    assert verdict([yes, yes]) == "supported"
    assert verdict([yes, unknown]) == "undecided"
    assert verdict([yes, unknown, no]) == "not supported"


def test_a_claim_without_checks_has_no_verdict():
    with refused("checks"):
        verdict([])


def test_the_table_says_what_was_asked_and_what_came_out():
    table = checks_table([check(0.4, 0.5), check(0.2, 0.4, side="below")])
    assert table["outcome"].tolist() == ["holds", "undecided"]
    assert table["required"].tolist() == ["above 30%", "below 30%"]
    assert table["measured"][0] == "45% [40, 50]"


def test_a_number_between_two_bounds_as_a_share():
    assert bounded_share(3, 6, 12) == Interval(0.25, 0.25, 0.5, 12)
    assert Criterion("share", bounded_share(3, 6, 12), "above", 0.3).holds is None


@pytest.mark.parametrize("counts", [(4, 3, 5), (-1, 3, 5), (1, 6, 5), (0, 0, 0)])
def test_impossible_bounds_are_refused(counts):
    with refused("possibly"):
        bounded_share(*counts)


def test_a_recorded_verdict_can_be_read_by_the_scorecard(monkeypatch):
    from IPython import display as ipython
    from myst_nb.ext.glue import extract_glue_data_cell
    from nbformat.v4 import new_code_cell, new_output

    outputs = []
    monkeypatch.setattr(
        ipython,
        "display",
        lambda data, raw, metadata: outputs.append(
            new_output("display_data", data=data, metadata=metadata)
        ),
    )
    checks = [check(0.4, 0.5), check(0.1, 0.2)]
    table = record_verdict("C3", checks)
    assert table["outcome"].tolist() == ["holds", "fails"]
    assert all(name.startswith("application/") for output in outputs for name in output["data"])
    kept = dict(extract_glue_data_cell(new_code_cell(outputs=outputs)))
    assert kept["C3-verdict"]["data"]["text/plain"] == "'not supported'"
    assert "45% [40, 50]" in kept["C3-checks"]["data"]["text/html"]
    left = json.loads(kept["C3-data"]["data"]["text/plain"])
    again = [Criterion(**row | {"interval": Interval(**row["interval"])}) for row in left]
    assert again == checks
