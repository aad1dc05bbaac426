import pytest
import tiny
import torch

from saif_helpers.generation.interventions import edits_of, for_each_prompt, intervention_keys
from saif_helpers.vectors import ClampedLatents, SteeringVector

A = SteeringVector(0, torch.arange(32.0), "a", placement="decaying", decay=0.5)
B = SteeringVector(2, torch.ones(32), "b")
C = SteeringVector(2, -torch.ones(32), "c", placement="every_position")


@pytest.fixture
def model():
    return tiny.wrapped("llama")


def clamp(sae):
    return ClampedLatents(1, sae, torch.tensor([3]), torch.tensor([2.0]))


def test_each_layer_has_its_edit_and_each_prompt_its_row(model):
    first, second, third = edits_of(model, [A, None, [B, C]], 3)
    assert [one.layer for one in (first, second, third)] == [0, 2, 2]
    assert torch.equal(first.offsets, torch.stack([A.vector, 0 * A.vector, 0 * A.vector]))
    assert first.placements == [("decaying", 0.5), None, None]
    assert torch.equal(second.offsets[2], B.vector)
    assert torch.equal(third.offsets[2], C.vector)
    assert third.placements == [None, None, ("every_position", 0.8)]


def test_a_selection_of_rows_keeps_their_edits(model):
    (edit,) = edits_of(model, [B, None, C], 3)
    part = edit.select([2, 0])
    assert torch.equal(part.offsets, torch.stack([C.vector, B.vector]))
    assert part.placements == [("every_position", 0.8), ("last_prompt_token", 0.8)]


def test_one_intervention_is_for_all_prompts_and_none_for_no_one():
    assert for_each_prompt(A, 2) == [[A], [A]]
    assert for_each_prompt(None, 2) == [[], []]
    assert for_each_prompt([[A, B], None], 2) == [[A, B], []]


@pytest.mark.parametrize("wrong", [[], [A], [A, None, A]])
def test_one_entry_too_few_or_too_many_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{len(wrong)} steering vectors given for 2 prompts"):
        for_each_prompt(wrong, 2)


def test_two_vectors_at_a_clamped_layer_are_refused_for_one_prompt(model):
    here = SteeringVector(1, torch.ones(32), "here")
    with pytest.raises(ValueError, match="clamp all latents of a layer by one ClampedLatents"):
        edits_of(model, [[here, clamp(tiny.sae(1))]], 1)


def test_equal_interventions_have_equal_keys_and_others_have_others():
    again = SteeringVector(0, torch.arange(32.0), "said otherwise", placement="decaying", decay=0.5)
    others = [B, C, A.at("every_position"), A.at("decaying", 0.6), A.scaled(2.0), A.at(slice(0, 2))]
    ours, same, nothing, *rest = intervention_keys([A, again, None, *others], 3 + len(others))
    assert ours == same
    assert nothing is None
    assert all(key not in (ours, None) for key in rest)
    assert len({str(key) for key in rest}) == len(rest)
    # Where nothing decays, a decay makes no difference.
    assert intervention_keys(B.at("last_prompt_token", 0.1), 1) == intervention_keys(B, 1)
