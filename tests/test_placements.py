import pytest
import tiny
import torch
from refusals import refused
from test_steering import DECAY, LAYER, NEW, direction, recorded, stopping_at, weak

from saif_helpers.generation import decoding
from saif_helpers.latents import encode
from saif_helpers.placements import PLACEMENTS, check_placement, describe_placement
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.vectors import ClampedLatents, SteeringVector

IDS = tiny.tokenizer()(tiny.PROMPTS, add_special_tokens=False).input_ids
PROMPTS = [prompt for _, prompt in sorted(zip(map(len, IDS), tiny.PROMPTS, strict=True))]
LENGTHS = sorted(map(len, IDS))  # so that the rows of a batch are in the order of the prompts


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def mask(length, seed=0):
    """Return a placement that marks about half of a prompt's tokens, the first one too."""
    drawn = torch.rand(length, generator=torch.Generator().manual_seed(seed)) < 0.5
    return (True, *drawn[1:].tolist())


def by_hand(placement, length, n_passes):
    """Say how much is added at each token of a prompt, and in each later pass, decaying by DECAY.

    The first token is the beginning-of-sequence token, which is never steered.
    """
    prompt, later = [0.0] * length, [0.0] * (n_passes - 1)
    if placement in ("last_prompt_token", "decaying"):
        prompt[-1] = 1.0
    elif placement == "every_position":
        prompt = [1.0] * length
    elif isinstance(placement, slice):
        prompt = [float(at in range(length)[placement]) for at in range(length)]
    elif isinstance(placement, tuple):
        prompt = [float(on) for on in placement]
    if placement in ("every_position", "generated_tokens"):
        later = [1.0] * (n_passes - 1)
    if placement == "decaying":
        later = [DECAY**t for t in range(1, n_passes)]
    return [0.0, *prompt[1:]], later


MIXED = ["every_position", slice(2, 5), mask(LENGTHS[2]), None, "decaying"]
PLACED = {
    "slice": [slice(2, 5)] * 5,
    "slice from the end": [slice(-3, None)] * 5,
    "slice up to the end": [slice(3, -2)] * 5,
    "whole slice": [slice(None)] * 5,
    "slice of the first token alone": [slice(0, 1)] * 5,
    "slice beyond most prompts": [slice(40, 60)] * 5,
    "masks": [mask(length, seed) for seed, length in enumerate(LENGTHS)],
    "a slice, a mask and names": MIXED,
}


@pytest.mark.parametrize("name", PLACED)
def test_each_row_gets_its_vector_where_and_only_where_its_placement_says(model, name):
    """Exact, with padding on the left: so weak a vector changes no token."""
    vector, rows = weak(), PLACED[name]
    steering = [at and vector.at(at, DECAY) for at in rows]
    plain_texts, plain = recorded(model, lambda: generate(model, PROMPTS, max_new_tokens=NEW))
    texts, steered = recorded(model, lambda: generate(model, PROMPTS, steering, max_new_tokens=NEW))
    assert texts == plain_texts
    expected = [by_hand(at, n, NEW) for at, n in zip(rows, LENGTHS, strict=True)]
    width = max(LENGTHS)
    prompt = torch.tensor([[0.0] * (width - len(row)) + row for row, _ in expected])
    assert prompt.any() == (name != "slice of the first token alone")
    for step in range(NEW):
        scales = prompt if step == 0 else torch.tensor([[later[step - 1]] for _, later in expected])
        added = scales[:, :, None] * vector.vector
        assert torch.equal(steered[LAYER][step], plain[LAYER][step] + added)
        moved = (steered[LAYER][step] != plain[LAYER][step]).any(-1)
        assert torch.equal(moved, scales != 0)
        assert torch.equal(steered[0][step], plain[0][step])


def test_rows_with_different_placements_are_written_as_if_alone(model):
    rows = [*MIXED, "last_prompt_token", "generated_tokens", "decaying", slice(-4, None)]
    prompts = [*PROMPTS, PROMPTS[0], PROMPTS[1], PROMPTS[4], PROMPTS[4]]
    decays = [0.1 * row for row in range(len(rows))]
    steering = [
        at and SteeringVector(row % 3, 40 * direction(row), placement=at, decay=decay)
        for row, (at, decay) in enumerate(zip(rows, decays, strict=True))
    ]
    together = generate(model, prompts, steering, max_new_tokens=NEW)
    assert generate(model, prompts, steering, max_new_tokens=NEW, batch_size=4) == together
    for prompt, vector, text in zip(prompts, steering, together, strict=True):
        assert generate(model, [prompt], vector, max_new_tokens=NEW) == [text]
    plain = generate(model, prompts, max_new_tokens=NEW)
    assert sum(one != two for one, two in zip(together, plain, strict=True)) >= 6


def test_rows_keep_their_placements_when_others_have_ended_and_left(monkeypatch):
    monkeypatch.setattr(decoding, "LEAVING", 1)
    model, _ = stopping_at("gemma2", tiny.PROMPTS[0], 2)
    rows = [*MIXED, None, None, "decaying"]
    prompts = [*PROMPTS, *tiny.PROMPTS[:1] * 3]
    steering = [
        at and SteeringVector(1, 8 * direction(row), placement=at) for row, at in enumerate(rows)
    ]
    together, passes = recorded(model, lambda: generate(model, prompts, steering, max_new_tokens=9))
    assert len(passes[0][-1]) < len(prompts)
    alone = [
        generate(model, [prompt], vector, max_new_tokens=9)[0]
        for prompt, vector in zip(prompts, steering, strict=True)
    ]
    assert together == alone


def test_a_slice_and_a_mask_that_mean_the_last_token_are_the_placement_of_that_name(model):
    vector = SteeringVector(LAYER, 8 * direction(0))
    prompts = [PROMPTS[1]] * 2 + [PROMPTS[2]]  # equal prompts, which are read once up to there
    masks = [(False,) * (n - 1) + (True,) for n in (LENGTHS[1], LENGTHS[1], LENGTHS[2])]
    expected = generate(model, prompts, vector, max_new_tokens=NEW)
    assert expected != generate(model, prompts, max_new_tokens=NEW)
    for steering in (vector.at(slice(-1, None)), [vector.at(mask) for mask in masks]):
        texts, passes = recorded(
            model, lambda s=steering: generate(model, prompts, s, max_new_tokens=NEW)
        )
        assert texts == expected
        assert len(passes[0][0]) == 2


def test_equal_prompts_with_different_masks_are_written_as_if_alone(model):
    vector = SteeringVector(0, 40 * direction(0))
    steering = [vector.at(mask(LENGTHS[2], seed)) for seed in range(4)]
    together = generate(model, [PROMPTS[2]] * 4, steering, max_new_tokens=NEW)
    assert len(set(together)) >= 3
    for one, text in zip(steering, together, strict=True):
        assert generate(model, [PROMPTS[2]], one, max_new_tokens=NEW) == [text]


@pytest.mark.parametrize("placement", [slice(2, 5), mask(LENGTHS[3])], ids=["slice", "mask"])
def test_latents_are_clamped_where_a_slice_or_a_mask_says(model, placement):
    sae, latents = model.saes[LAYER], torch.tensor([3, 17, 40])
    clamp = ClampedLatents(LAYER, sae, latents, torch.tensor([2.0, 0.5, 3.0]), placement=placement)
    prompt = [PROMPTS[3]]
    _, plain = recorded(model, lambda: generate(model, prompt, max_new_tokens=1))
    _, steered = recorded(model, lambda: generate(model, prompt, clamp, max_new_tokens=1))
    scales = torch.tensor(by_hand(placement, LENGTHS[3], 1)[0])[None, :, None]
    gap = clamp.values - encode(sae, plain[LAYER][0])[..., latents]
    change = scales * (gap @ sae.W_dec.detach()[latents])
    torch.testing.assert_close(steered[LAYER][0], plain[LAYER][0] + change, rtol=1e-4, atol=1e-4)
    moved = (steered[LAYER][0] != plain[LAYER][0]).any(-1)
    assert torch.equal(moved, scales[:, :, 0] != 0)


@pytest.mark.parametrize("placement", [slice(2, 5), mask(LENGTHS[3])], ids=["slice", "mask"])
def test_log_probabilities_are_those_of_a_hook_at_a_slice_or_a_mask(model, placement):
    vector, output = SteeringVector(LAYER, 8 * direction(0), placement=placement), "Le chat."
    tokenizer, module = model.tokenizer, model.lm._module
    prompt, written = (
        tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        for text in (PROMPTS[3], output)
    )
    scales = by_hand(placement, LENGTHS[3], 1)[0] + [0.0] * written.shape[1]
    handle = module.model.layers[LAYER].register_forward_hook(
        lambda _, __, residual: residual + torch.tensor(scales)[None, :, None] * vector.vector
    )
    try:
        with torch.no_grad():
            logits = module(torch.cat([prompt, written], 1), use_cache=False).logits
    finally:
        handle.remove()
    n = written.shape[1]
    expected = logits[0, -n - 1 : -1].log_softmax(-1)[range(n), written[0]]
    found = log_probabilities(model, PROMPTS[3], output, vector)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_mask_of_another_length_is_refused(model):
    vector = SteeringVector(LAYER, direction(0))
    n = LENGTHS[2]
    for length in (n - 1, n + 1):
        wrong = vector.at(mask(length))
        with refused("placement"):
            generate(model, [PROMPTS[2]], wrong, max_new_tokens=2)
        with refused("placement"):
            log_probabilities(model, PROMPTS[2], "a", wrong)
    right = mask(LENGTHS[2])
    with refused("placement"):
        generate(model, [PROMPTS[2], PROMPTS[4]], vector.at(right), max_new_tokens=2)
    assert generate(model, [PROMPTS[2]], vector.at(right), max_new_tokens=2)


@pytest.mark.parametrize(
    "wrong", ["last", "", slice(0, 4, 2), slice(None, None, -1), (), (1, 0), [True], None, 3]
)
def test_a_placement_that_there_is_not_is_refused(wrong):
    with refused("placement"):
        check_placement.__wrapped__(wrong, 0.5)  # where no types are checked


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_decay_that_is_no_share_is_refused(decay):
    vector = SteeringVector(LAYER, direction(0))
    for placement in (*PLACEMENTS, slice(1, 2), (True,)):
        with refused("decay"):
            vector.at(placement, decay)


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        ("last_prompt_token", "last prompt token"),
        ("decaying", "decaying by 0.5"),
        (slice(2, 5), "prompt tokens 2 to 5"),
        (slice(-3, None), "prompt tokens -3 to the end"),
        (slice(None), "prompt tokens 0 to the end"),
        ((True, False, True), "2 of 3 prompt tokens"),
    ],
)
def test_a_placement_reads_as_a_phrase(placement, words):
    assert describe_placement(placement, 0.5) == words
    vector = SteeringVector(2, torch.ones(4), placement=placement, decay=0.5).scaled(3.0)
    assert vector.where == f"layer 2, {words}, strength 3"
