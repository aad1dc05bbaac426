import weakref
from dataclasses import replace

import pytest
import tiny
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from saif_helpers.activations import capture, capture_tokens
from saif_helpers.analysis.contexts import top_contexts
from saif_helpers.analysis.output_effect import gradient_influence
from saif_helpers.analysis.reconstruction import reconstruction_quality
from saif_helpers.analysis.side_effects import output_loss
from saif_helpers.cache.store import Store
from saif_helpers.generation import interventions
from saif_helpers.model.assemble import wrap
from saif_helpers.model.batching import default_batch_size
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.steering import generate
from saif_helpers.vectors import ClampedLatents, SteeringVector

VECTOR = SteeringVector(1, torch.ones(tiny.D_MODEL), "ones")
LOOPS = {
    "capture": lambda model, size: capture(model, tiny.PROMPTS, [0, 2], size),
    "capture_tokens": lambda model, size: list(capture_tokens(model, tiny.PROMPTS, [2], size)),
    "contexts": lambda model, size: top_contexts(model, tiny.PROMPTS, 1, [0, 3], batch_size=size),
    "generate": lambda model, size: generate(
        model, tiny.PROMPTS, VECTOR.at("decaying"), max_new_tokens=8, batch_size=size
    ),
    "gradients": lambda model, size: gradient_influence(
        model, model.saes[1], tiny.PROMPTS, ["a", "b", "c", "d", "e"], 1, size
    ),
    "quality": lambda model, size: reconstruction_quality(model, tiny.PROMPTS, 1, batch_size=size),
}


@pytest.fixture
def model():
    return tiny.wrapped("gemma2")


@pytest.fixture
def small_memory(model, request):
    """Let a layer run out of memory if it gets more than so many rows; keep what it had then."""
    failed = []

    def hook(_, __, output):
        if len(output) > request.param:
            failed.append(weakref.ref(output))
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert not any(each() is not None for each in failed), "the failed pass is still in memory"

    handle = model.lm._module.model.layers[0].register_forward_hook(hook)
    yield failed
    handle.remove()


@pytest.mark.parametrize("small_memory", [3], indirect=True)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_goes_on_with_smaller_batches_from_the_same_prompt(model, small_memory, loop):
    """Exact: 5 prompts do not fit, so all of them go two at a time."""
    expected = LOOPS[loop](model, 2)
    with pytest.warns(UserWarning, match="5 prompts did not fit into memory; continuing with 2"):
        found = LOOPS[loop](model, None)
    assert len(small_memory) == (2 if loop == "quality" else 1)  # it goes over the texts twice
    if loop.startswith(("capture", "gradients")):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
    else:
        assert found == expected


@pytest.mark.parametrize("small_memory", [3], indirect=True)
def test_losses_of_outputs_go_on_too(model, small_memory):
    outputs = ["a cat", "b", "", "d", "the end"]
    expected = output_loss(model, tiny.PROMPTS, outputs, batch_size=2)
    with pytest.warns(UserWarning, match="losses: 4 prompts did not fit .*; continuing with 2"):
        found = output_loss(model, tiny.PROMPTS, outputs)
    torch.testing.assert_close(found, expected, atol=0, rtol=0, equal_nan=True)
    assert len(small_memory) == 1


@pytest.mark.parametrize("small_memory", [3], indirect=True)
def test_the_smaller_batches_are_kept(model, small_memory, tmp_path):
    keeping = replace(model, store=Store(tmp_path))
    with pytest.warns(UserWarning, match="continuing with 2"):
        found = LOOPS["generate"](keeping, None)
    assert len(keeping.store) == 3
    assert LOOPS["generate"](keeping, None) == found
    assert len(small_memory) == 1  # nothing was computed that could have failed


@pytest.mark.parametrize("small_memory", [0], indirect=True)
@pytest.mark.parametrize(
    ("loop", "given"), [("capture", r"layers \[0, 2\]"), ("generate", r"new_tokens=8.*\[1\]")]
)
@pytest.mark.filterwarnings("ignore:.*did not fit into memory")
def test_one_prompt_that_does_not_fit_is_an_error_that_says_what_to_do(
    model, small_memory, loop, given
):
    said = rf"{loop}: a single prompt of 7 tokens does not fit .*{given}.* use shorter prompts"
    with pytest.raises(torch.OutOfMemoryError, match=said):
        LOOPS[loop](model, None)
    assert len(small_memory) == 3  # 5, 2 and 1


def test_memory_may_run_out_in_the_intervention_too(model, monkeypatch):
    sae = model.saes[1]
    clamp = ClampedLatents(1, sae, torch.tensor([3, 5]), torch.tensor([9.0, 2.0]), "two")
    encode = interventions.encode

    def encode_little(sae, residual):
        if len(residual) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(sae, residual)

    expected = generate(model, tiny.PROMPTS, clamp, max_new_tokens=4, batch_size=2)
    monkeypatch.setattr(interventions, "encode", encode_little)
    with pytest.warns(UserWarning, match="continuing with 2 at a time"):
        assert generate(model, tiny.PROMPTS, clamp, max_new_tokens=4) == expected


@pytest.fixture(scope="module")
def gemma_2b():
    """Gemma 2 2B as configured by default, without its weights."""
    with torch.device("meta"):
        module = Gemma2ForCausalLM(Gemma2Config(dtype=torch.bfloat16)).to(torch.bfloat16)
    return wrap(module, tiny.tokenizer(), {}, name="gemma-2-2b")


@pytest.mark.parametrize(
    ("free", "unused", "n_tokens", "options", "expected"),
    [
        (9.0, 0.0, 200, {"new_tokens": 40}, 128),  # the example of the docstring
        (7.0, 2.0, 200, {"new_tokens": 40}, 128),  # what torch holds and does not use is free too
        (9.0, 0.0, 200, {}, 256),
        (9.0, 0.0, 200, {"largest": 64}, 64),
        (9.0, 0.0, 200, {"all_logits": True}, 8),
        (9.0, 0.0, 4000, {"new_tokens": 40}, 4),
        (0.01, 0.0, 200, {}, 1),
    ],
)
def test_the_default_batch_size_follows_free_memory(
    gemma_2b, monkeypatch, free, unused, n_tokens, options, expected
):
    monkeypatch.setattr(ModelWithSAEs, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * 1e9), int(15e9)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: int((unused + 5) * 1e9))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: int(5e9))
    assert default_batch_size(gemma_2b, n_tokens, **options) == expected


def test_the_default_batch_size_without_a_gpu_is_fixed(model):
    assert default_batch_size(model, 1000) == 64
    assert default_batch_size(model, 1000, without_gpu=128) == 128
