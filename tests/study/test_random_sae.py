import pytest
import tiny
import torch

from saif_helpers.latents import encode
from saif_helpers.model.saes import layer_of
from saif_helpers.study.random_sae import random_sae


@pytest.fixture(scope="module")
def like():
    """An SAE whose directions have a mean length of 3."""
    sae = tiny.sae(1, d_in=64, d_sae=512)
    with torch.no_grad():
        sae.W_dec *= torch.linspace(2, 4, 512)[:, None]
    return sae


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    return 5 + torch.randn(60, 64, generator=generator)


@pytest.fixture(scope="module")
def control(like, rows):
    return random_sae(like, rows, seed=0)


def test_its_directions_are_uniform_and_of_the_mean_length(like, control):
    W_dec = control.W_dec
    torch.testing.assert_close(W_dec.norm(dim=1), torch.full((512,), 3.0))
    trained = like.W_dec / like.W_dec.norm(dim=1, keepdim=True)
    cosines = (W_dec / 3) @ trained.T
    assert cosines.abs().max() < 0.75  # the largest of 512 x 512 random ones in 64 dimensions
    assert cosines.mean().abs() < 0.01
    torch.testing.assert_close(cosines.std().item(), 64**-0.5, rtol=0.05, atol=0)
    among = (W_dec / 3) @ (W_dec / 3).T
    apart = among[~torch.eye(512, dtype=bool)]
    torch.testing.assert_close(apart.std().item(), 64**-0.5, rtol=0.05, atol=0)
    assert (W_dec / 3).mean(0).norm() < 0.1  # no side is preferred


@pytest.mark.parametrize("threshold", [0.2, 1.0, 3.0])
def test_as_many_latents_are_active_as_in_the_other(rows, threshold):
    like = tiny.sae(1, d_in=64, d_sae=512)
    with torch.no_grad():
        like.b_dec.fill_(5)  # the rows' mean
        like.b_enc.zero_()
        like.W_enc *= 4
        like.threshold.fill_(threshold)
    control = random_sae(like, rows, seed=1)
    theirs, own = ((encode(sae, rows) > 0).sum().item() for sae in (like, control))
    assert 0 < theirs < 0.5 * rows.shape[0] * 512
    assert abs(own - theirs) <= 0.002 * theirs + 1


def test_it_can_be_no_more_than_half_active(rows):
    """A latent is active only if the stream points along it, even if all of the other's are."""
    like = tiny.sae(1, d_in=64, d_sae=512)
    with torch.no_grad():
        like.b_enc.fill_(1000.0)
        like.threshold.zero_()
    assert (encode(like, rows) > 0).all()
    active = (encode(random_sae(like, rows, seed=0), rows) > 0).float().mean()
    assert 0.4 < active <= 0.55


def test_it_is_of_the_same_layer_and_nothing_in_it_can_be_trained(like, control):
    assert layer_of(control) == layer_of(like) == 1
    assert not any(weights.requires_grad for weights in control.parameters())
    assert control.W_dec.shape == like.W_dec.shape
    assert control.W_dec.dtype == torch.float32


def test_it_depends_on_the_seed_only(like, rows, control):
    torch.manual_seed(99)
    again, other = (random_sae(like, rows, seed=seed) for seed in (0, 1))
    for name, weights in control.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])
    assert not torch.equal(control.W_dec, other.W_dec)
    cosines = torch.cosine_similarity(control.W_dec, other.W_dec)
    assert cosines.abs().max() < 0.75
    assert torch.equal(like.W_dec, like.W_dec.clone())


def test_an_sae_that_names_no_layer_gives_one_that_names_none(rows):
    like = tiny.sae(1, d_in=64, d_sae=512)
    like.cfg.metadata.hook_name = None
    assert layer_of(random_sae(like, rows, seed=0)) is None
