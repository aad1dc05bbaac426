import warnings
from dataclasses import replace

import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.generation import decoding
from saif_helpers.latents import decode, encode
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import tokenize, without_bos
from saif_helpers.placements import PLACEMENTS
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.vectors import ClampedLatents, SteeringVector

LAYER = 1
NEW = 6
DECAY = 0.5


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


@pytest.fixture
def vector():
    return SteeringVector(LAYER, 8 * direction(0), "random")


def direction(seed):
    return torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(seed))


def weak(layer=LAYER, seed=1):
    return SteeringVector(layer, 1e-3 * direction(seed), "too weak to change a token")


def recorded(model, run):
    """Return what `run` returns, and each layer's output in each pass, read with plain hooks."""
    passes = {layer: [] for layer in range(tiny.N_LAYERS)}
    handles = [
        model.lm._module.model.layers[layer].register_forward_hook(
            lambda _, __, output, layer=layer: passes[layer].append(output.clone())
        )
        for layer in passes
    ]
    try:
        return run(), passes
    finally:
        for handle in handles:
            handle.remove()


def expected_weights(tokens, placement, n_passes, tokenizer):
    """Write the docstring's table out: weight of every row and position, in every pass."""
    text, rows = without_bos(tokens, tokenizer), len(tokens["input_ids"])
    read_out = torch.zeros(text.shape)
    read_out[:, -1] = 1
    prompt = {
        "last_prompt_token": read_out,
        "every_position": text.float(),
        "generated_tokens": torch.zeros(text.shape),
        "decaying": read_out,
    }[placement]
    later = {
        "last_prompt_token": lambda t: 0.0,
        "every_position": lambda t: 1.0,
        "generated_tokens": lambda t: 1.0,
        "decaying": lambda t: DECAY**t,
    }[placement]
    return [prompt] + [torch.full((rows, 1), later(t)) for t in range(1, n_passes)]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_strength_0_equals_no_steering_token_for_token(model, vector, placement):
    vector = vector.at(placement)
    plain = generate(model, tiny.PROMPTS, max_new_tokens=NEW)
    assert generate(model, tiny.PROMPTS, vector.scaled(0.0), max_new_tokens=NEW) == plain
    assert generate(model, tiny.PROMPTS, vector, max_new_tokens=NEW) != plain


def test_no_steering_equals_transformers_own_generation(model):
    module = tiny.causal_lm(model.name.removeprefix("tiny-"))
    for prompt, text in zip(
        tiny.PROMPTS, generate(model, tiny.PROMPTS, max_new_tokens=NEW), strict=True
    ):
        ids = model.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        alone = module.generate(ids, do_sample=False, max_new_tokens=NEW, eos_token_id=[1, 5])
        assert text == model.tokenizer.decode(alone[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_batch_equals_its_members_one_by_one(model, vector, placement):
    vector = vector.at(placement, DECAY)
    together = generate(model, tiny.PROMPTS, vector, max_new_tokens=NEW)
    assert generate(model, tiny.PROMPTS, vector, batch_size=2, max_new_tokens=NEW) == together
    for prompt, text in zip(tiny.PROMPTS, together, strict=True):
        assert generate(model, [prompt], vector, max_new_tokens=NEW) == [text]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_vector_is_added_where_and_only_where_the_placement_says(model, placement):
    """Exact: so weak a vector changes no token, so both runs read the same ones."""
    vector = weak().at(placement, DECAY)
    prompts = sorted(tiny.PROMPTS, key=lambda p: len(model.tokenizer(p).input_ids))
    plain_texts, plain = recorded(model, lambda: generate(model, prompts, max_new_tokens=NEW))
    texts, steered = recorded(model, lambda: generate(model, prompts, vector, max_new_tokens=NEW))
    assert texts == plain_texts
    tokens = tokenize(prompts, model.tokenizer)
    weights = expected_weights(tokens, placement, NEW, model.tokenizer)
    assert [len(passes) for passes in steered.values()] == [NEW] * tiny.N_LAYERS
    for step in range(NEW):
        for before in range(LAYER):
            assert torch.equal(steered[before][step], plain[before][step])
        added = weights[step][:, :, None] * vector.vector
        assert torch.equal(steered[LAYER][step], plain[LAYER][step] + added)
        moved = (steered[LAYER][step] != plain[LAYER][step]).any(-1)
        assert torch.equal(moved, weights[step] != 0)
    assert not torch.equal(steered[LAYER + 1][-1], plain[LAYER + 1][-1])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_position_is_steered_exactly_once_under_the_cache(model, vector, placement):
    """The cached run, pass by pass, equals one pass over the whole text without a cache."""
    prompt, vector = tiny.PROMPTS[2], vector.at(placement, DECAY)
    module, tokens = model.lm._module, tokenize([prompt], model.tokenizer)
    seen = []
    handle = module.model.embed_tokens.register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].clone())
    )
    try:
        _, cached = recorded(model, lambda: generate(model, [prompt], vector, max_new_tokens=NEW))
    finally:
        handle.remove()
    assert [ids.shape[1] for ids in seen] == [tokens["input_ids"].shape[1]] + [1] * (NEW - 1)
    weights = torch.cat(expected_weights(tokens, placement, NEW, model.tokenizer), 1)
    handle = module.model.layers[LAYER].register_forward_hook(
        lambda _, __, output: output + weights[:, :, None] * vector.vector
    )
    try:
        with torch.no_grad():
            _, whole = recorded(model, lambda: module(torch.cat(seen, 1), use_cache=False))
    finally:
        handle.remove()
    for layer in range(tiny.N_LAYERS):
        torch.testing.assert_close(
            torch.cat(cached[layer], 1), whole[layer][0], atol=1e-3, rtol=1e-3
        )


def test_rows_may_have_vectors_of_their_own_and_layers_of_their_own(model):
    everywhere = {"placement": "every_position"}
    vectors = [
        SteeringVector(0, 8 * direction(1), "a", **everywhere),
        None,
        SteeringVector(2, 8 * direction(2), "b", **everywhere),
        SteeringVector(1, 8 * direction(3), "c", **everywhere),
        SteeringVector(2, 8 * direction(4), "d", **everywhere),
    ]
    together = generate(model, tiny.PROMPTS, vectors, batch_size=3, max_new_tokens=NEW)
    for prompt, vector, text in zip(tiny.PROMPTS, vectors, together, strict=True):
        assert generate(model, [prompt], vector, max_new_tokens=NEW) == [text]


def stopping_at(kind, prompt, n_tokens):
    """Return a model that ends with the `n_tokens`-th token it says, and what it says till then."""
    model = tiny.wrapped(kind)
    ids = model.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    new = model.lm._module.generate(ids, do_sample=False, max_new_tokens=n_tokens)[
        0, ids.shape[1] :
    ]
    assert new[-1] not in new[:-1]
    module = tiny.causal_lm(kind)
    module.generation_config.eos_token_id = [1, new[-1].item()]
    return wrap(module, tiny.tokenizer(), {}, name="stopping"), model.tokenizer.decode(new)


@pytest.mark.parametrize("kind", ["gemma2", "llama"])
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("n_tokens", [1, 3])
def test_an_early_end_neither_warns_nor_raises(kind, placement, n_tokens):
    prompt = tiny.PROMPTS[0]
    model, expected = stopping_at(kind, prompt, n_tokens)
    vector = weak().at(placement)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts, passes = recorded(
            model, lambda: generate(model, [prompt], vector, max_new_tokens=30)
        )
    assert len(passes[0]) == n_tokens
    assert texts == [expected]


def test_rows_that_end_early_do_not_disturb_the_others(vector):
    model, expected = stopping_at("llama", tiny.PROMPTS[0], 2)
    vector = vector.scaled(1e-4).at("generated_tokens")
    together = generate(model, tiny.PROMPTS, vector, max_new_tokens=12)
    assert together[0] == expected
    assert [generate(model, [p], vector, max_new_tokens=12)[0] for p in tiny.PROMPTS] == together
    assert max(len(text) for text in together) > len(expected)


@pytest.mark.parametrize("leaving", [1, 2, 8])
def test_rows_that_have_ended_leave_the_batch_when_they_are_enough(monkeypatch, leaving):
    monkeypatch.setattr(decoding, "LEAVING", leaving)
    model, _ = stopping_at("gemma2", tiny.PROMPTS[0], 2)
    alone = [generate(model, [p], max_new_tokens=12)[0] for p in tiny.PROMPTS]
    prompts = [p for p in tiny.PROMPTS for _ in range(2)]
    texts, passes = recorded(model, lambda: generate(model, prompts, max_new_tokens=12))
    rows = [len(output) for output in passes[0] if output.shape[1] == 1]
    assert texts == [text for text in alone for _ in range(2)]
    assert rows[0] == len(prompts)
    assert (rows[-1] < len(prompts)) == (leaving <= 2)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_equal_prompts_are_read_once_and_written_as_if_alone(model, placement):
    """All but the last token: that one is steered, and so is every one in "every_position"."""
    vectors = [
        SteeringVector(LAYER, 8 * direction(seed), placement=placement, decay=DECAY)
        for seed in range(4)
    ]
    prompts = [tiny.PROMPTS[0]] * 3 + [tiny.PROMPTS[2]]
    options = {"max_new_tokens": NEW}
    texts, passes = recorded(model, lambda: generate(model, prompts, vectors, **options))
    alone = [generate(model, [p], v, **options)[0] for p, v in zip(prompts, vectors, strict=True)]
    assert texts == alone
    assert len(set(texts)) > 1
    length = tokenize(prompts, model.tokenizer)["input_ids"].shape[1]
    first = [tuple(output.shape[:2]) for output in passes[0][:2]]
    read = (4, length) if placement == "every_position" else (2, length - 1)
    assert first == [read, (4, 1)]


@pytest.mark.parametrize(("token", "n_passes"), [(4, 5), (5, 1)])
def test_special_tokens_are_left_out_and_the_end_of_the_turn_ends(model, token, n_passes):
    """A model that says <start_of_turn> goes on, one that says <end_of_turn> has ended."""

    def say(_, __, logits):
        logits[..., token] = 1e6

    handle = model.lm._module.lm_head.register_forward_hook(say)
    try:
        texts, passes = recorded(model, lambda: generate(model, tiny.PROMPTS, max_new_tokens=5))
    finally:
        handle.remove()
    assert texts == [""] * len(tiny.PROMPTS)
    assert len(passes[0]) == n_passes


class Interruption(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), Interruption()])
@pytest.mark.parametrize("at_pass", [1, 3])
def test_after_an_exception_or_interrupt_nothing_stays_attached(model, vector, error, at_pass):
    module = model.lm._module
    plain = generate(model, tiny.PROMPTS, max_new_tokens=NEW)
    steered = generate(model, tiny.PROMPTS, vector, max_new_tokens=NEW)
    passes = []

    def interrupt(*_):
        passes.append(1)
        if len(passes) == at_pass:
            raise error

    handle = module.model.layers[2].register_forward_hook(interrupt)
    try:
        with pytest.raises(type(error)):
            generate(model, tiny.PROMPTS, vector.at("every_position"), max_new_tokens=NEW)
    finally:
        handle.remove()
    assert len(passes) == at_pass
    assert model.lm.interleaver.mediators == []
    assert not model.lm.interleaver.interleaving
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    tokens = tokenize(tiny.PROMPTS, model.tokenizer)
    untouched = tiny.causal_lm(model.name.removeprefix("tiny-"))
    with torch.no_grad():
        assert torch.equal(module(**tokens).logits, untouched(**tokens).logits)
    assert generate(model, tiny.PROMPTS, max_new_tokens=NEW) == plain
    assert generate(model, tiny.PROMPTS, vector, max_new_tokens=NEW) == steered


def test_wrong_arguments_are_refused_before_anything_runs(model, vector):
    far = SteeringVector(3, vector.vector, "far")
    with refused("layer"):
        generate(model, tiny.PROMPTS, far)
    with refused("vector"):
        generate(model, tiny.PROMPTS, SteeringVector(1, torch.ones(7), "short"))
    with refused("steering"):
        generate(model, tiny.PROMPTS, [vector, None])
    with refused("max_new_tokens"):
        generate(model, tiny.PROMPTS, vector, max_new_tokens=0)


def clamp(model, strength=1.0, sae=None):
    latents = torch.tensor([3, 17, 40])
    values = strength * torch.tensor([2.0, 0.5, 3.0])
    return ClampedLatents(
        LAYER, model.saes[LAYER] if sae is None else sae, latents, values, "clamped"
    )


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_clamped_latents_are_moved_to_their_values_where_the_placement_says(model, placement):
    """In the first pass, which both share: weight * sum_j (value_j - a_j) W_dec[j]."""
    at = clamp(model).at(placement, DECAY)
    prompts = sorted(tiny.PROMPTS, key=lambda p: len(model.tokenizer(p).input_ids))
    sae = model.saes[LAYER]
    _, plain = recorded(model, lambda: generate(model, prompts, max_new_tokens=2))
    _, steered = recorded(model, lambda: generate(model, prompts, at, max_new_tokens=2))
    weight = expected_weights(tokenize(prompts, model.tokenizer), placement, 1, model.tokenizer)[0]
    gap = at.values - encode(sae, plain[LAYER][0])[..., at.latents]
    change = weight[:, :, None] * (gap @ sae.W_dec.detach()[at.latents])
    torch.testing.assert_close(steered[LAYER][0], plain[LAYER][0] + change, rtol=1e-4, atol=1e-4)
    assert torch.equal(steered[0][0], plain[0][0])


def test_a_clamp_may_replace_the_stream_by_what_the_sae_decodes(model):
    """z' = decode(a(z), with the values for the clamped latents), as published code often does."""
    at = replace(clamp(model), keep_error=False)
    sae = model.saes[LAYER]
    _, plain = recorded(model, lambda: generate(model, tiny.PROMPTS[:1], max_new_tokens=2))
    _, steered = recorded(model, lambda: generate(model, tiny.PROMPTS[:1], at, max_new_tokens=2))
    activations = encode(sae, plain[LAYER][0][0, -1])
    activations[at.latents] = at.values
    expected = plain[LAYER][0].clone()
    expected[0, -1] = decode(sae, activations)
    torch.testing.assert_close(steered[LAYER][0], expected, rtol=1e-4, atol=1e-4)


def test_clamps_vectors_and_nothing_share_a_batch(model, vector):
    decoded = replace(clamp(model), keep_error=False)
    mixed = [clamp(model), vector, None, clamp(model, 4.0), decoded]
    mixed = [one and one.at("decaying") for one in mixed]
    together = generate(model, tiny.PROMPTS, mixed, max_new_tokens=NEW)
    for prompt, one, text in zip(tiny.PROMPTS, mixed, together, strict=True):
        assert generate(model, [prompt], one, max_new_tokens=NEW) == [text]
    assert generate(model, tiny.PROMPTS, mixed[3], max_new_tokens=NEW) != generate(
        model, tiny.PROMPTS, max_new_tokens=NEW
    )


def test_a_scaled_clamp_has_scaled_values():
    made = ClampedLatents(0, tiny.sae(0), torch.tensor([1]), torch.tensor([2.0]), "one")
    assert made.scaled(3.0).values.tolist() == [6.0]
    assert made.scaled(0.0).norm == 0.0
    assert made.norm == pytest.approx(2.0, rel=1e-4)


def test_latents_of_two_saes_of_a_layer_are_refused(model):
    two = [clamp(model), clamp(model, sae=tiny.sae(LAYER))]
    with refused("steering"):
        generate(model, tiny.PROMPTS[:2], two)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_log_probabilities_are_the_models_own_with_the_vector_added(model, vector, placement):
    """The reference adds the docstring's weights with a plain hook, in one pass."""
    prompt, output = tiny.PROMPTS[2], "Le chat."
    tokens = tokenize([prompt], model.tokenizer)
    written = model.tokenizer(output, add_special_tokens=False, return_tensors="pt").input_ids
    n = written.shape[1]
    weights = expected_weights(tokens, placement, n + 1, model.tokenizer)
    weights = torch.cat(weights, 1)[:, :, None]
    module = model.lm._module
    handle = module.model.layers[LAYER].register_forward_hook(
        lambda _, __, residual: residual + weights * vector.vector
    )
    try:
        with torch.no_grad():
            logits = module(torch.cat([tokens["input_ids"], written], 1), use_cache=False).logits
    finally:
        handle.remove()
    expected = logits[0, -n - 1 : -1].log_softmax(-1)[range(n), written[0]]
    found = log_probabilities(model, prompt, output, vector.at(placement, DECAY))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_strength_0_gives_exactly_the_log_probabilities_of_no_steering(model, vector, placement):
    plain = log_probabilities(model, tiny.PROMPTS[0], "Le chat.")
    vector = vector.at(placement)
    off = log_probabilities(model, tiny.PROMPTS[0], "Le chat.", vector.scaled(0.0))
    assert torch.equal(off, plain)
    on = log_probabilities(model, tiny.PROMPTS[0], "Le chat.", vector)
    assert not torch.equal(on, plain)
    assert len(plain) == len("Le chat.")
    assert len(log_probabilities(model, tiny.PROMPTS[0], "", vector)) == 0


def test_a_prompt_of_one_token_goes_on(model):
    (text,) = generate(model, ["<bos>"], max_new_tokens=3)
    assert generate(model, ["<bos>", "<bos>"], max_new_tokens=3) == [text, text]
    ids = torch.tensor([[2]])
    with torch.no_grad():
        for _ in range(3):
            logits = model.lm._module(ids).logits[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    assert text == model.tokenizer.decode(ids[0, 1:], skip_special_tokens=True)


NOT_GREEDY = {
    "cache_implementation": "static",
    "num_beams": 3,
    "stop_strings": ["x"],
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(6, 150)),
    "min_new_tokens": 4,
}


@pytest.mark.parametrize("name", NOT_GREEDY)
def test_greedy_decoding_takes_nothing_else_from_the_models_files(model, name):
    greedy = generate(model, tiny.PROMPTS, max_new_tokens=12)
    config = model.lm._module.generation_config
    before = getattr(config, name)
    try:
        setattr(config, name, NOT_GREEDY[name])
        assert generate(model, tiny.PROMPTS, max_new_tokens=12) == greedy
    finally:
        setattr(config, name, before)
