import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.activations import capture_tokens
from saif_helpers.analysis.contexts import Context, top_contexts
from saif_helpers.latents import encode

MODEL = tiny.wrapped("gemma2")
LATENTS = [3, 10, 41]


def alone(prompt, layer):
    """Encode every token of one prompt, BOS left out."""
    (streams,) = capture_tokens(MODEL, [prompt], [layer])
    return encode(MODEL.saes[layer], streams)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_top_contexts_are_those_of_the_largest_activation(batch_size):
    found = top_contexts(MODEL, tiny.PROMPTS, 1, LATENTS, n=2, batch_size=batch_size)
    for latent in LATENTS:
        peaks = {i: alone(p, 1)[:, latent].max().item() for i, p in enumerate(tiny.PROMPTS)}
        expected = sorted((i for i in peaks if peaks[i] > 0), key=peaks.get, reverse=True)[:2]
        assert [context.text for context in found[latent]] == expected
        for context in found[latent]:
            own = alone(tiny.PROMPTS[context.text], 1)[:, latent]
            assert torch.allclose(torch.tensor(context.activations), own, atol=1e-5)
            assert context.peak == pytest.approx(peaks[context.text], abs=1e-5)


def test_the_tokens_are_the_texts_own_without_bos():
    found = top_contexts(MODEL, ["<bos>Short."], 0, list(range(tiny.D_SAE)))
    contexts = [context for contexts in found.values() for context in contexts]
    assert contexts
    assert {"".join(context.tokens) for context in contexts} == {"Short."}


def test_a_latent_that_is_never_active_has_no_context():
    found = top_contexts(MODEL, tiny.PROMPTS, 1, list(range(tiny.D_SAE)))
    streams = torch.cat([alone(prompt, 1) for prompt in tiny.PROMPTS])
    for latent, contexts in found.items():
        assert bool(contexts) == bool((streams[:, latent] > 0).any())


def test_a_latent_that_does_not_exist_is_refused():
    with refused("latents"):
        top_contexts(MODEL, tiny.PROMPTS, 1, [64])


def test_the_window_is_cut_around_the_peak_and_at_the_ends():
    context = Context(0, tuple("abcdefg"), (0.0, 0.0, 0.0, 0.5, 2.0, 0.0, 0.0))
    assert context.around_peak(1).tokens == tuple("def")
    assert context.around_peak(3).tokens == tuple("bcdefg")
    assert context.around_peak(1).activations == (0.5, 2.0, 0.0)


def test_html_is_escaped_and_shaded_by_activation():
    context = Context(0, ("<script>", '"&', "\n"), (4.0, 2.0, 0.0))
    written = context.to_html()
    assert "<script>" not in written
    assert "&lt;script&gt;" in written
    assert "&quot;&amp;" in written
    assert "↵" in written
    assert [f"0,{shade})" in written for shade in ("1.00", "0.50", "0.00")] == [True] * 3
    assert "0,0.25)" in context.to_html(scale=16.0)
