from dataclasses import replace
from html.parser import HTMLParser

import pytest
import tiny
import torch

from saif_helpers.analysis.contexts import Context, top_contexts
from saif_helpers.analysis.vocabulary import logit_lens, promoted_tokens
from saif_helpers.display.cards import N_BARS, LatentCard, latent_cards

MODEL = tiny.wrapped("gemma2")
NASTY = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def cards():
    positive = torch.rand(20, tiny.D_SAE)
    negative = torch.zeros(20, tiny.D_SAE)
    positive[:, 7] = torch.linspace(0, 6, 20)
    negative[:4, 7] = 3.0
    facts = {7: {"sensitivity": "0.93"}, 3: {}}
    return latent_cards(MODEL, 1, facts, positive, negative, tiny.PROMPTS, n_tokens=4)


def test_a_card_holds_what_the_stations_before_it_give(cards):
    assert [card.latent for card in cards] == [7, 3]
    logits = logit_lens(MODEL, MODEL.saes[1].W_dec.detach()[[7, 3]])
    assert [card.promoted for card in cards] == promoted_tokens(logits, MODEL.tokenizer, 4)
    assert cards[0].contexts == top_contexts(MODEL, tiny.PROMPTS, 1, [7], 3)[7]
    assert cards[0].top == 6.0
    assert sum(cards[0].with_instruction) == sum(cards[0].without_instruction) == 20
    assert cards[0].without_instruction[0] == 16
    assert cards[0].without_instruction[N_BARS // 2] == 4
    assert cards[0].link is None


def test_a_card_shows_its_facts_and_names_its_histograms(cards):
    page = Page(cards[0]._repr_html_())
    assert "Layer 1, latent 7" in page.text
    assert "sensitivity 0.93" in page.text
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert [label.split(",")[0] for label in labels] == [
        "Activations with the instruction",
        "Activations without the instruction",
    ]
    assert labels[1].endswith(": " + ", ".join(map(str, cards[0].without_instruction)))


def test_nothing_on_a_card_is_read_as_html():
    context = Context(0, (NASTY, " b"), (1.0, 0.5))
    card = LatentCard(
        0, 1, {NASTY: NASTY}, [NASTY], [NASTY], [1] * 12, [0] * 12, 1.0, [context], f'"{NASTY}'
    )
    page = Page(card._repr_html_())
    assert "script" not in page.tags
    assert page.text.count(NASTY) == 5
    assert ("href", f'"{NASTY}') in page.attributes


def test_a_public_sae_links_to_its_page_and_a_dead_latent_says_so(cards):
    linked = replace(cards[0], link="https://www.neuronpedia.org/gemma-2-2b/25-res-16k/7")
    assert ("href", linked.link) in Page(linked._repr_html_()).attributes
    assert "active in no text" in Page(replace(cards[0], contexts=[])._repr_html_()).text
