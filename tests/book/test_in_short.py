import pytest

from saif_helpers.book.in_short import (
    deciding_shares,
    group_of,
    groups,
    in_short,
    sentences,
    times_ahead,
)
from saif_helpers.book.results import Row

METHODS = ("SAIF", "prompting", "random latents", "signed latents")
WON, LOST, OPEN = (0.1, 0.2, 0.3), (-0.3, -0.2, -0.1), (-0.1, 0.0, 0.1)


def check(rival, ends):
    low, value, high = ends
    interval = {"value": value, "low": low, "high": high, "n": 60}
    what = f"strict, SAIF minus {rival}"
    return {"what": what, "interval": interval, "side": "above", "threshold": 0.0}


def row(size, strict, loose, by="strict", **rivals):
    shares = {m: {"strict": [strict, 0, 1], "loose": [loose, 0, 1]} for m in METHODS}
    found = {
        "checks": [check("random latents", rivals.get("random", WON)), check("random SAE", WON)],
        "also": {"C3-opponents": [check("difference in means", rivals.get("means", WON))]},
    }
    found |= {"shares": shares | {"decided by": by}, "instruction": "french"}
    return Row(size=size, name="C3", code="x", **found)


@pytest.fixture
def rows():
    return [
        row("S", 0.2, 0.8, random=OPEN, means=LOST),
        row("M", 0.4, 0.6, by="loose"),
        Row(size="M", instruction="french", name="C1", code="x", checks=[check("x", WON)]),
    ]


def test_the_grade_that_decides_is_counted(rows):
    assert deciding_shares(rows[:2], "SAIF") == [0.2, 0.6]


def test_only_a_whole_interval_counts_as_ahead(rows):
    assert times_ahead(rows[:2], "random latents") == 1
    assert times_ahead(rows[:2], "random SAE") == 2
    assert times_ahead(rows[:2], "difference in means") == 1
    assert times_ahead(rows[:2], "first word forced") == 0


def test_what_is_said_has_the_mean_and_the_counts(rows):
    said = in_short(rows[:2], "On M")
    assert said.startswith("On M, SAIF makes 40% of the outputs pass on average, prompting 40%,")
    assert "random latents 40%; SAIF is surely ahead of random latents in 1 of 2 cases" in said
    assert in_short(rows[:1], "On S").startswith(
        "On S, SAIF makes 20% of the outputs pass strictly"
    )
    assert said.count(".") == 1
    assert said.endswith("difference in means in 1, and of a forced first word in none.")


def test_a_model_is_real_or_small_or_neither():
    assert group_of("smollm2-135m-instruct 2304") == "SmolLM2"
    assert group_of("S-1") == "small networks"
    assert group_of("smollm2-135m-instruct 1152") is None  # SAEs of another width


def test_only_results_of_steering_are_grouped_and_a_group_without_any_is_left_out(rows):
    assert groups(rows) == {"small networks": rows[:2]}
    assert list(sentences(rows)) == ["small networks"]
    assert sentences(rows)["small networks"].startswith("On small networks")
