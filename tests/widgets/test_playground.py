from dataclasses import replace

import pytest
import tiny
from pages import Page
from refusals import refused

from saif_helpers.display.side_by_side import steer
from saif_helpers.instructions import load_instructions
from saif_helpers.study.settings import SteeringSetting
from saif_helpers.vector_rules import mean_difference_vector, saif_vector
from saif_helpers.widgets import playground
from saif_helpers.widgets.playground import START, Playground

MODEL = tiny.wrapped("gemma2")
SENTENCE = "The baker sells bread."
NEW = 6
SETTING = SteeringSetting(1, 5, 1.0, "decaying", 8.0, 0.5)


@pytest.fixture
def controls():
    instructions = load_instructions()
    some = {name: instructions[name] for name in ("french", "uppercase", "keyword")}
    settings = {"french": SETTING, "uppercase": replace(SETTING, layer=2)}
    return Playground(
        MODEL, some, settings=settings, sentence=SENTENCE, n_pairs=6, max_new_tokens=NEW
    )


def test_the_controls_begin_where_they_were_told_to(controls):
    assert controls.setting == SETTING
    where = "layer 1, decaying by 0.5, strength 8"
    assert controls.shown.steering == f"SAIF, k = 5, beta = 1 ({where})"
    controls.instruction.value = "uppercase"
    assert controls.setting.layer == 2
    controls.instruction.value = "keyword"
    assert controls.setting == START


@pytest.mark.filterwarnings("ignore:k = :UserWarning")
def test_settings_beyond_the_usual_range_are_shown_as_they_are():
    instructions = {"french": load_instructions()["french"]}
    far = replace(SETTING, strength=40.0, beta=-6.0, k=62)
    options = {"sentence": SENTENCE, "n_pairs": 6, "max_new_tokens": NEW}
    assert Playground(MODEL, instructions, settings={"french": far}, **options).setting == far
    with refused("settings"):
        Playground(MODEL, instructions, settings={"french": replace(SETTING, layer=9)}, **options)


def test_each_control_changes_what_is_steered_with(controls):
    seen = [controls.shown]
    for name, value in {
        "strength": 3.0,
        "layer": 2,
        "k": 9,
        "beta": 2.0,
        "decay": 0.9,
        "placement": "every_position",
        "rule": "signed latents",
        "instruction": "uppercase",
        "sentence": "A cat.",
    }.items():
        getattr(controls, name).value = value
        assert controls.shown != seen[-1], f"{name} was moved and nothing changed"
        assert controls.shown._repr_html_() == controls._answers.value
        seen.append(controls.shown)
    controls.rule.value = "difference in means"
    assert controls.shown.steering.startswith("difference in means (layer 2, decaying by 0.5,")
    controls.strength.value = 0.0
    assert controls.shown.steered == controls.shown.unsteered
    assert set(controls.shown.changes) == {0.0}


def test_the_papers_rule_steers_by_the_papers_vector(controls):
    (rankings, positive, negative) = controls._captured["french"]
    vector = saif_vector(rankings[1], MODEL.saes[1], 5, 1.0).scaled(8.0).at("decaying", 0.5)
    expected = steer(MODEL, SENTENCE, vector, max_new_tokens=NEW)
    assert controls.shown.steered == expected.steered
    assert controls.shown.changes == pytest.approx(expected.changes, abs=1e-4)
    controls.rule.value = "difference in means"
    vector = mean_difference_vector(positive, negative, 1).scaled(8.0).at("decaying", 0.5)
    expected = steer(MODEL, SENTENCE, vector, max_new_tokens=NEW)
    assert controls.shown.steered == expected.steered


def test_an_instruction_is_captured_once(controls, monkeypatch):
    calls = []
    capture = playground.capture_pairs
    monkeypatch.setattr(playground, "capture_pairs", lambda *a: calls.append(a) or capture(*a))
    controls.layer.value = 2
    controls.k.value = 7
    controls.rule.value = "difference in means"
    assert not calls
    controls.instruction.value = "keyword"
    controls.instruction.value = "french"
    controls.instruction.value = "keyword"
    assert len(calls) == 1


def test_choosing_an_instruction_answers_once(controls, monkeypatch):
    calls = []
    monkeypatch.setattr(playground, "steer", lambda *a, **k: calls.append(a) or steer(*a, **k))
    controls.instruction.value = "keyword"
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("sentence", "words"),
    [(" ", "the text is empty"), ("bread " * 100, "shorten it"), ("<bos>", "special token")],
)
def test_what_cannot_be_shown_is_said_in_words_and_can_be_mended(controls, sentence, words):
    before = controls.shown
    controls.sentence.value = sentence
    assert words in Page(controls._status.value).text
    assert "bos" not in Page(controls._status.value).tags
    assert controls.shown is None
    assert controls._answers.value == ""
    controls.sentence.value = SENTENCE
    assert controls.shown == before
    assert Page(controls._status.value).text == ""


def test_controls_that_mean_nothing_are_switched_off(controls):
    off = {"decay": False, "beta": False, "k": False}
    for control, value, switched in (
        ("placement", "last_prompt_token", {"decay": True}),
        ("placement", "decaying", {"decay": False}),
        ("rule", "signed latents", {"beta": True}),
        ("rule", "difference in means", {"k": True}),
        ("rule", "paper", {"beta": False, "k": False}),
    ):
        getattr(controls, control).value = value
        off |= switched
        assert {name: getattr(controls, name).disabled for name in off} == off


def test_every_control_has_a_name_and_waits_until_it_is_let_go(controls):
    for control in (
        controls.instruction,
        controls.rule,
        controls.sentence,
        *controls._dials.values(),
    ):
        assert control.description
        assert not getattr(control, "continuous_update", False)
