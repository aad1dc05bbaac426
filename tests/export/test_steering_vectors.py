"""The library steering-vectors, where it is installed: what its hooks add, and what differs."""

import builtins

import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.export.steering_vectors import to_steering_vectors
from saif_helpers.vectors import ClampedLatents, SteeringVector

LAYER, NEW = 1, 6
VECTOR = SteeringVector(LAYER, 8 * torch.randn(tiny.D_MODEL), "random", placement="every_position")
IDS = torch.tensor([[40, 90, 17, 61, 200, 33]])  # without a beginning-of-sequence token


@pytest.fixture(params=["gemma2", "llama"])
def plain(request):
    return tiny.causal_lm(request.param)


def logits(plain, ids):
    with torch.no_grad():
        return plain(ids).logits


def tokens(plain, ids):
    return plain.generate(ids, do_sample=False, max_new_tokens=NEW, eos_token_id=None)


def test_the_librarys_hooks_add_the_same(plain):
    pytest.importorskip("steering_vectors")
    theirs = VECTOR.to_steering_vectors()
    with VECTOR.apply(plain):
        expected, written = logits(plain, IDS), tokens(plain, IDS)
    assert not torch.equal(logits(plain, IDS), expected)
    with theirs.apply(plain):
        assert torch.equal(logits(plain, IDS), expected)
        assert torch.equal(tokens(plain, IDS), written)


def test_the_library_steers_the_beginning_of_the_sequence_too(plain):
    """Its min_token_index leaves it out, and every generated token with it."""
    pytest.importorskip("steering_vectors")
    theirs, ids = VECTOR.to_steering_vectors(), torch.cat([torch.tensor([[2]]), IDS], 1)
    with VECTOR.apply(plain):
        expected, written = logits(plain, ids), tokens(plain, ids)
    with theirs.apply(plain):
        assert not torch.equal(logits(plain, ids), expected)
    with theirs.apply(plain, min_token_index=1):
        assert torch.equal(logits(plain, ids), expected)
        without_later = tokens(plain, ids)
    with VECTOR.at(slice(None)).apply(plain):
        assert torch.equal(tokens(plain, ids), without_later)
    assert not torch.equal(without_later, written)


@pytest.mark.parametrize("placement", ["last_prompt_token", "decaying", slice(1, 3)], ids=str)
def test_other_placements_are_refused(placement):
    with refused("vector"):
        VECTOR.at(placement).to_steering_vectors()


def test_clamped_latents_are_refused():
    clamped = ClampedLatents(1, tiny.sae(1), torch.tensor([3]), torch.ones(1))
    with refused("vector"):
        to_steering_vectors(clamped.at("every_position"))


def test_without_the_library_it_says_what_to_install(monkeypatch):
    usual = builtins.__import__

    def without(name, *rest, **options):
        if name == "steering_vectors":
            raise ImportError(name)
        return usual(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install steering-vectors"):
        VECTOR.to_steering_vectors()
