"""Control vectors of llama.cpp, read back with gguf as llama.cpp reads them."""

import gguf
import numpy as np
import pytest
import tiny
import torch

from saif_helpers.export.llama_cpp import control_vector
from saif_helpers.vectors import ClampedLatents, SteeringVector

VECTOR = SteeringVector(2, torch.randn(tiny.D_MODEL), "random", placement="every_position")
HUGE = torch.full((tiny.D_MODEL,), 1e300, dtype=torch.float64)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "vector.gguf"


def as_llama_cpp_reads(file, n_layers):
    """Return what is added after each layer, by the arithmetic of llama.cpp's loader and graph."""
    data = np.zeros(0, np.float32)
    for tensor in gguf.GGUFReader(file).tensors:
        kind, _, number = tensor.name.partition(".")
        place = int(number)
        assert kind == "direction"
        assert place > 0, "invalid (zero) direction tensor layer index"
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert len(tensor.shape) == 1
        width = len(tensor.data)
        data = np.pad(data, (0, max(0, place * width - len(data))))
        data[(place - 1) * width : place * width] += tensor.data
    return {
        layer: data[(layer - 1) * width : layer * width]
        for layer in range(1, n_layers)
        if layer * width <= len(data)
    }


@pytest.mark.parametrize("layer", [1, 2])
def test_llama_cpp_adds_the_vector_after_its_layer(file, layer):
    vector = SteeringVector(layer, VECTOR.vector, placement="every_position").scaled(2.5)
    control_vector(vector, file, tiny.wrapped("llama"))
    added = as_llama_cpp_reads(file, tiny.N_LAYERS)
    for at, numbers in added.items():
        expected = vector.vector.numpy() if at == layer else np.zeros(tiny.D_MODEL)
        assert np.array_equal(numbers, expected)
    assert layer in added


def test_the_file_says_what_it_is(file):
    plain = tiny.causal_lm("gemma2")
    control_vector(VECTOR, file, plain)
    reader = gguf.GGUFReader(file)
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "gemma2"
    assert reader.get_field("controlvector.layer_count").contents() == 1
    assert reader.get_field("general.description").contents() == str(VECTOR)
    assert [tensor.name for tensor in reader.tensors] == ["direction.2"]


def test_numbers_of_other_dtypes_become_those_of_float32(file):
    half = SteeringVector(1, VECTOR.vector.bfloat16(), placement="every_position")
    control_vector(half, file, tiny.wrapped("llama"))
    (tensor,) = gguf.GGUFReader(file).tensors
    assert np.array_equal(tensor.data, half.vector.float().numpy())


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (VECTOR.at("last_prompt_token"), "added at: .*last prompt token.* at every position"),
        (VECTOR.at("generated_tokens"), r"export vector\.at\('every_position'\)"),
        (VECTOR.at("decaying"), "decaying by 0.8"),
        (VECTOR.at(slice(1, None)), "prompt tokens 1 to the end"),
        (VECTOR.at((True,)), "1 of 1 prompt tokens"),
        (SteeringVector(0, VECTOR.vector, placement="every_position"), "layer 0.*cannot steer"),
        (SteeringVector(3, VECTOR.vector, placement="every_position"), "layer 3; .* layers 0-2"),
        (SteeringVector(1, torch.ones(5), placement="every_position"), "has 5 entries"),
        (
            SteeringVector(1, HUGE, placement="every_position"),
            r"not finite in torch\.float32",
        ),
        (
            ClampedLatents(
                1, tiny.sae(1), torch.tensor([3]), torch.ones(1), placement="every_position"
            ),
            "depends on the residual stream",
        ),
    ],
    ids=str,
)
def test_what_llama_cpp_cannot_do_is_refused(file, vector, message):
    with pytest.raises(ValueError, match=message):
        control_vector(vector, file, tiny.wrapped("llama"))
    assert not file.exists()
