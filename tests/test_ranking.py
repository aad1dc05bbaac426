import pytest
import torch
from refusals import refused

from saif_helpers.ranking import newly_active, rank_latents

# Four pairs, five latents. Latent 0 switches on in every pair; 1 in two of them; 2 is always on; 3
# is never on; 4 switches off in two pairs and on in two.
POSITIVE = torch.tensor(
    [
        [1.0, 2.0, 5.0, 0.0, 0.0],
        [1.0, 4.0, 5.0, 0.0, 0.0],
        [1.0, 0.0, 5.0, 0.0, 1.0],
        [5.0, 0.0, 5.0, 0.0, 3.0],
    ]
)
NEGATIVE = torch.tensor(
    [
        [0.0, 0.0, 5.0, 0.0, 2.0],
        [0.0, 0.0, 4.0, 0.0, 2.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 3.0, 2.0, 0.0, 0.0],
    ]
)


def test_sensitivity_equals_the_hand_worked_example():
    ranking = rank_latents(POSITIVE, NEGATIVE)
    assert ranking.sensitivity.tolist() == [1.0, 0.5, 0.0, 0.0, 0.5]
    assert ranking.mean.tolist() == [2.0, 1.5, 5.0, 0.0, 1.0]
    assert ranking.negative_mean.tolist() == [0.0, 0.75, 3.0, 0.0, 1.0]
    # squared distances from the mean, divided by n = 4: (1+1+1+9)/4 = 3 and so on
    expected = torch.tensor([3.0, 2.75, 0.0, 0.0, 1.5]).sqrt()
    torch.testing.assert_close(ranking.std, expected)


def test_ties_go_to_the_larger_mean_then_to_the_lower_index():
    assert rank_latents(POSITIVE, NEGATIVE).order.tolist() == [0, 1, 4, 2, 3]
    same = torch.ones(2, 6)
    assert rank_latents(same, 0 * same).order.tolist() == [0, 1, 2, 3, 4, 5]


def test_switching_off_does_not_count():
    ranking = rank_latents(NEGATIVE, POSITIVE)
    assert ranking.sensitivity.tolist() == [0.0, 0.25, 0.0, 0.0, 0.5]


def test_top_and_table():
    ranking = rank_latents(POSITIVE, NEGATIVE)
    assert ranking.top(2).tolist() == [0, 1]
    frame = ranking.to_frame()
    assert frame["latent"].tolist() == [0, 1, 4, 2, 3]
    assert frame["sensitivity"].tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]
    assert list(frame.columns) == ["latent", "sensitivity", "mean", "std", "negative_mean"]
    for k in (0, 6):
        with refused("k"):
            ranking.top(k)


def test_sixteen_bits_rank_as_finely_as_their_numbers_allow():
    """Shares of 400 pairs differ by less than bfloat16 resolves above one half."""
    positive = torch.zeros(400, 3)
    positive[:301, 0], positive[:302, 1], positive[:300, 2] = 8, 4, 16
    ranking = rank_latents(positive.bfloat16(), torch.zeros(400, 3).bfloat16())
    assert ranking.order.tolist() == [1, 0, 2]
    assert ranking.to_frame()["sensitivity"].tolist() == pytest.approx([0.755, 0.7525, 0.75])


def test_no_pairs_are_refused():
    with refused("positive"):
        rank_latents(POSITIVE[:0], NEGATIVE[:0])


def test_switched_on_is_what_sensitivity_is_the_mean_of():
    on = newly_active(POSITIVE, NEGATIVE)
    assert on[:, 1].tolist() == [True, True, False, False]
    assert on[:, 4].tolist() == [False, False, True, True]
    assert not on[:, 2].any()
    assert torch.equal(on.float().mean(0), rank_latents(POSITIVE, NEGATIVE).sensitivity)


def test_another_order_keeps_the_numbers_and_breaks_ties_by_sensitivity():
    ranking = rank_latents(POSITIVE, NEGATIVE)
    scores = torch.tensor([0.1, 0.7, torch.nan, 0.7, 0.2])
    other = ranking.by(scores)
    assert ranking.order.tolist() == [0, 1, 4, 2, 3]
    assert other.order.tolist() == [1, 3, 4, 0, 2]
    assert torch.equal(other.sensitivity, ranking.sensitivity)


def test_a_latent_that_is_active_on_any_sample_is_living():
    ranking = rank_latents(POSITIVE, NEGATIVE)
    assert ranking.living.tolist() == [True, True, True, False, True]
    assert ranking.n_living == 4
    on, off = torch.zeros(2, 4), torch.zeros(2, 4)
    on[0, 1] = off[1, 2] = 3.0  # on one positive sample alone, and on one negative sample alone
    ranking = rank_latents(on, off)
    assert ranking.living.tolist() == [False, True, True, False]
    assert ranking.n_living == 2
    assert rank_latents(0 * on, 0 * off).n_living == 0
