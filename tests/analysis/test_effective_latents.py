import pytest
import torch
from refusals import refused
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

from saif_helpers.analysis.effective_latents import effective_latents
from saif_helpers.ranking import rank_latents

POSITIVE = torch.tensor([[9.0, 1.0, 1.0, 0.0]] * 4)


def sae(directions):
    made = JumpReLUSAE(JumpReLUSAEConfig(d_in=2, d_sae=4))
    with torch.no_grad():
        made.W_dec.copy_(torch.tensor(directions))
    return made


RANKING = rank_latents(POSITIVE, torch.zeros(4, 4))
FAN = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]


def test_one_long_part_is_the_whole_vector():
    assert effective_latents(RANKING, sae(FAN), k=3) == [0]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.99, [0]), (0.9999, [0, 2, 1]), (1.0, [0, 2, 1])]
)
def test_a_higher_share_needs_more(share, expected):
    """(9, 0) has cosine 0.995 with (10, 1), as has (10, 0): the second adds nothing to it."""
    assert effective_latents(RANKING, sae(FAN), k=3, share=share) == expected


def test_a_part_that_points_backwards_comes_last():
    opposed = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 1.0]]
    assert effective_latents(RANKING, sae(opposed), k=3, share=0.9999) == [0, 1]
    assert effective_latents(RANKING, sae(opposed), k=3, share=1.0) == [0, 1, 2]


def test_equal_parts_at_right_angles_are_all_needed():
    equal = rank_latents(torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4), torch.zeros(4, 4))
    assert effective_latents(equal, sae(FAN), k=2) == [0, 1]


def test_the_share_lies_between_0_and_1():
    with refused("share"):
        effective_latents(RANKING, sae(FAN), k=3, share=95.0)
