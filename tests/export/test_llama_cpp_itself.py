"""llama.cpp itself, where it is installed, on SmolLM2's own file: it adds what was exported.

``make bench`` compiles it. It multiplies in 8 bits, so its logits differ from
ours without a vector too; with one they must not differ by more, and must change as ours do.
"""

import pytest
import torch

import saif_helpers as saif
from benchmarks.peers import with_llama_cpp
from saif_helpers.export.llama_cpp import control_vector
from saif_helpers.hub import smollm2
from saif_helpers.hub.gguf_files import models_folder

pytest.importorskip("llama_cpp")
TEXT = "What is the weather like today in the mountains?"
NORMS = {1: 30.0, 14: 40.0, 28: 150.0}  # of the vectors, by layer: well seen in the logits


@pytest.fixture(scope="module")
def model():
    return saif.load(smollm2.NAME, saes={}, dtype=torch.float32)


@pytest.fixture(scope="module")
def theirs():
    return with_llama_cpp.loaded(models_folder() / smollm2.FILE, 64, 1)


def vector_of(model, layer):
    numbers = torch.randn(model.d_model, generator=torch.Generator().manual_seed(layer))
    vector = NORMS[layer] * numbers / numbers.norm()
    return saif.SteeringVector(layer, vector, placement="every_position")


def logits_of(theirs, ids, file=None):
    with_llama_cpp.steer(theirs, file)
    theirs.reset()
    theirs.eval(ids)
    return torch.tensor(theirs.scores[: len(ids)])


def tokens(model):
    return model.tokenizer(TEXT, add_special_tokens=False).input_ids


@torch.no_grad()
def ours(model, vector=None):
    if vector is not None:
        with vector.apply(model.hf):
            return ours(model)
    return model.hf(torch.tensor([tokens(model)])).logits[0].float()


def cosine(first, second):
    return torch.cosine_similarity(first.flatten(), second.flatten(), 0).item()


@pytest.mark.parametrize("layer", NORMS)
def test_llama_cpp_changes_its_logits_as_we_change_ours(model, theirs, tmp_path, layer):
    vector, file = vector_of(model, layer), tmp_path / "vector.gguf"
    control_vector(vector, file, model)
    plain, steered = (logits_of(theirs, tokens(model), at) for at in (None, file))
    expected = ours(model, vector)
    without = (plain - ours(model)).abs().max()
    assert (steered - expected).abs().max() < 2 * without
    changed = expected - ours(model)
    assert changed.abs().max() > 3
    assert cosine(steered - plain, changed) > 0.97
    elsewhere = saif.SteeringVector(layer + 1, vector.vector, placement="every_position")
    assert cosine(steered - plain, ours(model, elsewhere) - ours(model)) < 0.95


def test_without_a_vector_llama_cpp_computes_as_before(model, theirs, tmp_path):
    file = tmp_path / "vector.gguf"
    control_vector(vector_of(model, 14), file, model)
    before = logits_of(theirs, tokens(model))
    assert not torch.equal(logits_of(theirs, tokens(model), file), before)
    assert torch.equal(logits_of(theirs, tokens(model)), before)
