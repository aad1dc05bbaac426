import pytest
import torch
from refusals import refused

from saif_helpers.analysis.stability import jaccard, permute_pairs
from saif_helpers.ranking import rank_latents


def test_swapped_labels_keep_the_pairs_and_halve_a_perfect_latent():
    n = 400
    positive = torch.stack([torch.ones(n), torch.arange(1.0, n + 1)], dim=1)
    negative = torch.stack([torch.zeros(n), n + torch.arange(1.0, n + 1)], dim=1)
    first, second = permute_pairs(positive, negative, seed=3)
    assert torch.equal(first[:, 0] + second[:, 0], torch.ones(n))
    assert torch.equal((first[:, 1] - second[:, 1]).abs(), torch.full((n,), float(n))), "torn apart"
    assert torch.equal(first[:, 0] > 0, first[:, 1] <= n), "latents of one sample were separated"
    assert rank_latents(first, second).sensitivity[0].item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(first, permute_pairs(positive, negative, seed=3)[0])
    assert not torch.equal(first, permute_pairs(positive, negative, seed=4)[0])


def test_jaccard_equals_the_count_by_hand():
    none = torch.tensor([], dtype=torch.long)
    assert jaccard(torch.tensor([1, 2, 3]), torch.tensor([3, 4])) == 1 / 4
    assert jaccard(torch.tensor([5, 6]), torch.tensor([6, 5])) == 1
    assert jaccard(torch.tensor([1]), none) == 0
    with refused("first"):
        jaccard(none, none)
