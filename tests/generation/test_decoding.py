import dataclasses

import pytest
import tiny
import torch
from refusals import refused
from scipy.stats import chi2
from test_steering import LAYER, NEW, direction, recorded

from saif_helpers.cache.store import Store
from saif_helpers.generation.decoding import Sampling
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import tokenize
from saif_helpers.steering import generate, generate_ids
from saif_helpers.vectors import SteeringVector


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


@pytest.fixture
def vector():
    return SteeringVector(LAYER, 2 * direction(0), placement="every_position")


def drawn(model, seed, prompts=tiny.PROMPTS, steering=None, **options):
    options = {"max_new_tokens": NEW} | options
    return generate(model, prompts, steering, sampling=Sampling(1.5, seed=seed), **options)


def test_the_same_seed_draws_the_same_and_another_one_something_else(model, vector):
    first, again, other = (drawn(model, seed, steering=vector) for seed in (3, 3, 4))
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))
    assert first != drawn(model, 3)
    assert first != generate(model, tiny.PROMPTS, vector, max_new_tokens=NEW)


def test_drawing_leaves_the_callers_random_state_alone(model):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = drawn(model, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert drawn(model, 0) == first  # nor does it depend on it


@pytest.mark.parametrize("sampling", [Sampling(0.001), Sampling(1.0, top_p=1e-6)])
def test_almost_no_randomness_is_greedy(model, vector, sampling):
    for steering in (None, vector):
        options = {"max_new_tokens": 12}
        greedy = generate(model, tiny.PROMPTS, steering, **options)
        assert generate(model, tiny.PROMPTS, steering, sampling=sampling, **options) == greedy


def probabilities(model, prompt, vector, temperature):
    """Return the distribution of the first new token, from a pass with a plain hook."""
    tokens, module = tokenize([prompt], model.tokenizer), model.lm._module
    handle = module.model.layers[LAYER].register_forward_hook(
        lambda _, __, residual: torch.cat([residual[:, :1], residual[:, 1:] + vector.vector], 1)
    )
    try:
        with torch.no_grad():
            return (module(**tokens).logits[0, -1] / temperature).softmax(-1)
    finally:
        handle.remove()


def test_tokens_are_drawn_as_often_as_they_are_likely(model, vector):
    """By the chi-square test of the tokens to expect ten times or more."""
    n, temperature = 3000, 1.3
    sampling = Sampling(temperature, seed=2)
    options = {"max_new_tokens": 1, "sampling": sampling, "batch_size": 1000}
    written = generate_ids(model, tiny.PROMPTS[:1] * n, vector, **options)
    found = torch.bincount(torch.tensor(written)[:, 0], minlength=262)
    expected = n * probabilities(model, tiny.PROMPTS[0], vector, temperature)
    often = expected >= 10
    assert often.sum() > 20
    statistic = ((found - expected).square() / expected)[often].sum().item()
    assert chi2.sf(statistic, often.sum().item()) > 1e-4


def test_top_p_draws_from_the_likeliest_tokens_alone(model, vector):
    sampling = Sampling(1.3, top_p=0.5, seed=1)
    options = {"max_new_tokens": 1, "sampling": sampling, "batch_size": 500}
    written = generate_ids(model, tiny.PROMPTS[:1] * 1000, vector, **options)
    likely, order = probabilities(model, tiny.PROMPTS[0], vector, 1.3).sort(descending=True)
    allowed = order[: int((likely.cumsum(0) < 0.5).sum()) + 1]
    assert {ids[0] for ids in written} == set(allowed.tolist())


def test_equal_prompts_are_drawn_for_apart_in_one_batch_and_in_several(model):
    for batch_size in (8, 2, 1):
        texts = drawn(model, 0, tiny.PROMPTS[:1] * 8, batch_size=batch_size)
        assert len(set(texts)) == 8
        assert texts == drawn(model, 0, tiny.PROMPTS[:1] * 8, batch_size=batch_size)


def test_what_was_drawn_is_kept_for_its_own_seed_and_row(tmp_path):
    plain = tiny.wrapped("gemma2")
    model = dataclasses.replace(plain, store=Store(tmp_path))
    prompts = tiny.PROMPTS[:1] * 3 + tiny.PROMPTS[1:3]
    expected = drawn(plain, 0, prompts, batch_size=2)
    assert len(set(expected)) == len(prompts)
    assert drawn(model, 0, prompts, batch_size=2) == expected
    again, passes = recorded(model, lambda: drawn(model, 0, prompts, batch_size=2))
    assert again == expected
    assert not passes[0]
    greedy = generate(plain, prompts, max_new_tokens=NEW)
    assert generate(model, prompts, max_new_tokens=NEW) == greedy
    for other in (Sampling(1.5, seed=1), Sampling(1.4), Sampling(1.5, top_p=0.9)):
        options = {"sampling": other, "max_new_tokens": NEW, "batch_size": 2}
        assert generate(model, prompts, **options) == generate(plain, prompts, **options)


OWN = {
    "temperature": 5.0,
    "top_p": 0.01,
    "top_k": 1,
    "min_p": 0.9,
    "typical_p": 0.01,
    "epsilon_cutoff": 0.9,
    "eta_cutoff": 0.9,
    "top_h": 0.01,
    "num_beams": 3,
    "repetition_penalty": 5.0,
}


@pytest.mark.parametrize("name", OWN)
def test_drawing_takes_nothing_from_the_models_files(model, name):
    expected = drawn(model, 0)
    config = model.lm._module.generation_config
    before = getattr(config, name)
    try:
        setattr(config, name, OWN[name])
        assert drawn(model, 0) == expected
    finally:
        setattr(config, name, before)


def test_a_row_whose_logits_are_no_numbers_ends_and_the_others_are_drawn(model):
    expected = drawn(model, 0)

    def spoil(_, __, logits):
        logits[0] = torch.nan

    handle = model.lm._module.lm_head.register_forward_hook(spoil)
    try:
        with pytest.warns(UserWarning, match="1 outputs end early"):
            found = drawn(model, 0)
    finally:
        handle.remove()
    assert found.count("") == 1
    assert sum(one == two for one, two in zip(found, expected, strict=True)) >= 1


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_cannot_be_drawn_at_is_refused(temperature):
    with refused("temperature"):
        Sampling(temperature)


@pytest.mark.parametrize("top_p", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_to_draw_from_that_is_none_is_refused(top_p):
    with refused("top_p"):
        Sampling(top_p=top_p)


def test_a_remote_model_draws_nothing():
    there = dataclasses.replace(tiny.wrapped("llama"), remote="local")
    with refused("sampling"):
        generate(there, tiny.PROMPTS, sampling=Sampling())
    assert generate(there, tiny.PROMPTS, max_new_tokens=2)


def saying(text):
    """Return a model that answers any prompt with a text, and goes on with "~"."""
    module, tokenizer, said = tiny.causal_lm("llama"), tiny.tokenizer(), []
    ids = tokenizer(text + "~" * 99, add_special_tokens=False)["input_ids"]

    def begin(_, inputs):
        if inputs[0].shape[1] > 1:  # a pass that reads a prompt
            said.clear()

    def say(_, __, logits):
        logits[..., ids[len(said)]] = 1e6
        said.append(1)

    module.model.embed_tokens.register_forward_pre_hook(begin)
    module.lm_head.register_forward_hook(say)
    return wrap(module, tokenizer, {}, name="saying")


def test_an_output_ends_before_the_first_text_that_ends_it():
    model, options = saying("Le chat.\nUn chien."), {"max_new_tokens": 20}
    prompts = tiny.PROMPTS[:1]
    assert generate(model, prompts, **options) == ["Le chat.\nUn chien.~~"]
    for stop, expected in [
        ("\n", "Le chat."),
        (["\n"], "Le chat."),
        (["chien", ".", "\n"], "Le chat"),
        (["chien", "\nUn"], "Le chat."),
        ("not there", "Le chat.\nUn chien.~~"),
        ((), "Le chat.\nUn chien.~~"),
        ("Le", ""),
        ("~~", "Le chat.\nUn chien."),
    ]:
        assert generate(model, prompts, stop=stop, **options) == [expected], stop


def test_each_output_ends_at_its_own_end(model, vector):
    whole = generate(model, tiny.PROMPTS, vector, max_new_tokens=12)
    ends = [text[4] for text in whole]
    expected = [min((text.split(end)[0] for end in ends), key=len) for text in whole]
    assert generate(model, tiny.PROMPTS, vector, max_new_tokens=12, stop=ends) == expected
    assert expected != whole


def test_an_empty_text_ends_nothing(model):
    for stop in ("", ["a", ""]):
        with refused("stop"):
            generate(model, tiny.PROMPTS, stop=stop)
