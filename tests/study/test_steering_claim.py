import pytest
from letter import MANY, grades_of
from refusals import refused

from saif_helpers.comparison import paired_difference
from saif_helpers.grading import pool_grades
from saif_helpers.study.claims import verdict
from saif_helpers.study.steering_claim import (
    FIRST_WORD,
    MEANS,
    PROMPTING,
    RANDOM,
    RANDOM_SAE,
    Bars,
    deciding_grade,
    steering_criteria,
)

CHANCE, BARS, OPPONENTS = "beats the controls", "reaches the bars", "beats the simple opponents"


def passing(strict, loose=None):
    """Return grades of 60 outputs, of which the first ones pass."""
    loose = strict if loose is None else loose
    return grades_of([i < strict for i in range(60)], [i < loose for i in range(60)])


NAMES = {"mine": "paper", "prompted": PROMPTING, "random": RANDOM, "sae": RANDOM_SAE}
NAMES |= {"means": MEANS, "word": FIRST_WORD}
GOOD = {"mine": (50, 55), "prompted": (58,), "random": (1,), "sae": (2,), "means": (20,)}
GOOD |= {"word": (10,)}


def lines(method="paper", kind="strict", bars=None, **changes):
    """Return the criteria of made-up grades: good ones with changes, or without what is None."""
    chosen = {name: value for name, value in (GOOD | changes).items() if value is not None}
    grades = {NAMES[name]: passing(*value) for name, value in chosen.items()}
    return steering_criteria(grades, method, kind, bars or Bars())


@pytest.mark.parametrize(
    ("prompted", "kind"),
    [((18, 60), "strict"), ((17, 60), "loose"), ((60, 60), "strict"), ((0, 60), "loose")],
)
def test_the_strict_share_decides_where_prompting_reaches_the_bar(prompted, kind):
    assert deciding_grade(passing(*prompted), Bars()) == kind


def test_the_bar_of_the_deciding_grade_is_the_strict_one():
    assert deciding_grade(passing(30, 60), Bars(strict=0.5)) == "strict"
    assert deciding_grade(passing(29, 60), Bars(strict=0.5, loose=0.1)) == "loose"


@pytest.mark.parametrize("bar", ["strict", "loose"])
def test_a_bar_is_a_share(bar):
    with refused(f"{bar}_bar"):
        Bars(**{bar: 1.5})


def test_every_line_has_its_criteria():
    found = lines()
    assert {line: [criterion.what for criterion in each] for line, each in found.items()} == {
        CHANCE: ["strict, paper minus random latents", "strict, paper minus random SAE"],
        BARS: ["strict, paper", "loose, paper minus prompting"],
        OPPONENTS: [
            "strict, paper minus difference in means",
            "strict, paper minus first word forced",
        ],
    }
    assert {line: verdict(each) for line, each in found.items()} == dict.fromkeys(
        (CHANCE, BARS, OPPONENTS), "supported"
    )
    thresholds = [criterion.threshold for each in found.values() for criterion in each]
    assert thresholds == [0, 0, 0.3, pytest.approx(-0.15 * 58 / 60), 0, 0]
    assert {criterion.side for each in found.values() for criterion in each} == {"above"}


@pytest.mark.parametrize(
    ("line", "changes", "expected"),
    [
        (CHANCE, {"random": (60,)}, "not supported"),
        (CHANCE, {"sae": (60,)}, "not supported"),
        (CHANCE, {"random": (48,)}, "undecided"),
        (CHANCE, {"sae": (50,)}, "undecided"),
        (CHANCE, {"mine": (0, 55), "random": (0,), "sae": (0,)}, "undecided"),
        (CHANCE, {"means": (60,), "word": (60,)}, "supported"),
        (BARS, {"mine": (18, 55)}, "undecided"),
        (BARS, {"mine": (5, 55)}, "not supported"),
        (BARS, {"mine": (45, 49)}, "undecided"),
        (BARS, {"mine": (30, 30)}, "not supported"),
        (BARS, {"mine": (30, 30), "prompted": (30,)}, "supported"),
        (BARS, {"random": (60,), "means": (60,)}, "supported"),
        (OPPONENTS, {"means": (59,)}, "not supported"),
        (OPPONENTS, {"word": (60,)}, "not supported"),
        (OPPONENTS, {"means": (50,)}, "undecided"),
        (OPPONENTS, {"word": (48,)}, "undecided"),
        (OPPONENTS, {"means": None}, "supported"),
        (OPPONENTS, {"random": (60,), "mine": (25, 25)}, "supported"),
    ],
)
def test_each_line_holds_fails_or_is_undecided_on_its_own(line, changes, expected):
    if changes.get("mine") == (25, 25):
        changes = changes | {"means": (5,), "word": (5,)}
    assert verdict(lines(**changes)[line]) == expected


def test_the_grade_that_decides_compares_with_chance_and_opponents():
    """The bars stay strict and loose."""
    same = {"random": (2, 58), "sae": (2, 58), "means": (2, 58), "word": (2, 58)}
    strictly, loosely = (lines(kind=kind, **same) for kind in ("strict", "loose"))
    for line in (CHANCE, OPPONENTS):
        assert verdict(strictly[line]) == "supported"
        assert verdict(loosely[line]) != "supported"
        assert all(criterion.what.startswith("loose, ") for criterion in loosely[line])
    assert strictly[BARS] == loosely[BARS]


def test_a_method_is_not_its_own_opponent():
    found = lines(MEANS, means=(50, 55))
    assert [criterion.what for criterion in found[OPPONENTS]] == [
        "strict, difference in means minus first word forced"
    ]
    assert verdict(found[OPPONENTS]) == "supported"
    assert found[BARS][0].what == "strict, difference in means"


def test_bars_of_ones_own_are_asked_for():
    assert verdict(lines(mine=(45, 55), bars=Bars(strict=0.9))[BARS]) == "not supported"
    assert verdict(lines(mine=(50, 50), bars=Bars(loose=0.5))[BARS]) == "supported"
    assert verdict(lines(mine=(50, 50), bars=Bars(loose=1.0))[BARS]) == "not supported"


def test_several_outputs_for_a_content_count_as_one():
    """Ten draws of the same outputs make nothing surer than two."""
    once = passing(48)
    grades = {NAMES[name]: passing(*value) for name, value in GOOD.items()}
    two, ten = (
        steering_criteria(grades | {RANDOM: pool_grades([once] * n)}, "paper", "strict", Bars())
        for n in (2, 10)
    )
    assert two[CHANCE][0].interval == ten[CHANCE][0].interval
    assert ten[CHANCE][0].interval.n == len(MANY)


def test_a_control_of_one_draw_is_compared_sentence_by_sentence():
    """Nine outputs more, on the same sentences, are surely more; on others they would not be."""
    once, mine = passing(32), passing(41)
    grades = {NAMES[name]: passing(*value) for name, value in GOOD.items()} | {"paper": mine}
    twice = {RANDOM: pool_grades([once, once]), RANDOM_SAE: once}
    pooled, paired = steering_criteria(grades | twice, "paper", "strict", Bars())[CHANCE]
    assert paired.interval == paired_difference(mine, once, "strict")
    assert paired.interval.value == pytest.approx(pooled.interval.value)
    assert paired.interval.low > 0 > pooled.interval.low
