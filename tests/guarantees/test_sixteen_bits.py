"""Models from the Hub are in 16 bits on a GPU: everything that touches a model works in them."""

import pytest
import tiny
import torch
from refusals import refused

import saif_helpers as saif
from saif_helpers.analysis.contexts import top_contexts
from saif_helpers.analysis.output_effect import gradient_influence, output_scores
from saif_helpers.analysis.side_effects import output_loss
from saif_helpers.analysis.vocabulary import vocabulary_scores
from saif_helpers.model.assemble import wrap

PROMPTS = tiny.PROMPTS[:3]


@pytest.fixture(params=[torch.bfloat16, torch.float16])
def model(request):
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    network = tiny.causal_lm("gemma2").to(request.param)
    return wrap(network, tiny.tokenizer(), saes, name="narrow")


@pytest.fixture
def ranking(model):
    captured = saif.capture(model, PROMPTS, [1])[1]
    latents = saif.encode(model.saes[1], captured)
    return saif.rank_latents(latents, torch.zeros_like(latents))


def test_captures_are_exact_and_in_float32(model):
    captured = saif.capture(model, PROMPTS, [1], batch_size=1)[1]
    assert captured.dtype == torch.float32
    assert torch.equal(captured, captured.to(model.lm.dtype).float())


def test_a_residual_stream_beyond_float16_is_an_error_that_says_what_to_do():
    network = tiny.causal_lm("llama").to(torch.float16)
    with torch.no_grad():
        network.model.layers[1].mlp.down_proj.weight.mul_(torch.inf)
    model = wrap(network, tiny.tokenizer(), {0: tiny.sae(0)}, name="narrow")
    assert saif.capture(model, PROMPTS, [0])[0].isfinite().all()
    with refused("model"):
        saif.capture(model, PROMPTS, [0, 1])


def test_reconstruction_in_16_bits_is_near_that_in_32(model):
    wide = tiny.wrapped("gemma2")
    narrow = saif.reconstruction_quality(model, tiny.PROMPTS, 1)
    exact = saif.reconstruction_quality(wide, tiny.PROMPTS, 1)
    assert narrow.l0 == pytest.approx(exact.l0, rel=0.05)
    assert narrow.loss == pytest.approx(exact.loss, rel=0.05)


def test_errors_of_a_reconstruction_are_not_rounded_to_16_bits(model):
    """The SAE is in 32 bits, and of a good one the error is little more than such rounding."""
    sae = model.saes[1]
    tokens = saif.capture_tokens(model, tiny.PROMPTS, [1])
    residual = torch.cat([streams[1] for streams in tokens]).double()
    errors = residual - saif.decode(sae, saif.encode(sae, residual)).double()
    expected = 1 - errors.square().sum() / (residual - residual.mean(0)).square().sum()
    found = saif.reconstruction_quality(model, tiny.PROMPTS, 1).explained_variance
    assert found == pytest.approx(expected.item(), rel=1e-7)


@pytest.fixture
def near_the_limit():
    """Return a model in float16 and a vector, which leave the format together and not alone."""
    network = tiny.causal_lm("gemma2").half()
    with torch.no_grad():
        network.model.layers[2].post_feedforward_layernorm.weight.fill_(2000.0)
    huge = saif.SteeringVector(1, torch.full((tiny.D_MODEL,), 6.5e4), "huge")
    return wrap(network, tiny.tokenizer(), {}, name="narrow"), huge


@pytest.mark.parametrize("placement", ["last_prompt_token", "decaying"])
def test_an_output_ends_where_steering_goes_beyond_float16(near_the_limit, placement):
    model, huge = near_the_limit
    said = "1 outputs end early, .*: the residual stream of narrow overflows .* dtype=torch.bfloa"
    steering = [None, huge.at(placement), None]
    with pytest.warns(UserWarning, match=said):
        found = saif.generate(model, PROMPTS, steering, max_new_tokens=4)
    expected = saif.generate(model, PROMPTS, max_new_tokens=4)
    assert found == [expected[0], "", expected[2]]


def test_what_was_written_before_the_format_became_too_narrow_is_kept(near_the_limit):
    model, huge = near_the_limit
    with pytest.warns(UserWarning, match="overflows torch.float16"):
        found = saif.generate(model, PROMPTS, huge.at("generated_tokens"), max_new_tokens=4)
    assert found == saif.generate(model, PROMPTS, max_new_tokens=1)


def test_probabilities_and_losses_beyond_float16_are_not_known_and_say_so(near_the_limit):
    model, huge = near_the_limit
    said = "the probabilities of some tokens are not known: .* overflows torch.float16"
    with pytest.warns(UserWarning, match=said):
        likely = saif.log_probabilities(model, PROMPTS[0], "a cat", huge)
    assert likely.isnan().tolist() == [True, *[False] * (len(likely) - 1)]
    assert saif.log_probabilities(model, PROMPTS[0], "a cat").isfinite().all()
    with torch.no_grad():
        model.lm._module.model.layers[2].post_feedforward_layernorm.weight.fill_(6.5e4)
    said = "the losses of some outputs are not known: .* overflows torch.float16"
    with pytest.warns(UserWarning, match=said):
        assert output_loss(model, PROMPTS, ["a cat", "b", "c"]).isnan().any()


def test_a_vector_beyond_float16_is_refused(near_the_limit):
    model, huge = near_the_limit
    with refused("strength"):
        saif.generate(model, PROMPTS, huge.scaled(2.0))


@pytest.mark.parametrize("make", ["saif_vector", "clamped_latents"])
@pytest.mark.parametrize("placement", ["last_prompt_token", "every_position", "decaying"])
def test_steering(model, ranking, make, placement):
    sae = model.saes[1]
    steering = getattr(saif, make)(ranking, sae, 3).at(placement)
    outputs = saif.generate(model, PROMPTS, steering, max_new_tokens=4)
    assert len(outputs) == len(PROMPTS)
    if make == "saif_vector":
        nothing = saif.generate(model, PROMPTS, steering.scaled(0.0), max_new_tokens=4)
        assert nothing == saif.generate(model, PROMPTS, max_new_tokens=4)


def test_probabilities_and_losses(model, ranking):
    vector = saif.saif_vector(ranking, model.saes[1], 3)
    likely = saif.log_probabilities(model, PROMPTS[0], "a cat", vector)
    assert (likely <= 0).all()
    assert output_loss(model, PROMPTS, ["a cat", "b", "c"]).isfinite().all()


def test_influence_and_lenses(model, ranking):
    sae = model.saes[1]
    influence = gradient_influence(model, sae, PROMPTS, ["a", "b", "c"], 1)
    assert influence.isfinite().all()
    scores = output_scores(model, sae, ranking, ranking.top(3), PROMPTS, 1)
    assert scores.isfinite().all()
    own = torch.tensor([40, 41])
    assert vocabulary_scores(model, sae.W_dec.detach()[:5], own).isfinite().all()


def test_the_influence_on_an_unlikely_answer_does_not_vanish(model):
    found = []
    for dtype in (model.lm.dtype, torch.float32):
        network = tiny.causal_lm("gemma2")
        with torch.no_grad():
            network.lm_head.weight.mul_(6)  # the answer's probability is about 1e-11
        surer = wrap(network.to(dtype), tiny.tokenizer(), {1: tiny.sae(1)}, name="sure")
        found.append(gradient_influence(surer, surer.saes[1], PROMPTS[:1], ["a"], 1))
    narrow, wide = found
    assert 0 < wide.max() < 1e-12
    torch.testing.assert_close(narrow / narrow.max(), wide / wide.max(), atol=0.05, rtol=0)


def test_contexts_and_cards(model, ranking):
    contexts = top_contexts(model, PROMPTS, 1, ranking.top(2).tolist(), n=2)
    assert len(contexts) == 2
    latents = saif.encode(model.saes[1], saif.capture(model, PROMPTS, [1])[1])
    facts = {latent: {"k": "v"} for latent in ranking.top(2).tolist()}
    assert len(saif.latent_cards(model, 1, facts, latents, latents, PROMPTS)) == 2
