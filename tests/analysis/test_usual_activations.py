import dataclasses

import pandas as pd
import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.activations import capture_tokens
from saif_helpers.analysis.usual_activations import N_SENTENCES, usual_activations
from saif_helpers.contents import load_contents
from saif_helpers.latents import encode
from saif_helpers.model.assemble import wrap
from saif_helpers.prompts import render

COLUMNS = ["mean where active", "largest", "share of tokens"]


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


@pytest.mark.parametrize("kind", ["gemma2", "llama"])
def test_the_numbers_are_those_of_a_count_token_by_token(kind):
    sae = tiny.sae(1)
    sae.threshold.data[5] = torch.inf
    model = wrap(tiny.causal_lm(kind), tiny.tokenizer(), {1: sae}, name="silent 5")
    usual = usual_activations(model, 1, range(tiny.D_SAE), tiny.PROMPTS)
    assert list(usual.columns) == COLUMNS
    assert usual.index.name == "latent"
    streams = [part[1] for part in capture_tokens(model, tiny.PROMPTS, [1])]
    active = encode(model.saes[1], torch.cat(streams))
    for latent in range(tiny.D_SAE):
        on = [value for value in active[:, latent].tolist() if value > 0]
        mean = sum(on) / len(on) if on else 0.0
        row = usual.loc[latent]
        assert bool(on) == (latent != 5)
        assert row["mean where active"] == pytest.approx(mean, rel=1e-4)
        assert row["largest"] == pytest.approx(max(on, default=0.0))
        assert row["share of tokens"] == pytest.approx(len(on) / len(active))


def test_rows_are_in_the_order_asked_for(model):
    whole = usual_activations(model, 2, range(tiny.D_SAE), tiny.PROMPTS)
    some = usual_activations(model, 2, [40, 3], tiny.PROMPTS)
    assert list(some.index) == [40, 3]
    pd.testing.assert_frame_equal(some, whole.loc[[40, 3]])  # apart from the order of sums


def test_the_texts_are_by_default_the_books_validation_sentences(model):
    contents = load_contents("validation", model.corpus)[:N_SENTENCES]
    texts = [render(content.text, model.tokenizer) for content in contents]
    assert len(texts) == N_SENTENCES
    expected = usual_activations(model, 0, [3, 17], texts)
    assert usual_activations(model, 0, [3, 17]).equals(expected)


def test_an_sae_of_another_width_is_asked_for_by_it():
    saes = {(1, 64): tiny.sae(1), (1, 16): tiny.sae(1, d_sae=16)}
    model = wrap(tiny.causal_lm("llama"), tiny.tokenizer(), saes, name="two widths")
    narrow = wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {1: tiny.sae(1, d_sae=16)}, name="n")
    found = usual_activations(model, 1, range(16), tiny.PROMPTS, width=16)
    assert found.equals(usual_activations(narrow, 1, range(16), tiny.PROMPTS))
    with refused("latent"):
        usual_activations(model, 1, [16], tiny.PROMPTS, width=16)


def test_latents_that_there_are_not_are_refused_before_any_pass(model):
    for latent in (-1, tiny.D_SAE):
        with refused("latent"):
            usual_activations(model, 1, [3, latent], ["not even a text is read"])
    with pytest.raises(KeyError, match="layer 9"):
        usual_activations(model, 9, [3])


def test_a_remote_model_is_refused(model):
    there = dataclasses.replace(model, remote="local")
    with refused("remote"):
        usual_activations(there, 1, [3], tiny.PROMPTS)
