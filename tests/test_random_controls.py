import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.random_controls import random_direction_vector, random_latents_vector
from saif_helpers.ranking import rank_latents
from saif_helpers.vector_rules import saif_vector


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
