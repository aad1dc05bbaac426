"""Models that are not built like Gemma or Llama: GPT-2 and Pythia (GPT-NeoX)."""

import pytest
import tiny
import torch
from refusals import refused
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
)

from saif_helpers.activations import capture, capture_tokens
from saif_helpers.analysis.output_effect import gradient_influence
from saif_helpers.analysis.reconstruction import reconstruction_quality
from saif_helpers.analysis.vocabulary import logit_lens
from saif_helpers.model.architecture import decoder_layers, layers_path
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import tokenize, without_bos
from saif_helpers.placements import PLACEMENTS
from saif_helpers.steering import generate, generate_ids, log_probabilities
from saif_helpers.vectors import SteeringVector

KINDS = ["gpt2", "gpt_neox", "gpt_neox-serial"]
PATHS = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}
LAYER, NEW = 1, 6


def causal_lm(kind):
    """Return a random model whose residual stream is `tiny.D_MODEL` wide."""
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "initializer_range": 0.3}
    if kind == "gpt2":
        sizes = {"n_embd": tiny.D_MODEL, "n_layer": tiny.N_LAYERS, "n_head": 4, "n_positions": 512}
        return GPT2LMHeadModel(GPT2Config(vocab_size=262, **sizes, **ids)).eval()
    config = GPTNeoXConfig(
        vocab_size=262,
        hidden_size=tiny.D_MODEL,
        intermediate_size=64,
        num_hidden_layers=tiny.N_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=512,
        use_parallel_residual=kind == "gpt_neox",
        **ids,
    )
    return GPTNeoXForCausalLM(config).eval()


@pytest.fixture(params=KINDS)
def model(request):
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    return wrap(causal_lm(request.param), tiny.tokenizer(), saes, name=f"tiny-{request.param}")


def direction(seed=0):
    return 6 * torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(seed))


def streams(model, tokens, layers=range(tiny.N_LAYERS)):
    """Return the residual stream after each layer, read with plain hooks."""
    found, handles = {}, []
    for at in layers:
        module = decoder_layers(model.hf)[at]
        keep = lambda _, __, output, at=at: found.update({at: output.clone()})  # noqa: E731
        handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model.hf(**tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def test_the_layers_are_found(model):
    kind = model.name.removeprefix("tiny-").partition("-")[0]
    assert layers_path(model.lm) == PATHS[kind]
    assert len(decoder_layers(model.lm)) == model.n_layers == tiny.N_LAYERS
    assert model.d_model == tiny.D_MODEL


def test_models_whose_blocks_return_more_than_the_stream_are_refused():
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4, "vocab_size": 262}
    with refused("model"):
        wrap(GPTJForCausalLM(GPTJConfig(**sizes)), tiny.tokenizer(), {}, name="gptj")


def test_capture_equals_plain_hooks(model):
    tokens = tokenize(tiny.PROMPTS, model.tokenizer)
    expected = streams(model, tokens)
    found = capture(model, tiny.PROMPTS, range(tiny.N_LAYERS))
    for at in range(tiny.N_LAYERS):
        torch.testing.assert_close(found[at], expected[at][:, -1], atol=1e-5, rtol=1e-5)


def test_every_tokens_stream_equals_plain_hooks(model):
    (prompt,) = tiny.PROMPTS[2:3]
    tokens = tokenize([prompt], model.tokenizer)
    (found,) = capture_tokens(model, [prompt], [0, 2])
    keep = without_bos(tokens, model.tokenizer)
    for at, stream in found.items():
        torch.testing.assert_close(stream, streams(model, tokens)[at][keep], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_steered_generation_equals_plain_hooks(model, placement):
    """Without a cache: the whole text is read anew for each token, steered by the docstring."""
    prompt = tiny.PROMPTS[0]
    vector = SteeringVector(LAYER, direction()).at(placement, decay=0.5)
    tokens = tokenize([prompt], model.tokenizer)
    ids, n = tokens["input_ids"], tokens["input_ids"].shape[1]
    every = {"every_position": 1.0, "generated_tokens": 1.0, "decaying": 0.5}.get(placement, 0.0)
    fading = every if placement == "decaying" else 1.0

    def add(_module, _inputs, output):
        scale = torch.zeros(output.shape[1])
        scale[1:n] = float(placement == "every_position")
        scale[n - 1] = float(placement != "generated_tokens")
        scale[n:] = torch.tensor([every * fading**t for t in range(len(scale) - n)])
        return output + scale[:, None] * vector.vector

    handle = decoder_layers(model.hf)[LAYER].register_forward_hook(add)
    with torch.no_grad():
        for _ in range(NEW):
            logits = model.hf(ids, use_cache=False).logits[0, -1]
            ids = torch.cat([ids, logits.argmax()[None, None]], 1)
    handle.remove()
    assert generate_ids(model, [prompt], vector, max_new_tokens=NEW) == [ids[0, n:].tolist()]


def test_a_batch_equals_its_members_one_by_one(model):
    """Among them equal prompts, which are read once."""
    vector, prompts = SteeringVector(LAYER, direction()), [*tiny.PROMPTS, tiny.PROMPTS[0]]
    plain = generate(model, prompts, max_new_tokens=NEW)
    steered = generate(model, prompts, vector, max_new_tokens=NEW)
    assert steered != plain
    for prompt, text in zip(prompts, steered, strict=True):
        assert generate(model, [prompt], vector, max_new_tokens=NEW) == [text]


def test_log_probabilities_and_reconstruction_are_those_of_the_model(model):
    prompt, answer = tiny.PROMPTS[0], "Yes."
    asked = tokenize([prompt], model.tokenizer)["input_ids"]
    written = model.tokenizer(answer, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model.hf(torch.cat([asked, written], 1)).logits[0, asked.shape[1] - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, written.T)[:, 0]
    found = log_probabilities(model, prompt, answer)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        logits = model.hf(asked).logits[0, 1:-1]  # the first token does not count
    loss = torch.nn.functional.cross_entropy(logits, asked[0, 2:]).item()
    assert reconstruction_quality(model, [prompt], LAYER).loss == pytest.approx(loss, rel=1e-4)


def test_the_logit_lens_is_the_models_own_end(model):
    """At the last layer it gives the logits themselves."""
    tokens = tokenize(tiny.PROMPTS[:1], model.tokenizer)
    last = streams(model, tokens)[tiny.N_LAYERS - 1][0]
    with torch.no_grad():
        expected = model.hf(**tokens).logits[0]
    torch.testing.assert_close(logit_lens(model, last), expected, atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_stream(model):
    found = gradient_influence(model, model.saes[LAYER], tiny.PROMPTS[:2], ["a", "b"], LAYER)
    assert found.shape == (tiny.D_SAE,)
    assert found.any()


@pytest.mark.parametrize("placement", [*PLACEMENTS, slice(-3, None)], ids=str)
def test_apply_equals_generate(model, placement):
    vector = SteeringVector(LAYER, direction()).at(placement, decay=0.5)
    plain = causal_lm(model.name.removeprefix("tiny-"))
    tokens = tokenize(tiny.PROMPTS, model.tokenizer)
    del tokens["position_ids"]
    ends = {"eos_token_id": model.stop_ids, "pad_token_id": model.tokenizer.pad_token_id}
    with vector.apply(plain, model.tokenizer):
        ids = plain.generate(**tokens, do_sample=False, max_new_tokens=NEW, **ends)
    new = model.tokenizer.batch_decode(ids[:, tokens["input_ids"].shape[1] :], True)
    assert new == generate(model, tiny.PROMPTS, vector, max_new_tokens=NEW)
