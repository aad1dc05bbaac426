import dataclasses
import warnings

import pytest
import tiny
import torch
from pages import Page
from refusals import refused

from saif_helpers.analysis.usual_activations import usual_activations
from saif_helpers.display import side_by_side
from saif_helpers.display.side_by_side import SideBySide, steer
from saif_helpers.generation.decoding import Sampling
from saif_helpers.model.assemble import wrap
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import render
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.vectors import ClampedLatents, SteeringVector

MODEL = tiny.wrapped("gemma2")
SENTENCE = "The baker sells bread."
PROMPT = render(SENTENCE, MODEL.tokenizer)
NEW = 6
NASTY = "<script>alert('x')</script>"


def direction(strength=8.0, layer=1, seed=1):
    vector = torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(seed))
    return SteeringVector(layer, strength * vector, "any")


def living(layer, n):
    """Return the n latents of a layer that are active most often, and their usual activations."""
    usual = usual_activations(MODEL, layer, range(tiny.D_SAE))
    return usual.sort_values("share of tokens", ascending=False).head(n)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_strength_0_changes_no_token_at_all(placement):
    off = direction().scaled(0.0).at(placement, 0.5)
    shown = steer(MODEL, SENTENCE, off, max_new_tokens=NEW)
    assert shown.steered == shown.unsteered
    assert shown.steered
    assert set(shown.changes) == {0.0}
    assert not Page(shown._repr_html_()).numbers


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_both_answers_and_the_changes_are_those_of_generation_and_its_probabilities(placement):
    vector = direction().scaled(8.0).at(placement, 0.5)
    shown = steer(MODEL, SENTENCE, vector, max_new_tokens=NEW)
    assert [shown.unsteered] == generate(MODEL, [PROMPT], max_new_tokens=NEW)
    assert [shown.steered] == generate(MODEL, [PROMPT], vector, max_new_tokens=NEW)
    with_it = log_probabilities(MODEL, PROMPT, shown.steered, vector)
    without = log_probabilities(MODEL, PROMPT, shown.steered)
    assert sum(shown.changes) == pytest.approx((with_it - without).sum().item(), rel=1e-4)
    assert max(map(abs, shown.changes)) > 1


def test_a_placement_that_is_asked_for_replaces_the_vectors_own():
    vector = direction().at("decaying", 0.5)
    shown = steer(MODEL, SENTENCE, vector, placement="every_position", max_new_tokens=NEW)
    expected = steer(MODEL, SENTENCE, vector.at("every_position"), max_new_tokens=NEW)
    assert shown == expected
    assert shown != steer(MODEL, SENTENCE, vector, max_new_tokens=NEW)


@pytest.mark.filterwarnings("error")
def test_latents_are_given_by_their_ids_and_strengths():
    first, second = living(1, 2).index
    usual = usual_activations(MODEL, 1, [first, second])
    strengths = {first: usual.loc[first, "largest"], second: -usual.loc[second, "largest"]}
    shown = steer(MODEL, SENTENCE, {1: strengths}, max_new_tokens=NEW)
    offset = sum(value * MODEL.saes[1].W_dec[latent] for latent, value in strengths.items())
    vector = SteeringVector(1, offset.detach(), placement="every_position")
    expected = steer(MODEL, SENTENCE, vector, max_new_tokens=NEW)
    assert shown.steered == expected.steered != shown.unsteered
    assert shown.changes == pytest.approx(expected.changes, abs=1e-3)
    words = f"latents {strengths[first]:g} x {first} + {strengths[second]:g} x {second}"
    assert shown.steering == f"{words} (layer 1, every position, strength 1)"


def test_several_interventions_act_at_once():
    clamp = ClampedLatents(0, MODEL.saes[0], torch.tensor([3]), torch.tensor([2.0]), "clamp")
    both = [clamp, direction(layer=2).at("decaying")]
    shown = steer(MODEL, SENTENCE, both, max_new_tokens=NEW)
    assert [shown.steered] == generate(MODEL, [PROMPT], [both], max_new_tokens=NEW)
    assert shown.steering == f"{both[0]}; {both[1]}"
    for one in both:
        assert steer(MODEL, SENTENCE, one, max_new_tokens=NEW).changes != shown.changes


@pytest.mark.filterwarnings("error")
def test_latents_of_several_layers_act_at_once():
    latents = {}
    for layer in (0, 2):
        (latent,) = living(layer, 1).index
        latents[layer] = {latent: living(layer, 1).loc[latent, "largest"]}
    shown = steer(MODEL, SENTENCE, latents, max_new_tokens=NEW)
    vectors = [SteeringVector.from_latents(MODEL.saes[at], one) for at, one in latents.items()]
    assert [shown.steered] == generate(MODEL, [PROMPT], [vectors], max_new_tokens=NEW)
    assert shown.steering == "; ".join(map(str, vectors))


def test_a_strength_far_beyond_what_is_usual_is_warned_of():
    usual = living(1, 1)
    (latent,) = usual.index
    largest = usual.loc[latent, "largest"]
    said = rf"strength \S+ for latent {latent} of layer 1 is far beyond .* reach {largest:.3g}, "
    for strength in (3.01 * largest, -3.01 * largest):
        with pytest.warns(UserWarning, match=said) as record:
            steer(MODEL, SENTENCE, {1: {latent: strength}}, max_new_tokens=1)
        assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steer(MODEL, SENTENCE, {1: {latent: 2.99 * largest}}, max_new_tokens=1)


def test_a_latent_that_is_never_active_is_warned_of():
    sae = tiny.sae(1)
    sae.threshold.data[5] = torch.inf
    model = wrap(tiny.causal_lm("gemma2"), tiny.tokenizer(), {1: sae}, name="silent 5")
    said = "strength 0.1 for latent 5 of layer 1 .*: it is active on none of the book's sentences"
    with pytest.warns(UserWarning, match=said):
        steer(model, SENTENCE, {1: {5: 0.1}}, max_new_tokens=1)


def test_a_remote_model_is_steered_by_latents_without_a_look_at_what_is_usual():
    there = dataclasses.replace(MODEL, remote="local")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = steer(there, SENTENCE, {1: {3: 500.0}}, max_new_tokens=NEW)
    vector = SteeringVector.from_latents(MODEL.saes[1], {3: 500.0})
    assert shown == steer(MODEL, SENTENCE, vector, max_new_tokens=NEW)


def test_a_system_prompt_earlier_turns_and_a_style_reach_the_prompt():
    history = [("A cat.", "Le chat.")]
    shown = steer(MODEL, SENTENCE, direction(), history=history, max_new_tokens=NEW)
    prompt = render(SENTENCE, MODEL.tokenizer, history=history)
    assert [shown.unsteered] == generate(MODEL, [prompt], max_new_tokens=NEW)
    shown = steer(MODEL, SENTENCE, direction(), style="plain", max_new_tokens=NEW)
    assert [shown.unsteered] == generate(MODEL, [f"<bos>{SENTENCE}"], max_new_tokens=NEW)
    shown = steer(MODEL, SENTENCE, direction(), system="Be brief.", max_new_tokens=NEW)
    prompt = render(SENTENCE, MODEL.tokenizer, system="Be brief.")
    assert [shown.unsteered] == generate(MODEL, [prompt], max_new_tokens=NEW)


def test_sampling_and_ends_are_those_of_generation():
    options = {"sampling": Sampling(2.0, seed=5), "max_new_tokens": 2 * NEW}
    vector = direction(0.5)
    shown = steer(MODEL, SENTENCE, vector, **options)
    assert [shown.unsteered] == generate(MODEL, [PROMPT], **options)
    assert [shown.steered] == generate(MODEL, [PROMPT], vector, **options)
    end = shown.steered[NEW]
    cut = steer(MODEL, SENTENCE, vector, stop=end, **options)
    assert cut.steered == shown.steered[: shown.steered.index(end)]


def test_the_answers_can_be_read_as_text():
    shown = steer(MODEL, SENTENCE, direction(), max_new_tokens=NEW)
    assert str(shown) == (
        f"unsteered: {shown.unsteered}\n"
        f"steered:   {shown.steered}\n"
        "           any (layer 1, last prompt token, strength 1)"
    )


def test_tokens_of_one_character_are_one_piece_with_the_sum_of_their_changes():
    text = "aé\n€"
    tokens, changes = side_by_side._pieces(MODEL, text, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    assert tokens == ("a", "é", "\n", "€")
    assert changes == (1.0, 6.0, 8.0, 112.0)
    assert side_by_side._pieces(MODEL, "", []) == ((), ())


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


def test_what_cannot_be_answered_is_refused_in_words():
    with refused("text"):
        steer(MODEL, "  ", direction())
    with refused("prompts"):
        steer(MODEL, "bread " * 100, direction())
    with refused("text"):
        steer(MODEL, "a <bos> b", direction())
    with pytest.raises(KeyError, match="layer 7"):
        steer(MODEL, SENTENCE, {7: {3: 1.0}})
    with refused("latent"):
        steer(MODEL, SENTENCE, {1: {64: 1.0}})
