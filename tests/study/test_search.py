import pandas as pd
import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.activations import capture, capture_pairs
from saif_helpers.contents import Content
from saif_helpers.graders.broken import is_broken
from saif_helpers.graders.grader import Grader
from saif_helpers.graders.run_check import GraderError
from saif_helpers.grading import grade
from saif_helpers.instructions import InstructionType
from saif_helpers.latents import encode
from saif_helpers.prompts import make_pairs, render
from saif_helpers.ranking import rank_latents, rank_layers
from saif_helpers.steering import generate
from saif_helpers.study.search import best_setting, search, shortlist, sweep
from saif_helpers.study.settings import (
    SETTING_COLUMNS,
    SteeringSetting,
    grade_settings,
    settings_grid,
    steer_and_grade,
)
from saif_helpers.vector_rules import mean_difference_vector, saif_vector

CONTENTS = [Content(text, split="validation") for text in ("A cat sleeps.", "Two dogs ran.", "Hm.")]
LETTER = InstructionType(
    name="letter",
    wordings={"en": ["Write an e.", "Use the letter e."]},
    grader=Grader(
        strict=lambda output, item: output.startswith("e"),
        loose=lambda output, item: "e" in output,
    ),
)


def failing(output, item):
    raise AssertionError("the instruction's own rules were asked")


@pytest.fixture(scope="module")
def model():
    return tiny.wrapped("gemma2")


@pytest.fixture(scope="module")
def pairs(model):
    return make_pairs(LETTER, CONTENTS, model.tokenizer)


def test_the_grid_holds_every_combination_once():
    grid = settings_grid([0, 1], [5], [0.0, 2.0], ["decaying", "every_position"])
    assert len(grid) == len(set(grid)) == 8
    assert grid[0] == SteeringSetting(0, 5, 0.0, "decaying")


def test_only_a_fading_placement_is_repeated_for_each_decay():
    grid = settings_grid([0], [5], [0.0], ["decaying", "every_position"], [1.0], [0.5, 0.9])
    assert grid == [
        SteeringSetting(0, 5, 0.0, "decaying", decay=0.5),
        SteeringSetting(0, 5, 0.0, "decaying", decay=0.9),
        SteeringSetting(0, 5, 0.0, "every_position"),
    ]


def test_pairs_are_captured_as_positive_and_negative(model, pairs):
    positive, negative = capture_pairs(model, pairs, [0, 2])
    for layer in (0, 2):
        expected = capture(model, [pair.positive for pair in pairs], [layer])[layer]
        torch.testing.assert_close(positive[layer], expected)
        expected = capture(model, [pair.negative for pair in pairs], [layer])[layer]
        torch.testing.assert_close(negative[layer], expected)


def test_layers_are_ranked_as_one_by_one(model, pairs):
    positive, negative = capture_pairs(model, pairs, [1])
    sae = model.saes[1]
    expected = rank_latents(encode(sae, positive[1]), encode(sae, negative[1]))
    assert torch.equal(rank_layers(model, pairs, [0, 1])[1].order, expected.order)


def test_a_sweep_gives_what_its_settings_give_one_by_one(model, pairs):
    rankings = rank_layers(model, pairs, [0, 2])
    placements = ["decaying", "last_prompt_token"]
    grid = settings_grid([0, 2], [3], [0.0, 8.0], placements, [1.0, 5.0], [0.2, 0.9])
    table = sweep(model, LETTER, CONTENTS, rankings, grid, max_new_tokens=6)
    columns = ["layer", "k", "beta", "placement", "strength", "decay"]
    assert [SteeringSetting(*row) for row in table[columns].values] == grid
    prompts = [render(content.text, model.tokenizer) for content in CONTENTS]
    for setting, (_, row) in zip(grid, table.iterrows(), strict=True):
        at = setting.layer
        vector = saif_vector(rankings[at], model.saes[at], setting.k, setting.beta)
        vector = vector.scaled(setting.strength).at(setting.placement, setting.decay)
        outputs = generate(model, prompts, vector, max_new_tokens=6)
        sound = [text for text in outputs if not is_broken(text)]
        assert row["strict"] == sum(text.startswith("e") for text in sound) / len(outputs)
        assert row["loose"] == sum("e" in text for text in sound) / len(outputs)
        assert row["broken"] == (len(outputs) - len(sound)) / len(outputs)
        assert row["norm"] == pytest.approx(vector.norm)


def test_settings_are_graded_in_the_given_order_whatever_they_share(model, pairs):
    rankings = rank_layers(model, pairs, [0, 1])
    settings = [
        SteeringSetting(1, 3, 4.0, "decaying", 8.0, 0.2),
        SteeringSetting(0, 3, 4.0, "every_position", 8.0),
        SteeringSetting(1, 3, 4.0, "decaying", 8.0, 0.9),
        SteeringSetting(0, 3, 4.0, "decaying", 8.0, 0.2),
    ]
    graded = grade_settings(model, LETTER, CONTENTS, rankings, settings, max_new_tokens=6)
    assert len({tuple(grades.outputs) for grades in graded}) > 1
    for setting, grades in zip(settings, graded, strict=True):
        (alone,) = grade_settings(model, LETTER, CONTENTS, rankings, [setting], max_new_tokens=6)
        assert grades.outputs == alone.outputs


def test_a_ready_vector_gets_the_strength_and_no_latents(model, pairs):
    positive, negative = capture_pairs(model, pairs, [1])
    mean = mean_difference_vector(positive, negative, 1)
    made = SteeringSetting(1, 99, 3.0, "decaying", 2.5).vector(model, mean)
    torch.testing.assert_close(made.vector, 2.5 * mean.vector)
    assert made.layer == 1


def test_a_search_measures_the_best_on_more_contents(model, pairs):
    rankings = rank_layers(model, pairs, [0, 2])
    grid = settings_grid([0, 2], [3], [0.0, 4.0], ["decaying", "every_position"], [1.0, 6.0], [0.5])
    options = {"rounds": (1, 2, 3), "keep": (1, 2), "max_new_tokens": 4}
    table = search(model, LETTER, CONTENTS, rankings, grid, **options)
    assert sorted(shortlist(table, 99), key=str) == sorted(grid, key=str)
    assert table["contents"].value_counts().to_dict() == {1: 12, 2: 2, 3: 2}
    for n, rows in table.groupby("contents"):
        tried = shortlist(rows, 99)
        again = sweep(model, LETTER, CONTENTS[:n], rankings, tried, max_new_tokens=4)
        kept = rows.sort_values(SETTING_COLUMNS, ignore_index=True)
        assert kept.equals(again.sort_values(SETTING_COLUMNS, ignore_index=True))
    assert best_setting(table) == best_setting(table[table["contents"] == 3])


def test_a_search_wants_enough_contents(model, pairs):
    rankings = rank_layers(model, pairs, [0])
    grid = settings_grid([0], [1], [0.0], ["decaying"])
    with refused("contents"):
        search(model, LETTER, CONTENTS, rankings, grid)


@pytest.mark.parametrize(
    "options",
    [{"rounds": (1, 1, 3)}, {"rounds": (1, 3, 2)}, {"rounds": (0, 1, 2)}, {"keep": (0, 1)}],
)
def test_a_search_wants_rounds_that_grow_and_something_to_keep(model, options):
    options = {"rounds": (1, 2, 3)} | options
    with refused("rounds"):
        search(model, LETTER, CONTENTS, {}, [], **options)


def test_a_layer_that_was_not_ranked_is_named(model, pairs):
    rankings = rank_layers(model, pairs, [0, 2])
    with refused("sources"):
        sweep(model, LETTER, CONTENTS, rankings, settings_grid([0, 1], [1], [0.0], ["decaying"]))


@pytest.mark.filterwarnings("ignore:k = :UserWarning")  # latents that no pair switches on
def test_grades_come_back_vector_by_vector(model, pairs):
    ranking = rank_layers(model, pairs, [1])[1]
    vectors = [saif_vector(ranking, model.saes[1], k, 4.0) for k in (1, 20)]
    vectors = [vector.at("every_position") for vector in vectors]
    both = steer_and_grade(model, LETTER, CONTENTS, vectors, max_new_tokens=6)
    for vector, grades in zip(vectors, both, strict=True):
        alone = steer_and_grade(model, LETTER, CONTENTS, [vector], max_new_tokens=6)
        assert grades.outputs == alone[0].outputs
    assert both[0].outputs != both[1].outputs


def test_another_grader_takes_the_place_of_the_rules(model, pairs):
    rankings = rank_layers(model, pairs, [0])
    grid = settings_grid(0, 3, [0.0, 4.0], "decaying", [1.0, 6.0], 0.5)
    fails = InstructionType("letter", LETTER.wordings, Grader(failing, failing))
    grader = {"grader": lambda outputs, items, _: grade(outputs, items, LETTER)}
    run = {"max_new_tokens": 4}
    vectors = [setting.vector(model, rankings[0]) for setting in grid]
    for call, about in (
        (steer_and_grade, (CONTENTS, vectors)),
        (grade_settings, (CONTENTS, rankings, grid)),
    ):
        assert call(model, fails, *about, **grader, **run) == call(model, LETTER, *about, **run)
        with pytest.raises(GraderError):
            call(model, fails, *about, **run)
    for call, sizes in ((sweep, {}), (search, {"rounds": (1, 2, 3), "keep": (1, 2)})):
        about = (CONTENTS, rankings, grid)
        expected = call(model, LETTER, *about, **sizes, **run)
        assert call(model, fails, *about, **sizes, **grader, **run).equals(expected)


def test_a_sweep_refuses_the_test_split(model, pairs):
    rankings = rank_layers(model, pairs, [0])
    planted = [*CONTENTS, Content("A leak", split="test")]
    with refused("contents"):
        sweep(model, LETTER, planted, rankings, settings_grid([0], [1], [0.0], ["decaying"]))


def test_a_setting_reads_as_a_phrase():
    setting = SteeringSetting(0, 15, 2.0, "decaying", 4.0, 0.5)
    assert str(setting) == "layer 0, k = 15, beta = 2, decaying by 0.5, strength 4"
    assert SteeringSetting(3, 1, 0.0, "last_prompt_token").where == "last prompt token, strength 1"


def test_a_shortlist_can_hold_the_best_of_each_layer():
    rows = [(0, 0.1), (0, 0.3), (0, 0.2), (1, 0.9), (1, 0.8), (2, 0.0)]
    table = pd.DataFrame(rows, columns=["layer", "strict"])
    table = table.assign(
        k=15, beta=table.index * 1.0, placement="decaying", strength=1.0, decay=0.5
    )
    table = table.assign(loose=0.5, norm=1.0, contents=8)
    assert [setting.beta for setting in shortlist(table, 2, per=["layer"])] == [3, 4, 1, 2, 5]
    assert [setting.beta for setting in shortlist(table, 2)] == [3, 4]


def test_the_best_setting_is_strict_first_then_loose_then_small():
    rows = [
        (0, 15, 0.0, "decaying", 1.0, 9.0, 0.5, 0.5),
        (1, 15, 1.0, "decaying", 1.0, 9.0, 0.5, 0.9),
        (2, 15, 2.0, "decaying", 3.0, 3.0, 0.5, 0.9),
        (3, 15, 4.0, "decaying", 1.0, 1.0, 0.4, 1.0),
    ]
    columns = ["layer", "k", "beta", "placement", "strength", "norm", "strict", "loose"]
    table = pd.DataFrame(rows, columns=columns)
    table["decay"], table["contents"] = 0.3, 8
    assert best_setting(table) == SteeringSetting(2, 15, 2.0, "decaying", 3.0, 0.3)
    assert [setting.layer for setting in shortlist(table, 3)] == [2, 1, 0]
    assert len(shortlist(table, 99)) == len(table)
    table.loc[3, "contents"] = 20
    assert best_setting(table).layer == 3
    assert best_setting(table[table["layer"] == 3]) == SteeringSetting(
        3, 15, 4.0, "decaying", decay=0.3
    )
    with refused("table"):
        best_setting(table[:0])
