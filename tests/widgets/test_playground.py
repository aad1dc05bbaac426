from dataclasses import replace
from html.parser import HTMLParser

import pytest
import tiny
import torch

from saif_helpers.placements import PLACEMENTS
from saif_helpers.display import playground
from saif_helpers.display.side_by_side import SideBySide, side_by_side
from saif_helpers.instructions import load_instructions
from saif_helpers.prompts import render
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.study.settings import SteeringSetting
from saif_helpers.vector_rules import saif_vector
from saif_helpers.vectors import SteeringVector
from saif_helpers.widgets.playground import START, Playground

MODEL = tiny.wrapped("gemma2")
SENTENCE = "The baker sells bread."
NEW = 6
NASTY = "<script>alert('x')</script>"
SETTING = SteeringSetting(1, 5, 1.0, "decaying", 8.0, 0.5)


class Page(HTMLParser):
    """Collects the tags and attributes of a page, and the text outside and inside <rt>."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.numbers, self.inside = [], [], "", [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "rt":
            self.numbers.append(data)
        else:
            self.text += data


def direction(strength=8.0, layer=1):
    vector = torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(1))
    return SteeringVector(layer, strength * vector, "any")


@pytest.fixture
def controls():
    instructions = load_instructions()
    some = {name: instructions[name] for name in ("french", "uppercase", "keyword")}
    settings = {"french": SETTING, "uppercase": replace(SETTING, layer=2)}
    return Playground(
        MODEL, some, settings=settings, sentence=SENTENCE, n_pairs=6, max_new_tokens=NEW
    )


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_strength_0_changes_no_token_at_all(placement):
    setting = SteeringSetting(1, 5, 0.0, placement, 0.0, 0.5)
    shown = side_by_side(MODEL, SENTENCE, setting, direction(), max_new_tokens=NEW)
    assert shown.steered == shown.unsteered
    assert shown.steered
    assert set(shown.changes) == {0.0}
    assert not Page(shown._repr_html_()).numbers


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_both_answers_and_the_changes_are_those_of_the_stations_before(placement):
    setting = replace(SETTING, placement=placement)
    shown = side_by_side(MODEL, SENTENCE, setting, direction(), max_new_tokens=NEW)
    prompt = render(SENTENCE, MODEL.tokenizer)
    where = {"placement": placement, "decay": 0.5}
    vector = direction().scaled(8.0)
    assert [shown.unsteered] == generate(MODEL, [prompt], max_new_tokens=NEW)
    assert [shown.steered] == generate(MODEL, [prompt], vector, max_new_tokens=NEW, **where)
    with_it = log_probabilities(MODEL, prompt, shown.steered, vector, **where)
    without = log_probabilities(MODEL, prompt, shown.steered)
    assert sum(shown.changes) == pytest.approx((with_it - without).sum().item(), rel=1e-4)
    assert max(map(abs, shown.changes)) > 1


def test_tokens_of_one_character_stand_together_with_the_sum_of_their_changes():
    text = "aé\n€"
    tokens, changes = playground._pieces(MODEL, text, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    assert tokens == ("a", "é", "\n", "€")
    assert changes == (1.0, 6.0, 8.0, 112.0)
    assert playground._pieces(MODEL, "", []) == ((), ())


def test_nothing_shown_is_read_as_html():
    shown = SideBySide(NASTY, NASTY, NASTY, (NASTY, " ", " b\n"), (3.0, 0.0, -0.3))
    page = Page(shown._repr_html_())
    assert "script" not in page.tags
    assert page.text.count(NASTY) == 4
    assert page.numbers == ["+3.0", "-0.3"]


def test_a_change_can_be_read_without_colours():
    page = Page(SideBySide("a", "b", "c", ("d", "e", "f"), (7.24, 0.04, -2.0))._repr_html_())
    assert page.numbers == ["+7.2", "-2.0"]
    titles = [value for name, value in page.attributes if name == "title"]
    assert titles == ["+7.24 nats", "+0.04 nats", "-2.00 nats"]


def test_sentences_that_cannot_be_answered_are_refused_in_words():
    steer = (SETTING, direction())
    with pytest.raises(ValueError, match="the sentence is empty; write one"):
        side_by_side(MODEL, "  ", *steer)
    with pytest.raises(ValueError, match=r"too long: \d+ tokens .* room for 472 .* shorten it"):
        side_by_side(MODEL, "bread " * 100, *steer)
    with pytest.raises(ValueError, match="special token '<bos>'"):
        side_by_side(MODEL, "a <bos> b", *steer)


def test_the_controls_begin_where_they_were_told_to(controls):
    assert controls.setting == SETTING
    assert controls.shown.steering == str(SETTING)
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
    with pytest.raises(ValueError, match=r"layer 9 .* 'french'; there are SAEs for the layers"):
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
    assert controls.shown.steering.startswith("difference in means, layer 2, decaying by 0.5")
    controls.strength.value = 0.0
    assert controls.shown.steered == controls.shown.unsteered
    assert set(controls.shown.changes) == {0.0}


def test_the_papers_rule_steers_by_the_papers_vector(controls):
    (rankings, positive, negative) = controls._captured["french"]
    vector = saif_vector(rankings[1], MODEL.saes[1], 5, 1.0)
    expected = side_by_side(MODEL, SENTENCE, replace(SETTING, beta=0.0), vector, max_new_tokens=NEW)
    assert controls.shown.steered == expected.steered
    assert controls.shown.changes == pytest.approx(expected.changes, abs=1e-4)
    controls.rule.value = "difference in means"
    vector = SteeringVector(1, positive[1].mean(0) - negative[1].mean(0), "means")
    expected = side_by_side(MODEL, SENTENCE, SETTING, vector, max_new_tokens=NEW)
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
    answer = playground.side_by_side
    monkeypatch.setattr(
        playground, "side_by_side", lambda *a, **k: calls.append(a) or answer(*a, **k)
    )
    controls.instruction.value = "keyword"
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("sentence", "words"),
    [(" ", "the sentence is empty"), ("bread " * 100, "too long"), ("<bos>", "special token")],
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
