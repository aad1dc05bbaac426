import string

import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.random_controls import random_direction_vector, random_latents_vector
from saif_helpers.ranking import rank_latents
from saif_helpers.steering import generate, generate_ids, text_of
from saif_helpers.study.baselines import first_tokens, force_first_token, most_frequent_first_token
from saif_helpers.vector_rules import saif_vector


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def test_first_tokens_are_those_of_the_tokenizer(model):
    found = first_tokens(model, ["Le chat", " El", "À", ""])
    assert found[-1] is None
    assert [model.tokenizer.decode([token]) for token in found[:-1]] == ["L", " ", "\ufffd"]


def test_the_most_frequent_first_token_is_counted_and_ties_go_to_the_first(model):
    assert most_frequent_first_token(model, ["a", "bc", "b", "c"]) == "b"
    assert most_frequent_first_token(model, ["x", "y", "y", "x"]) == "x"
    assert most_frequent_first_token(model, ["È", "À", "Àa", "x"]) == "À"  # share their first byte
    assert most_frequent_first_token(model, ["", ""]) == ""
    with refused("texts"):
        most_frequent_first_token(model, [])


def test_forcing_a_token_writes_it_and_goes_on_unsteered(model):
    prompts = tiny.PROMPTS[:2]
    outputs = force_first_token(model, prompts, "L", max_new_tokens=6)
    rest = generate(model, [prompt + "L" for prompt in prompts], max_new_tokens=5)
    assert outputs == ["L" + text for text in rest]
    (token,) = first_tokens(model, ["L"])
    assert force_first_token(model, prompts, token, max_new_tokens=6) == outputs
    assert force_first_token(model, prompts, [token, "L"], max_new_tokens=6) == outputs


def test_forcing_nothing_is_generating(model):
    plain = generate(model, tiny.PROMPTS[:2], max_new_tokens=5)
    assert force_first_token(model, tiny.PROMPTS[:2], ["", None], max_new_tokens=6) == plain


def test_forcing_the_models_own_first_token_changes_nothing(model):
    prompts = [f"<bos>{letter}." for letter in string.ascii_letters]
    written = generate_ids(model, prompts, max_new_tokens=6)
    plain = [text_of(model, ids) for ids in written]
    own = first_tokens(model, plain)  # those that were written, where these are text
    same = [token == ids[0] for token, ids in zip(own, written, strict=True)]
    assert sum(same) >= 5
    forced = force_first_token(model, prompts, own, max_new_tokens=6)
    for kept, before, after in zip(same, plain, forced, strict=True):
        assert not kept or before == after


def test_no_special_token_is_forced(model):
    (end,) = model.tokenizer("<end_of_turn>", add_special_tokens=False)["input_ids"]
    for special in ("<end_of_turn>", end, "Le <end_of_turn>"):
        with refused("tokens"):
            force_first_token(model, ["<bos>a"], special)


def test_one_token_for_each_prompt_or_one_for_all(model):
    with refused("tokens"):
        force_first_token(model, ["<bos>a"], ["a", "b"])
    with refused("max_new_tokens"):
        force_first_token(model, ["<bos>a"], "a", max_new_tokens=1)


@pytest.mark.filterwarnings("ignore:k = :UserWarning")  # random samples switch nothing on
def test_random_latents_match_the_norm_and_avoid_the_top_and_the_dead():
    torch.manual_seed(0)
    sae = tiny.sae(0)
    positive, negative = torch.rand(6, 64), torch.rand(6, 64)
    positive[:, :40], negative[:, :40] = 0, 0  # dead on all samples
    ranking = rank_latents(positive, negative)
    real = saif_vector(ranking, sae, 4, 1.0)
    for seed in range(20):
        control = random_latents_vector(ranking, sae, 4, 1.0, seed=seed)
        torch.testing.assert_close(control.vector.norm(), real.vector.norm())
        weights = torch.linalg.lstsq(sae.W_dec.detach()[40:].T, control.vector[:, None])
        drawn = 40 + (weights.solution[:, 0].abs() > 1e-3).nonzero()[:, 0]
        assert len(drawn) == 4
        assert not set(drawn.tolist()) & set(ranking.top(4).tolist())
        alphas = (ranking.mean + ranking.std)[ranking.top(4)].sort().values
        found = weights.solution[drawn - 40, 0].sort().values
        torch.testing.assert_close(found / found.sum(), alphas / alphas.sum(), atol=1e-3, rtol=1e-3)


def test_random_controls_depend_on_the_seed_only():
    sae = tiny.sae(0)
    positive = torch.rand(6, 64, generator=torch.Generator().manual_seed(0))
    ranking = rank_latents(positive, torch.zeros(6, 64))
    one, same, other = (
        random_latents_vector(ranking, sae, 4, seed=seed).vector for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    real = saif_vector(ranking, sae, 4)
    one, same, other = (random_direction_vector(real, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.vector, same.vector)
    assert not torch.equal(one.vector, other.vector)
    assert one.norm == pytest.approx(real.norm)
    assert one.layer == real.layer


def test_too_few_live_latents_are_refused():
    sae = tiny.sae(0)
    positive = torch.zeros(2, 64)
    positive[:, :4] = 1.0
    ranking = rank_latents(positive, torch.zeros(2, 64))
    with refused("k"):
        random_latents_vector(ranking, sae, 3, seed=0)
