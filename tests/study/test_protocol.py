import zlib

import pytest
import tiny
import torch
from refusals import refused
from test_search import CONTENTS, LETTER, failing

from saif_helpers.activations import capture_pairs
from saif_helpers.contents import Content, load_contents
from saif_helpers.graders.grader import Grader
from saif_helpers.grading import Grades
from saif_helpers.instructions import InstructionType
from saif_helpers.model.assemble import wrap
from saif_helpers.prompts import make_pairs
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import rank_latents, rank_layers
from saif_helpers.study.protocol import choose_and_test, norm_matched_controls
from saif_helpers.study.search import best_setting, search
from saif_helpers.study.settings import SteeringSetting, grade_settings, settings_grid
from saif_helpers.vector_rules import clamped_latents, mean_difference_vector, saif_vector

TEST = [Content(text, split="test") for text in ("A hen eats.", "Rain fell.", "Two men.", "We go.")]
ROUNDS = {"rounds": (1, 2, 3), "keep": (1, 2)}
SPLITS = {"validation": CONTENTS, "test": TEST, **ROUNDS}


RULELESS = InstructionType("ruleless", LETTER.wordings, Grader(failing, failing))


@pytest.fixture(scope="module")
def model():
    return tiny.wrapped("gemma2")


@pytest.fixture(scope="module")
def pairs(model):
    return make_pairs(LETTER, CONTENTS, model.tokenizer)


@pytest.fixture(scope="module")
def rankings(model, pairs):
    return rank_layers(model, pairs, [0, 2])


@pytest.fixture(scope="module")
def grid():
    return settings_grid([0, 2], 3, [0.0, 4.0], ["decaying", "every_position"], [1.0, 6.0], 0.5)


def by_checksum(outputs, items, instruction):
    """Pass about a quarter strictly and half loosely, so that settings differ in their shares."""
    passes = [zlib.crc32(output.encode()) for output in outputs]
    strict, loose = (tuple(one % n == 0 for one in passes) for n in (4, 2))
    return Grades(instruction.name, tuple(items), tuple(outputs), strict, loose)


@pytest.mark.parametrize(
    "options",
    [{"max_new_tokens": 4}, {"style": "plain"}, {"grader": by_checksum}],
    ids=lambda options: next(iter(options)),
)
def test_it_gives_what_search_choice_and_grading_give_one_by_one(model, rankings, grid, options):
    options = {"max_new_tokens": 6} | options
    found = choose_and_test(model, LETTER, rankings, grid, **SPLITS, **options)
    tried = search(model, LETTER, CONTENTS, rankings, grid, **ROUNDS, **options)
    assert found.tried.equals(tried)
    setting = best_setting(tried)
    assert found.setting == setting
    (graded,) = grade_settings(model, LETTER, TEST, rankings, [setting], **options)
    assert found.grades == graded
    assert [item.content for item in found.grades.items] == [content.text for content in TEST]
    sae = model.saes[setting.layer]
    vector = saif_vector(rankings[setting.layer], sae, setting.k, setting.beta)
    assert torch.equal(found.vector.vector, setting.strength * vector.vector)
    assert found.vector.layer == setting.layer
    assert (found.vector.placement, found.vector.decay) == (setting.placement, setting.decay)
    assert found.vector.strength == setting.strength


def test_vectors_and_clamped_latents_can_be_chosen_among_too(model, pairs, rankings):
    sources = {
        0: clamped_latents(rankings[0], model.saes[0], 3),
        2: mean_difference_vector(*capture_pairs(model, pairs, [2]), 2),
    }
    for layer, source in sources.items():
        grid = settings_grid(layer, 3, 0.0, "decaying", [1.0, 6.0], [0.5, 0.9])
        found = choose_and_test(model, LETTER, sources, grid, **SPLITS, max_new_tokens=4)
        assert type(found.vector) is type(source)
        expected = source.scaled(found.setting.strength)
        torch.testing.assert_close(found.vector.vector, expected.vector)
        assert found.vector.decay == found.setting.decay


def test_another_grader_chooses_and_reports(model, rankings, grid):
    """It passes what one setting writes, and that one is chosen."""
    wanted, run, returned = grid[9], {"max_new_tokens": 6}, []
    (target,) = grade_settings(model, LETTER, CONTENTS, rankings, [wanted], **run)

    def grader(outputs, items, instruction):
        assert instruction is RULELESS
        passes = tuple(output in target.outputs for output in outputs)
        returned.append(Grades("ruleless", tuple(items), tuple(outputs), passes, passes))
        return returned[-1]

    found = choose_and_test(model, RULELESS, rankings, grid, **SPLITS, **run, grader=grader)
    assert found.setting == wanted
    assert found.grades is returned[-1]
    assert found.tried["strict"].max() == 1
    by_rule = choose_and_test(model, LETTER, rankings, grid, **SPLITS, **run)
    assert by_rule.setting != wanted


@pytest.fixture
def idle():
    """A model that fails the test if a pass of it begins."""
    module = tiny.causal_lm("gemma2")
    module.model.embed_tokens.register_forward_pre_hook(lambda *_: pytest.fail("a pass began"))
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    return wrap(module, tiny.tokenizer(), saes, name="idle")


@pytest.mark.parametrize(
    "planted",
    [
        TEST[1],
        Content("Rain fell.", split="validation"),
        Content(" rain  FELL.", split="validation"),
        Content(load_contents("test")[7].text, split="validation"),
    ],
)
def test_nothing_is_chosen_on_a_test_content(idle, rankings, grid, planted):
    splits = SPLITS | {"validation": [*CONTENTS[:2], planted]}
    with refused("contents") as caught:
        choose_and_test(idle, LETTER, rankings, grid, **splits)
    assert repr(planted.text) in str(caught.value)


def test_too_few_contents_are_refused_before_anything_runs(idle, rankings, grid):
    with refused("contents"):
        choose_and_test(idle, LETTER, rankings, grid, validation=CONTENTS, test=TEST)


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
