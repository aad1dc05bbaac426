import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.analysis.trained_vector import trained_vector
from saif_helpers.steering import generate, log_probabilities

PROMPTS, ANSWERS = tiny.PROMPTS[:3], ["Le chat", "La fin", "Les rats"]


@pytest.fixture(scope="module", params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def loss(model, vector):
    """Mean loss of the answers, by another road than the training's."""
    found = [log_probabilities(model, p, a, vector) for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    return -torch.cat(found).mean().item()


@pytest.mark.parametrize("placement", ["last_prompt_token", "generated_tokens", "decaying"])
def test_training_lowers_the_loss_of_the_answers(model, placement):
    how = {"placement": placement, "decay": 0.9}
    vector = trained_vector(model, PROMPTS, ANSWERS, 1, steps=60, rate=0.1, **how)
    assert (vector.layer, vector.placement) == (1, placement)
    assert loss(model, vector) < loss(model, None) - 0.1


def test_a_vector_that_fades_is_trained_where_it_is_added(model):
    """With decay 1e-9 the later tokens are not steered, as with the last prompt token alone."""
    alone = trained_vector(model, PROMPTS, ANSWERS, 0, steps=5)
    faded = trained_vector(model, PROMPTS, ANSWERS, 0, steps=5, placement="decaying", decay=1e-9)
    torch.testing.assert_close(alone.vector, faded.vector)


def test_the_same_seed_trains_the_same_vector_and_no_weight(model):
    model.hf.zero_grad(set_to_none=True)  # other tests share this model
    before = {name: weight.clone() for name, weight in model.hf.named_parameters()}
    options = {"steps": 3, "batch_size": 2}
    first, again = (trained_vector(model, PROMPTS, ANSWERS, 1, **options) for _ in range(2))
    assert torch.equal(first.vector, again.vector)
    assert not torch.equal(
        first.vector, trained_vector(model, PROMPTS, ANSWERS, 1, seed=1, **options).vector
    )
    for name, weight in model.hf.named_parameters():
        assert weight.grad is None
        assert torch.equal(weight, before[name])
    assert len(generate(model, PROMPTS, first, max_new_tokens=3)) == 3


def test_what_cannot_be_trained_is_refused(model):
    with refused("answers"):
        trained_vector(model, PROMPTS, ANSWERS[:1], 0)
    with refused("placement"):
        trained_vector(model, PROMPTS, ANSWERS, 0, placement="every_position")
