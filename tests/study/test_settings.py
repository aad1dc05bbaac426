import pytest
import torch
from letter import CONTENTS, LETTER, RULELESS

from saif_helpers.activations import capture, capture_pairs
from saif_helpers.graders.run_check import GraderError
from saif_helpers.grading import grade
from saif_helpers.latents import encode
from saif_helpers.ranking import rank_latents, rank_layers
from saif_helpers.study.search import search
from saif_helpers.study.settings import (
    SteeringSetting,
    grade_settings,
    settings_grid,
    steer_and_grade,
)
from saif_helpers.study.sweep import sweep
from saif_helpers.vector_rules import mean_difference_vector, saif_vector


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


def test_a_setting_reads_as_a_phrase():
    setting = SteeringSetting(0, 15, 2.0, "decaying", 4.0, 0.5)
    assert str(setting) == "layer 0, k = 15, beta = 2, decaying by 0.5, strength 4"
    assert SteeringSetting(3, 1, 0.0, "last_prompt_token").where == "last prompt token, strength 1"


def test_a_ready_vector_gets_the_strength_and_no_latents(model, pairs):
    positive, negative = capture_pairs(model, pairs, [1])
    mean = mean_difference_vector(positive, negative, 1)
    made = SteeringSetting(1, 99, 3.0, "decaying", 2.5).vector(model, mean)
    torch.testing.assert_close(made.vector, 2.5 * mean.vector)
    assert made.layer == 1


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
    grader = {"grader": lambda outputs, items, _: grade(outputs, items, LETTER)}
    run = {"max_new_tokens": 4}
    vectors = [setting.vector(model, rankings[0]) for setting in grid]
    for call, about in (
        (steer_and_grade, (CONTENTS, vectors)),
        (grade_settings, (CONTENTS, rankings, grid)),
    ):
        assert call(model, RULELESS, *about, **grader, **run) == call(model, LETTER, *about, **run)
        with pytest.raises(GraderError):
            call(model, RULELESS, *about, **run)
    for call, sizes in ((sweep, {}), (search, {"rounds": (1, 2, 3)})):
        about = (CONTENTS, rankings, grid)
        expected = call(model, LETTER, *about, **sizes, **run)
        assert call(model, RULELESS, *about, **sizes, **grader, **run).equals(expected)
