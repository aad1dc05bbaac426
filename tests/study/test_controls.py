import pytest
import tiny
import torch
from letter import CONTENTS, LETTER, TEST
from refusals import refused

from saif_helpers.activations import capture_pairs
from saif_helpers.grading import Grades, pool_grades
from saif_helpers.latents import encode
from saif_helpers.prompts import make_pairs
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import rank_captured, rank_latents
from saif_helpers.study.controls import (
    control_grades,
    norm_matched_controls,
    random_sae_control,
    searched_controls,
)
from saif_helpers.study.protocol import choose_and_test
from saif_helpers.study.random_sae import random_sae
from saif_helpers.study.settings import SteeringSetting, settings_grid
from saif_helpers.study.steering_claim import RANDOM, RANDOM_SAE
from saif_helpers.vector_rules import clamped_latents, mean_difference_vector, saif_vector


@pytest.fixture
def many_living():
    """A ranking of layer 2 in which the first latents are the most sensitive and all are alive."""
    positive = torch.rand(8, tiny.D_SAE, generator=torch.Generator().manual_seed(0))
    negative = positive.clone()
    negative[:, :6] = 0
    return rank_latents(positive, negative)


@pytest.mark.parametrize("kind", ["vector", "clamp"])
def test_controls_have_the_vectors_norm_layer_and_positions(model, many_living, kind):
    setting = SteeringSetting(2, 4, 1.0, "decaying", 5.0, 0.3)
    source = many_living if kind == "vector" else clamped_latents(many_living, model.saes[2], 4)
    like = setting.vector(model, source)
    controls = norm_matched_controls(model, many_living, like, 4, beta=1.0, n=3, seed=7)
    assert len(controls) == 3
    for seed, control in zip((7, 8, 9), controls, strict=True):
        assert control.norm == pytest.approx(like.norm)
        assert (control.layer, control.placement, control.decay) == (2, "decaying", 0.3)
        drawn = random_latents_vector(many_living, model.saes[2], 4, 1.0, seed=seed)
        cosine = torch.cosine_similarity(control.vector, drawn.vector, dim=0)
        assert cosine.item() == pytest.approx(1, abs=1e-5)
        assert control.description == drawn.description
        assert abs(torch.cosine_similarity(control.vector, like.vector, dim=0).item()) < 0.9
    assert not torch.equal(controls[0].vector, controls[1].vector)
    (one,) = norm_matched_controls(model, many_living, like, 4, beta=1.0, seed=8)
    assert torch.equal(one.vector, controls[1].vector)


def test_controls_of_a_vector_by_another_rule_have_its_norm(model, many_living):
    like = mean_difference_vector({2: torch.rand(3, 32)}, {2: torch.rand(3, 32)}, 2).at(slice(1, 4))
    (control,) = norm_matched_controls(model, many_living, like, 4)
    assert control.norm == pytest.approx(like.norm)
    assert control.placement == slice(1, 4)


def test_too_few_living_latents_give_no_control(model):
    positive = torch.zeros(4, tiny.D_SAE)
    positive[:, :5] = 1.0
    ranking = rank_latents(positive, torch.zeros(4, tiny.D_SAE))
    like = saif_vector(ranking, model.saes[2], 4)
    with refused("k"):
        norm_matched_controls(model, ranking, like, 4)


K = 2
LAYERS = (0, 2)
SPLITS = {"validation": CONTENTS, "test": TEST, "rounds": (1, 3), "max_new_tokens": 6}


def first_letters(outputs, items, instruction):
    """Pass by the outputs' letters, so that settings and vectors differ in their shares."""
    strict = tuple(output[:1].isascii() for output in outputs)
    loose = tuple(sum(map(ord, output)) % 2 == 0 for output in outputs)
    return Grades(instruction.name, tuple(items), tuple(outputs), strict, loose)


SPLITS["grader"] = first_letters


@pytest.fixture(scope="module")
def streams(model):
    return capture_pairs(model, make_pairs(LETTER, CONTENTS, model.tokenizer), LAYERS)


@pytest.fixture(scope="module")
def rankings(model, streams):
    return rank_captured(model, *streams)


GRID = settings_grid(LAYERS, K, 0.0, ["decaying", "every_position"], [2.0, 8.0], 0.5)


def same(one, other):
    assert one.setting == other.setting
    assert torch.equal(one.vector.vector, other.vector.vector)
    assert (one.vector.layer, one.vector.placement) == (other.vector.layer, other.vector.placement)
    assert one.grades == other.grades
    assert one.tried.equals(other.tried)


def test_each_draw_of_random_latents_gets_its_own_search(model, rankings):
    drawn = searched_controls(model, LETTER, rankings, GRID, k=K, n=2, seed=5, **SPLITS)
    assert len(drawn) == 2
    for seed, found in zip((5, 6), drawn, strict=True):
        sources = {
            layer: random_latents_vector(ranking, model.saes[layer], K, seed=seed, layer=layer)
            for layer, ranking in rankings.items()
        }
        same(found, choose_and_test(model, LETTER, sources, GRID, **SPLITS))
    assert not torch.equal(drawn[0].vector.vector, drawn[1].vector.vector)
    (again,) = searched_controls(model, LETTER, rankings, GRID, k=K, n=1, seed=6, **SPLITS)
    same(again, drawn[1])
    with refused("n"):
        searched_controls(model, LETTER, rankings, GRID, k=K, n=0, **SPLITS)


def test_the_random_sae_is_steered_by_the_papers_rule(model, streams, rankings):
    found = random_sae_control(model, LETTER, *streams, GRID, k=K, seed=3, **SPLITS)
    layer = found.setting.layer
    positive, negative = (half[layer] for half in streams)
    sae = random_sae(model.saes[layer], torch.cat([positive, negative]), seed=3)
    ranking = rank_latents(encode(sae, positive), encode(sae, negative))
    vector = saif_vector(ranking, sae, K, layer=layer).scaled(found.setting.strength)
    torch.testing.assert_close(found.vector.vector, vector.vector)
    own = saif_vector(rankings[layer], model.saes[layer], K)
    assert torch.cosine_similarity(own.vector, found.vector.vector, dim=0).abs() < 0.9
    same(found, random_sae_control(model, LETTER, *streams, GRID, k=K, seed=3, **SPLITS))
    other = random_sae_control(model, LETTER, *streams, GRID, k=K, seed=4, **SPLITS)
    assert not torch.equal(other.vector.vector, found.vector.vector)


def test_the_controls_of_a_study_are_pooled_draws_and_a_random_sae(model, streams, rankings):
    """Layers without a ranking are left out."""
    some, grid = {2: rankings[2]}, [setting for setting in GRID if setting.layer == 2]
    how = {"k": K, "seed": 1} | SPLITS
    found = control_grades(model, LETTER, some, streams, grid, n=2, **how)
    drawn = searched_controls(model, LETTER, some, grid, n=2, **how)
    assert found[RANDOM] == pool_grades([each.grades for each in drawn])
    halves = [{2: half[2]} for half in streams]
    assert found[RANDOM_SAE] == random_sae_control(model, LETTER, *halves, grid, **how).grades
    assert list(found) == [RANDOM, RANDOM_SAE]
