import pytest
from refusals import refused
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import norm

from saif_helpers.comparison import check_distinct, paired_difference
from saif_helpers.graders.grader import Grader, Item
from saif_helpers.grading import Grades, grade, passed, pool_grades
from saif_helpers.instructions import InstructionType, load_instructions
from saif_helpers.intervals import wilson

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
    assert str(interval) == "50% [24, 76]"
    assert wilson(5, 10) == interval
    for count, n, argument in ((1, 0, "n"), (3, 2, "count"), (-1, 2, "count")):
        with refused(argument):
            wilson(count, n)


def disagreeing(first_alone, second_alone, n):
    """Grades of two methods, by how many of n contents one alone passes."""
    neither = n - first_alone - second_alone
    return (
        graded([1] * first_alone + [0] * second_alone + [0] * neither),
        graded([0] * first_alone + [1] * second_alone + [0] * neither),
    )


def test_contents_that_come_twice_are_not_counted_as_independent():
    first, second = disagreeing(3, 0, 10)
    assert paired_difference(first, second, "strict").low < 0
    doubled = [pool_grades([grades, grades]) for grades in (first, second)]
    assert doubled[0].proportion("strict").n == 10
    with refused("contents"):
        paired_difference(*doubled, "strict")
    check_distinct([])  # which others refuse, in their own words


def test_paired_difference_equals_a_published_example():
    """Airway responsiveness in Fagerland, Lydersen and Laake (2014)."""
    first, second = disagreeing(1, 7, 21)
    interval = paired_difference(first, second, "strict")
    assert interval.value == pytest.approx(-6 / 21)
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    turned = paired_difference(second, first, "strict")
    assert (turned.value, turned.low) == pytest.approx((6 / 21, -interval.high))
    assert paired_difference(first, first, "loose").value == 0


@pytest.mark.parametrize("counts", [(5, 1, 10), (0, 20, 200), (3, 0, 60), (70, 30, 100)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_ends_of_a_difference_are_where_the_score_test_just_does_not_reject(counts, confidence):
    """The score at each end, with the likeliest shares there found by a search."""
    first_alone, second_alone, n = counts
    interval = paired_difference(*disagreeing(*counts), "strict", confidence)
    for end, sign in ((interval.low, 1), (interval.high, -1)):

        def unlikely(alone, end=end):  # how often the second alone passes, if `end` is the truth
            shares = (alone + end, alone, 1 - 2 * alone - end)
            found = (first_alone, second_alone, n - first_alone - second_alone)
            return -sum(xlogy(count, share) for count, share in zip(found, shares, strict=True))

        bounds = (max(0, -end), (1 - end) / 2)
        alone = minimize_scalar(unlikely, bounds=bounds, options={"xatol": 1e-10}).x
        variance = n * (2 * alone + end - end**2)
        score = (first_alone - second_alone - n * end) / variance**0.5
        assert score == pytest.approx(sign * norm.ppf((1 + confidence) / 2), abs=1e-4)


def test_the_far_end_of_a_difference_is_that_of_a_share_where_only_one_method_fails():
    share = wilson(20, 200)
    assert paired_difference(*disagreeing(0, 20, 200), "strict").low == pytest.approx(-share.high)
    alike = paired_difference(*disagreeing(0, 0, 100), "strict")
    assert (alike.low, alike.high) == pytest.approx((-wilson(0, 100).high, wilson(0, 100).high))
    assert paired_difference(*disagreeing(9, 0, 9), "strict").high == 1


def test_wrong_arguments_are_refused():
    with refused("items"):
        grade(["a", "b", "c"], ITEMS, SHOUT)
    with refused("outputs"):
        grade([], [], SHOUT)
    with refused("second"):
        paired_difference(graded([1]), graded([1, 0]), "strict")


def test_a_pooled_share_counts_each_content_once():
    """Two runs on ten contents are ten trials: with 7 and 4 passes, 5.5 of ten."""
    first, second = graded([1] * 7 + [0] * 3), graded([1] * 4 + [0] * 6)
    interval = pool_grades([first, second]).proportion("strict")
    # centre (.55 + z^2/20) / (1 + z^2/10) = .5361, half width .2625 at z = 1.96
    assert (interval.value, interval.n) == (0.55, 10)
    assert (interval.low, interval.high) == pytest.approx((0.2737, 0.7986), abs=1e-4)
    assert pool_grades([first, first]).proportion("strict") == first.proportion("strict")


def test_pooled_grades_hold_all_outputs_of_one_instruction():
    item = Item("A cat.", "x")
    first = Grades("french", (item,), ("x",), (True,), (True,))
    second = Grades("french", (item, item), ("y", "x"), (False, True), (False, True))
    pooled = pool_grades([first, second])
    assert pooled.strict == (True, False, True)
    assert pooled.outputs == ("x", "y", "x")
    assert pooled.proportion("strict").n == 1  # one content, so one trial
    other = Grades("german", (item,), ("x",), (True,), (True,))
    with refused("several"):
        pool_grades([first, other])
    with refused("several"):
        pool_grades([])


LOUD = "no no no no no no no no!"


def test_a_broken_output_passes_nothing_and_is_counted():
    items = [*ITEMS[:2], Item("c", reference=LOUD)]
    grades = grade(["a!", LOUD, LOUD], items, SHOUT)
    assert grades.broken == (False, True, False)  # what equals its reference is not broken
    assert grades.loose == (True, False, True)
    assert grades.strict == (True, False, False)
    assert grades.proportion("broken") == wilson(1, 3)
    assert grades.to_frame()["broken"].tolist() == [False, True, False]


def test_grades_of_ones_own_have_no_broken_outputs_unless_they_say_so():
    assert graded([1, 0]).broken == (False, False)
    assert graded([1, 0]).proportion("broken").value == 0
    item = Item("A cat.")
    mixed = Grades("french", (item,), ("x",), (False,), (False,), (True,))
    whole = Grades("french", (item,), ("y",), (True,), (True,))
    assert pool_grades([mixed, whole]).broken == (True, False)
    assert paired_difference(mixed, whole, "broken").value == 1
    with refused("kind"):
        passed.__wrapped__(whole, "bad")


def test_an_organism_steered_too_hard_passes_no_grade_of_its_own():
    """What the last layer wrote before broken texts were told, as its language identifier heard."""
    french = load_instructions()["french"]
    items = [Item("The cat sleeps.", reference="Le chat dort.")] * 2
    grades = grade(["Deuxeuxeuxeuxeuxeuxeuxeux", "Le chat dort."], items, french)
    assert french.grader.loose("Deuxeuxeuxeuxeuxeuxeuxeux", items[0])
    assert (grades.strict, grades.loose) == ((False, True), (False, True))
    assert grades.broken == (True, False)


@pytest.mark.parametrize("name", ["french", "answer_french"])
@pytest.mark.parametrize("thought", ["", "<think>\n\n</think>\n\n", "<think>French.</think>\n"])
def test_a_thought_before_the_answer_is_not_graded(name, thought):
    french = load_instructions("natural")[name]
    item = Item("The cat sleeps in the garden.")
    output = thought + "Le chat dort dans le jardin."
    assert french.grader.strict(output, item)
    assert french.grader.loose(output, item)
    found = grade([output], [item], french)
    assert (found.strict, found.loose, found.outputs) == ((True,), (True,), (output,))
    cut_off = grade(["<think>Le chat dort dans le jardin."], [item], french)
    assert (cut_off.strict, cut_off.loose) == ((False,), (False,))
