import zlib

import pytest
import tiny
import torch
from letter import CONTENTS, LETTER, RULELESS, TEST
from refusals import refused

from saif_helpers.activations import capture_pairs
from saif_helpers.contents import Content, load_contents
from saif_helpers.grading import Grades
from saif_helpers.model.assemble import wrap
from saif_helpers.study.protocol import choose_and_test
from saif_helpers.study.search import search
from saif_helpers.study.settings import grade_settings, settings_grid
from saif_helpers.study.sweep import best_setting
from saif_helpers.vector_rules import clamped_latents, mean_difference_vector, saif_vector

ROUNDS = {"rounds": (1, 2, 3)}
SPLITS = {"validation": CONTENTS, "test": TEST, **ROUNDS}


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
    [
        {"max_new_tokens": 4},
        {"style": "plain"},
        {"grader": by_checksum},
        {"grader": by_checksum, "by": "loose"},
    ],
    ids=lambda options: list(options)[-1],
)
def test_it_gives_what_search_choice_and_grading_give_one_by_one(model, rankings, grid, options):
    options = {"max_new_tokens": 6} | options
    found = choose_and_test(model, LETTER, rankings, grid, **SPLITS, **options)
    tried = search(model, LETTER, CONTENTS, rankings, grid, **ROUNDS, **options)
    assert found.tried.equals(tried)
    by = options.pop("by", "strict")
    setting = best_setting(tried, by)
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


def test_settings_are_chosen_by_the_share_that_is_asked_for(model, rankings, grid):
    """What one setting writes passes strictly, and what another one writes loosely."""
    wanted, run = {"strict": grid[9], "loose": grid[6]}, {"max_new_tokens": 6}
    targets = grade_settings(model, LETTER, CONTENTS, rankings, [*wanted.values()], **run)

    def grader(outputs, items, instruction):
        passes = [tuple(output in target.outputs for output in outputs) for target in targets]
        return Grades(instruction.name, tuple(items), tuple(outputs), *passes)

    for by, setting in wanted.items():
        how = {"grader": grader, "by": by} | run
        found = choose_and_test(model, RULELESS, rankings, grid, **SPLITS, **how)
        assert found.setting == setting
