import pytest
import tiny
import torch
from refusals import refused
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from test_ranking import NEGATIVE, POSITIVE

from saif_helpers.ranking import rank_latents
from saif_helpers.study.settings import SteeringSetting
from saif_helpers.vector_rules import (
    mean_difference_vector,
    saif_vector,
    signed_latents_vector,
    steering_vector,
)
from saif_helpers.vectors import SteeringVector


@pytest.fixture
def ranking():
    """Order 0, 1, 4, 2, 3; means 2, 1.5, 5, 0, 1; negative means 0, .75, 3, 0, 1."""
    return rank_latents(POSITIVE, NEGATIVE)


@pytest.fixture
def sae():
    """An SAE of five latents whose decoder rows are the unit vectors times 1, 10, 100..."""
    made = tiny.sae(1, d_in=5, d_sae=5)
    made.W_dec.data = torch.diag(torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]))
    return made


def test_saif_vector_equals_the_hand_worked_sum(ranking, sae):
    vector = saif_vector(ranking, sae, k=2)
    assert vector.vector.tolist() == [2.0, 15.0, 0.0, 0.0, 0.0]
    assert vector.layer == 1
    with_beta = saif_vector(ranking, sae, k=3, beta=2.0).vector
    expected = [2 + 2 * 3**0.5, 10 * (1.5 + 2 * 2.75**0.5), 0, 0, 10000 * (1 + 2 * 1.5**0.5)]
    torch.testing.assert_close(with_beta, torch.tensor(expected))


def test_mean_difference():
    positive, negative = (
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        torch.tensor([[0.0, 0.0], [2.0, 0]]),
    )
    vector = mean_difference_vector({2: positive}, {2: negative}, layer=2)
    assert vector.vector.tolist() == [1.0, 3.0]
    assert vector.layer == 2


def test_signed_mean_difference_takes_the_largest_changes_in_either_direction(sae):
    positive, negative = torch.tensor([[0.0, 3.0, 1.0, 2.0, 0.0]]), torch.zeros(1, 5)
    negative[0, 0] = 4.0
    vector = signed_latents_vector(rank_latents(positive, negative), sae, k=2)
    assert vector.vector.tolist() == [-4.0, 30.0, 0.0, 0.0, 0.0]


def test_the_default_rule_is_the_signed_one_and_the_papers_is_asked_for(ranking, sae):
    signed = signed_latents_vector(ranking, sae, 2).vector
    assert torch.equal(steering_vector(ranking, sae, 2).vector, signed)
    by_paper = saif_vector(ranking, sae, 2, 1.0).vector
    assert not torch.equal(signed, saif_vector(ranking, sae, 2).vector)
    assert torch.equal(steering_vector(ranking, sae, 2, rule="paper", beta=1.0).vector, by_paper)
    with refused("beta"):
        steering_vector(ranking, sae, 2, beta=1.0)


def test_a_scaled_vector_says_by_how_much_in_all():
    vector = SteeringVector(1, torch.tensor([1.0, -2.0]), "made by hand").scaled(0.5)
    assert vector.vector.tolist() == [0.5, -1.0]
    assert str(vector) == "made by hand (layer 1, last prompt token, strength 0.5)"
    again = vector.scaled(6.0)
    assert again.vector.tolist() == [3.0, -6.0]
    assert again.strength == 3.0


def test_an_sae_whose_decoder_is_in_other_units_is_refused(ranking, sae):
    for how in ("expected_average_only_in", "layer_norm", "constant_norm_rescale"):
        config = JumpReLUSAEConfig(d_in=5, d_sae=5, normalize_activations=how)
        with refused("sae"):
            saif_vector(ranking, JumpReLUSAE(config), 1, layer=0)
    rescaled = TopKSAE(TopKSAEConfig(d_in=5, d_sae=5, k=2, rescale_acts_by_decoder_norm=True))
    with refused("sae"):
        saif_vector(ranking, rescaled, 1, layer=0)


def test_a_folded_scale_gives_the_vector_in_residual_units(ranking):
    """The decoder of a folded SAE maps a latent's activation to what it adds to the stream."""
    config = JumpReLUSAEConfig(d_in=5, d_sae=5, normalize_activations="expected_average_only_in")
    folded = JumpReLUSAE(config)
    folded.fold_activation_norm_scaling_factor(4.0)
    vector = saif_vector(ranking, folded, 1, layer=0).vector
    latents = torch.zeros(1, 5)
    latents[0, 0] = 2.0  # latent 0 is the best, its mean 2
    with torch.no_grad():
        added = folded.decode(latents) - folded.decode(0 * latents)
    torch.testing.assert_close(vector, added[0])


def test_the_ranking_must_be_of_the_same_sae(ranking):
    with refused("sae"):
        saif_vector(ranking, tiny.sae(0), 1)


def test_an_sae_steers_the_layer_that_it_was_trained_on(ranking, sae):
    named = saif_vector(ranking, sae, 1).layer
    assert saif_vector(ranking, sae, 1, layer=named).layer == named
    with refused("layer"):
        saif_vector(ranking, sae, 1, layer=7)


def test_the_layer_comes_from_the_sae_or_from_the_caller(ranking, sae):
    sae.cfg.metadata.hook_name = None
    with refused("layer"):
        saif_vector(ranking, sae, 1)
    assert saif_vector(ranking, sae, 1, layer=4).layer == 4


def test_a_setting_takes_no_vector_of_another_layer():
    """It would steer there, and every table would name this one."""
    setting = SteeringSetting(layer=1, k=1, beta=0.0, placement="decaying", strength=2.0)
    model, ones = tiny.wrapped("gemma2"), torch.ones(tiny.D_MODEL)
    assert setting.vector(model, SteeringVector(1, ones, "any")).vector.equal(2 * ones)
    with refused("source"):
        setting.vector(model, SteeringVector(2, ones, "any"))


def test_latents_by_their_ids_are_summed_by_their_strengths(sae):
    vector = SteeringVector.from_latents(sae, {3: 2.0, 0: -0.5})
    assert vector.vector.tolist() == [-0.5, 0.0, 0.0, 2000.0, 0.0]
    assert (vector.layer, vector.placement, vector.strength) == (1, "every_position", 1.0)
    assert vector.description == "latents 2 x 3 + -0.5 x 0"
    ones = SteeringVector.from_latents(sae, [1, 4], placement="decaying")
    assert ones.vector.tolist() == [0.0, 10.0, 0.0, 0.0, 10000.0]
    assert ones.placement == "decaying"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "no latent given; the SAE has latents 0-4"),
        ([], "no latent given"),
        ({3: 1.0, 5: 1.0}, "latent 5 given; the SAE has latents 0-4"),
        ({-1: 1.0}, "latent -1 given"),
        ([2, 0, 2], "latent 2 given 2 times; give each once"),
    ],
)
def test_latents_that_there_are_not_make_no_vector(sae, wrong, message):
    with pytest.raises(ValueError, match=message):
        SteeringVector.from_latents(sae, wrong)


def test_latents_make_no_vector_of_a_strength_or_a_layer_that_there_is_not(sae):
    with refused("strength of latent 2"):
        SteeringVector.from_latents(sae, {1: 1.0, 2: torch.nan})
    with refused("layer"):
        SteeringVector.from_latents(sae, {1: 1.0}, layer=7)
    sae.cfg.metadata.hook_name = None
    with refused("layer"):
        SteeringVector.from_latents(sae, {1: 1.0})
    assert SteeringVector.from_latents(sae, {1: 1.0}, layer=7).layer == 7
