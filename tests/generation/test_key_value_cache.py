import pytest
import tiny
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from saif_helpers.generation.key_value_cache import RoomyLayer, empty_cache

ROOM = 6


def states(tokens, rows=2, seed=0):
    """Return keys (or values) of new tokens: rows, heads, tokens, d_head."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, 3, tokens, 4, generator=generator)


def both():
    return RoomyLayer(ROOM), DynamicLayer()


def test_it_holds_what_a_layer_of_transformers_holds_at_every_step():
    roomy, plain = both()
    for step, tokens in enumerate([5, 1, 1, ROOM, 1, 2 * ROOM, 1]):
        keys, values = states(tokens, seed=step), states(tokens, seed=100 + step)
        for found, expected in zip(
            roomy.update(keys, values), plain.update(keys, values), strict=True
        ):
            assert torch.equal(found, expected)
        assert roomy.get_seq_length() == plain.get_seq_length()
        assert roomy.get_mask_sizes(1) == plain.get_mask_sizes(1)


def test_new_tokens_are_written_in_place_until_the_room_is_used_up():
    layer = RoomyLayer(ROOM)
    start, _ = layer.update(states(5), states(5))
    places = [layer.update(states(1), states(1))[0].data_ptr() for _ in range(ROOM + 1)]
    assert set(places[:-1]) == {start.data_ptr()}
    assert places[-1] != start.data_ptr()


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.batch_select_indices(torch.tensor([1])),
        lambda layer: layer.batch_select_indices(torch.tensor([1, 0])),
        lambda layer: layer.batch_repeat_interleave(2),
        lambda layer: layer.crop(-2),
        lambda layer: vars(layer).update(keys=layer.keys[:, :, 1:], values=layer.values[:, :, 1:]),
    ],
    ids=[
        "a row dropped",
        "rows swapped",
        "rows repeated",
        "tokens cropped",
        "the first token dropped",
    ],
)
def test_what_is_done_to_a_layer_between_tokens_is_kept(change):
    roomy, plain = both()
    for layer in (roomy, plain):
        layer.update(states(5), states(5, seed=1))
        change(layer)
    rows = len(plain.keys)
    more = states(3, rows, seed=2), states(3, rows, seed=3)
    for found, expected in zip(roomy.update(*more), plain.update(*more), strict=True):
        assert torch.equal(found, expected)


def test_an_older_view_is_not_changed_by_what_is_appended_later():
    layer = RoomyLayer(ROOM)
    first, _ = layer.update(states(5), states(5))
    before = first.clone()
    layer.update(states(2, seed=7), states(2, seed=8))
    assert torch.equal(first, before)


@pytest.mark.parametrize("part", [slice(0, 4), slice(2, 6)])
def test_a_tensor_that_is_part_of_something_else_is_not_written_into(part):
    """As if someone had put keys of their own in place of the layer's."""
    layer = RoomyLayer(ROOM)
    layer.update(states(5), states(5))
    whole = states(9, seed=4)
    untouched = whole.clone()
    layer.keys, layer.values = whole[:, :, part], whole[:, :, part]
    keys, _ = layer.update(states(1, seed=5), states(1, seed=6))
    assert torch.equal(keys, torch.cat([untouched[:, :, part], states(1, seed=5)], 2))
    assert torch.equal(whole, untouched)


def test_layers_with_a_sliding_window_stay_as_they_are():
    config = tiny.wrapped("gemma2").hf.config
    kinds = [type(layer) for layer in empty_cache(config, ROOM).layers]
    expected = [type(layer) for layer in DynamicCache(config=config).layers]
    assert len(set(expected)) == 2
    assert kinds == [RoomyLayer if kind is DynamicLayer else kind for kind in expected]
