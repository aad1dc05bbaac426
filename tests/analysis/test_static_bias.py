import pytest
import tiny
import torch

from saif_helpers.analysis.static_bias import generate_biased, static_bias
from saif_helpers.analysis.vocabulary import logit_lens
from saif_helpers.steering import generate
from saif_helpers.vectors import SteeringVector

PROMPTS = tiny.PROMPTS[:4]


@pytest.fixture(scope="module")
def model():
    return tiny.wrapped("llama")


def vector_of(model, scale):
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(model.d_model, generator=generator)
    return SteeringVector(model.n_layers - 1, scale * direction).at("every_position")


def test_no_bias_is_plain_generation(model):
    nothing = torch.zeros(model.hf.get_output_embeddings().weight.shape[0])
    plain = generate(model, PROMPTS, max_new_tokens=6)
    assert generate_biased(model, PROMPTS, nothing, max_new_tokens=6, batch_size=3) == plain


def test_a_vector_that_outweighs_the_stream_is_a_bias(model):
    """Then the norm's scale hardly matters, and both write what the vector promotes."""
    vector = vector_of(model, 1e4)
    bias = static_bias(model, vector, PROMPTS)
    assert bias.argmax() == logit_lens(model, vector.vector[None]).argmax()
    steered = generate(model, PROMPTS, vector, max_new_tokens=4)
    assert generate_biased(model, PROMPTS, bias, max_new_tokens=4) == steered


def test_the_bias_is_linear_in_the_vector(model):
    one, three = (static_bias(model, vector_of(model, scale), PROMPTS) for scale in (1.0, 3.0))
    torch.testing.assert_close(3 * one, three, rtol=1e-3, atol=1e-5)


def test_the_first_token_alone_can_be_biased(model):
    vector = vector_of(model, 1e4)
    bias = static_bias(model, vector, PROMPTS)
    first = generate_biased(model, PROMPTS, bias, decay=0.0, max_new_tokens=4)
    placed = vector.at("last_prompt_token")
    assert first == generate(model, PROMPTS, placed, max_new_tokens=4)


def test_a_fading_bias_writes_what_a_fading_vector_does(model):
    vector = vector_of(model, 1e4)
    bias = static_bias(model, vector, PROMPTS)
    faded = generate_biased(model, PROMPTS, bias, decay=0.5, max_new_tokens=4)
    assert faded == generate(model, PROMPTS, vector.at("decaying", 0.5), max_new_tokens=4)
