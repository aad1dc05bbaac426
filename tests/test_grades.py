import pytest

from saif_helpers.graders import Grader, Item
from saif_helpers.grades import Grades, grade, paired_difference, pool, wilson
from saif_helpers.instructions import InstructionType

SHOUT = InstructionType(
    name="shout",
    wordings={"en": ["End with an exclamation mark.", "Close with an exclamation mark."]},
    grader=Grader(
        strict=lambda output, item: output == item.content + "!",
        loose=lambda output, item: output.endswith("!"),
    ),
)
ITEMS = [Item("a"), Item("b", reference="b!"), Item("c"), Item("d")]


def graded(strict):
    items = tuple(Item(str(index)) for index in range(len(strict)))
    return Grades(
        "shout", items, ("",) * len(strict), tuple(map(bool, strict)), (True,) * len(strict)
    )


def test_grade_asks_both_checks_of_every_output():
    grades = grade(["a!", "x!", "c", "d!"], ITEMS, SHOUT)
    assert grades.strict == (True, False, False, True)
    assert grades.loose == (True, True, False, True)
    assert grades.proportion("strict").value == 0.5
    assert grades.proportion("loose").value == 0.75
    frame = grades.to_frame()
    assert frame["strict"].tolist() == [True, False, False, True]
    assert frame.loc[1, ["content", "reference", "output"]].tolist() == ["b", "b!", "x!"]


def test_the_interval_is_wilsons():
    # 5 of 10: centre (p + z^2/2n) / (1 + z^2/n) = .5, half width .2634 at z = 1.96
    interval = graded([1] * 5 + [0] * 5).proportion("strict")
    assert (interval.low, interval.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    none = graded([0] * 20).proportion("strict")
    # 0 of 20: from 0 to z^2 / (n + z^2)
    assert (none.low, none.high) == pytest.approx((0, 3.8415 / 23.8415), abs=1e-4)
    assert none.n == 20
    assert str(interval) == "0.50 [0.24, 0.76]"
    assert wilson(5, 10) == interval
    for count, n in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"{count} of {n} given"):
            wilson(count, n)


def test_paired_difference_equals_the_hand_worked_example():
    # 10 pairs: 5 only the first passes, 1 only the second. p = 6/12, q = 2/12,
    # half width = 1.96 * sqrt((8/12 - (4/12)^2) / 12) = 0.4217
    first, second = graded([1] * 5 + [0] + [1] * 4), graded([0] * 5 + [1] + [1] * 4)
    interval = paired_difference(first, second, "strict")
    assert interval.value == pytest.approx(0.4)
    assert (interval.low, interval.high) == pytest.approx(
        (4 / 12 - 0.4217, 4 / 12 + 0.4217), abs=1e-4
    )
    turned = paired_difference(second, first, "strict")
    assert (turned.value, turned.low) == pytest.approx((-0.4, -interval.high))
    assert paired_difference(first, first, "loose").value == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="3 outputs and 4 items"):
        grade(["a", "b", "c"], ITEMS, SHOUT)
    with pytest.raises(ValueError, match="0 outputs and 0 items"):
        grade([], [], SHOUT)
    with pytest.raises(ValueError, match="different contents"):
        paired_difference(graded([1]), graded([1, 0]), "strict")


def test_a_pooled_share_counts_each_content_once():
    """Two runs on ten contents are ten trials: with 7 and 4 passes, 5.5 of ten."""
    first, second = graded([1] * 7 + [0] * 3), graded([1] * 4 + [0] * 6)
    interval = pool([first, second]).proportion("strict")
    # centre (.55 + z^2/20) / (1 + z^2/10) = .5361, half width .2625 at z = 1.96
    assert (interval.value, interval.n) == (0.55, 10)
    assert (interval.low, interval.high) == pytest.approx((0.2737, 0.7986), abs=1e-4)
    assert pool([first, first]).proportion("strict") == first.proportion("strict")


def test_pooled_grades_hold_all_outputs_of_one_instruction():
    item = Item("A cat.", "x")
    first = Grades("french", (item,), ("x",), (True,), (True,))
    second = Grades("french", (item, item), ("y", "x"), (False, True), (False, True))
    pooled = pool([first, second])
    assert pooled.strict == (True, False, True)
    assert pooled.outputs == ("x", "y", "x")
    assert pooled.proportion("strict").n == 1  # one content, so one trial
    other = Grades("german", (item,), ("x",), (True,), (True,))
    with pytest.raises(ValueError, match=r"\['french', 'german'\]"):
        pool([first, other])
    with pytest.raises(ValueError, match="nothing"):
        pool([])
