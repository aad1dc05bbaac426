import pytest
import tiny
from letter import CONTENTS, LETTER, grades_of
from search_orders import KnownGrades, over_orders, part

from saif_helpers.prompts import make_pairs
from saif_helpers.ranking import rank_layers
from saif_helpers.study.settings import grade_settings, settings_grid
from saif_helpers.study.steering_claim import PROMPTING, RANDOM, RANDOM_SAE, Bars

FEW = {"max_new_tokens": 4}


@pytest.fixture(scope="module")
def model():
    return tiny.wrapped("gemma2")


@pytest.fixture(scope="module")
def rankings(model):
    return rank_layers(model, make_pairs(LETTER, CONTENTS, model.tokenizer), [0, 2])


@pytest.fixture
def grid():
    return settings_grid([0, 2], [3], 0.0, ["decaying", "every_position"], [1.0, 6.0], [0.5])


def test_a_part_of_grades_is_in_the_order_asked_for():
    whole = grades_of([True, False, True], [True, True, True], contents=CONTENTS)
    some = part(whole, [2, 1])
    assert (some.strict, some.loose) == ((True, False), (True, True))
    assert [item.content for item in some.items] == [CONTENTS[2].text, CONTENTS[1].text]


def test_known_grades_are_those_that_a_search_would_make(model, rankings, grid):
    known = KnownGrades(model, LETTER, CONTENTS, rankings, **FEW)
    order = [CONTENTS[2], CONTENTS[0]]
    looked_up = known.look_up(model, LETTER, order, rankings, grid)
    assert looked_up == grade_settings(model, LETTER, order, rankings, grid, **FEW)
    assert set(known.whole) == set(grid)


def test_each_order_makes_a_choice_and_each_choice_a_verdict(model, rankings, grid):
    others = grades_of([False] * 3, contents=CONTENTS)
    grades = dict.fromkeys((PROMPTING, RANDOM, RANDOM_SAE), others)
    found = over_orders(
        model,
        LETTER,
        rankings,
        grid,
        (0.0, 1.0),
        CONTENTS,
        CONTENTS,
        grades,
        Bars(),
        5,
        rounds=(1, 3),
        by="loose",
        **FEW,
    )
    assert found["settings"] >= len(grid)
    assert (found["contents"], found["orders"]) == (len(CONTENTS), 5)
    assert sum(row["orders"] for row in found["chosen"]) == 5
    best = found["whole grid"]["validation"]
    for row in found["chosen"]:
        assert 0 <= row["validation"] <= best <= 1
        assert row["verdict"] in ("supported", "not supported", "undecided")
