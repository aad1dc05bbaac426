import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.activations import capture
from saif_helpers.analysis.output_effect import (
    gradient_influence,
    next_token_changes,
    output_scores,
)
from saif_helpers.analysis.vocabulary import logit_lens
from saif_helpers.latents import encode
from saif_helpers.model.tokens import tokenize
from saif_helpers.ranking import rank_latents

LAYER = 1
ANSWERS = ["Le chat.", "Ja", "x", "42", "?"]


@pytest.fixture(scope="module", params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def next_token_logits(model, prompt, change):
    """Read the logits behind one prompt with a plain hook that adds to the read-out position."""

    def add(_, __, output):
        output = output.clone()
        output[:, -1] += change
        return output

    handle = model.lm._module.model.layers[LAYER].register_forward_hook(add)
    try:
        return model.lm._module(**tokenize([prompt], model.tokenizer)).logits[0, -1].float()
    finally:
        handle.remove()


def test_influence_is_activation_times_the_gradient_of_the_answers_probability(model):
    sae = model.saes[LAYER]
    influence = gradient_influence(model, sae, tiny.PROMPTS, ANSWERS, LAYER, batch_size=2)
    latents = encode(sae, capture(model, tiny.PROMPTS, [LAYER])[LAYER])
    expected = torch.zeros(sae.cfg.d_sae)
    for row, (prompt, answer) in enumerate(zip(tiny.PROMPTS, ANSWERS, strict=True)):
        token = model.tokenizer(answer, add_special_tokens=False)["input_ids"][0]
        change = torch.zeros(model.d_model, requires_grad=True)
        next_token_logits(model, prompt, change).softmax(-1)[token].backward()
        expected += (latents[row] * (sae.W_dec.detach() @ change.grad)).clamp(min=0)
    torch.testing.assert_close(influence, expected / len(ANSWERS), rtol=1e-3, atol=1e-8)
    assert influence.count_nonzero() > 3


def test_no_gradient_is_left_in_the_weights():
    """On a real model it would take as much memory as the model, from then on."""
    model = tiny.wrapped.__wrapped__("gemma2")
    found = gradient_influence(model, model.saes[1], tiny.PROMPTS[:1], ["a"], 1)
    assert not [name for name, w in model.lm._module.named_parameters() if w.grad is not None]
    model.lm._module.requires_grad_(False)  # as `download.load_causal_lm` gives it
    assert torch.equal(gradient_influence(model, model.saes[1], tiny.PROMPTS[:1], ["a"], 1), found)


def test_output_scores_equal_the_definition_worked_out_one_by_one(model):
    sae = model.saes[LAYER]
    activations = encode(sae, capture(model, tiny.PROMPTS, [LAYER])[LAYER])
    ranking = rank_latents(activations, torch.zeros_like(activations))
    latents = ranking.top(3)
    options = {"factor": 4.0, "n_tokens": 5}
    scores = output_scores(
        model, sae, ranking, latents, tiny.PROMPTS[:2], LAYER, **options, batch_size=4
    )
    for latent, score in zip(latents.tolist(), scores.tolist(), strict=True):
        direction = sae.W_dec.detach()[latent]
        own = logit_lens(model, direction[None])[0].topk(5).indices.tolist()
        expected = []
        for prompt in tiny.PROMPTS[:2]:
            logits = next_token_logits(model, prompt, 4.0 * ranking.mean[latent] * direction)
            order = logits.argsort(descending=True).tolist()
            rank = min(order.index(token) for token in own)
            probability = logits.softmax(-1)[own].max().item()
            expected.append((1 - rank / len(order)) * probability)
        assert score == pytest.approx(sum(expected) / 2, rel=1e-3)


def test_next_token_changes_are_the_distances_worked_out_one_by_one(model):
    sae = model.saes[LAYER]
    activations = encode(sae, capture(model, tiny.PROMPTS, [LAYER])[LAYER])
    ranking = rank_latents(activations, torch.zeros_like(activations))
    latents = ranking.top(3)
    how = {"factor": 4.0, "batch_size": 2}
    changes = next_token_changes(model, sae, ranking, latents, tiny.PROMPTS[:2], LAYER, **how)
    for latent, change in zip(latents.tolist(), changes.tolist(), strict=True):
        offset = 4.0 * ranking.mean[latent] * sae.W_dec.detach()[latent]
        expected = []
        for prompt in tiny.PROMPTS[:2]:
            after, before = (
                next_token_logits(model, prompt, each * offset).softmax(-1) for each in (1, 0)
            )
            expected.append((after - before).clamp(min=0).sum().item())
        assert change == pytest.approx(sum(expected) / 2, rel=1e-3, abs=1e-6)
    assert max(changes) > 0


def test_influence_wants_an_answer_for_each_prompt(model):
    with refused("answers"):
        gradient_influence(model, model.saes[0], tiny.PROMPTS[:2], ["Oui"], 0)
    ranking = rank_latents(torch.ones(1, 64), torch.zeros(1, 64))
    with refused("prompts"):
        output_scores(model, model.saes[0], ranking, torch.tensor([0]), [], 0)
    with refused("prompts"):
        next_token_changes(model, model.saes[0], ranking, torch.tensor([0]), [], 0)
