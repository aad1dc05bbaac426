from dataclasses import replace

import pytest
import tiny
import torch
from refusals import refused
from test_steering import LAYER, NEW, direction, recorded, stopping_at, weak

from saif_helpers.generation import decoding
from saif_helpers.generation.interventions import edits_of, for_each_prompt, intervention_keys
from saif_helpers.latents import encode
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.vectors import ClampedLatents, SteeringVector

HALF = tiny.D_MODEL // 2
A = SteeringVector(0, torch.arange(32.0), "a", placement="decaying", decay=0.5)
B = SteeringVector(2, torch.ones(32), "b")
C = SteeringVector(2, -torch.ones(32), "c", placement="every_position")


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def halves(scale, layer=LAYER):
    """Return two vectors that have no entry in common, so that their sum is exact in any order."""
    first, second = (SteeringVector(layer, scale * direction(seed)) for seed in (1, 2))
    first.vector[:HALF] = 0
    second.vector[HALF:] = 0
    return first, second


def clamp(model, layer=LAYER, latents=(3, 17)):
    values = torch.tensor([2.0, 3.0])
    return ClampedLatents(layer, model.saes[layer], torch.tensor(latents), values)


def test_two_vectors_of_a_layer_are_their_sum(model):
    first, second = (one.at("decaying", 0.5) for one in halves(8.0))
    both = SteeringVector(LAYER, first.vector + second.vector, placement="decaying", decay=0.5)
    run = {"max_new_tokens": NEW}
    expected, passes = recorded(model, lambda: generate(model, tiny.PROMPTS, both, **run))
    for order in ([first, second], [second, first]):
        steering = [order] * len(tiny.PROMPTS)
        texts, found = recorded(model, lambda s=steering: generate(model, tiny.PROMPTS, s, **run))
        assert texts == expected
        for layer, outputs in passes.items():
            assert all(map(torch.equal, found[layer], outputs))
    for one in (first, second):
        assert generate(model, tiny.PROMPTS, one, **run) != expected


def test_each_of_several_vectors_has_a_placement_of_its_own(model):
    """Exact, in the pass that reads the prompt and in the later ones."""
    first, second = (one.scaled(1e-3) for one in halves(1.0))
    prompt = tiny.PROMPTS[:1]
    both = [first.at("every_position"), second.at(slice(2, 4)), second.at("generated_tokens")]
    plain_texts, plain = recorded(model, lambda: generate(model, prompt, max_new_tokens=3))
    texts, steered = recorded(model, lambda: generate(model, prompt, [both], max_new_tokens=3))
    assert texts == plain_texts
    added = first.vector.repeat(plain[LAYER][0].shape[1], 1)
    added[0] = 0  # the beginning-of-sequence token
    added[2:4] += second.vector
    assert torch.equal(steered[LAYER][0], plain[LAYER][0] + added)
    later = first.vector + second.vector
    for step in (1, 2):
        assert torch.equal(steered[LAYER][step], plain[LAYER][step] + later)


def test_vectors_of_two_layers_act_one_after_the_other(model):
    early, late = weak(0, seed=1), weak(2, seed=2)
    prompt = tiny.PROMPTS[:1]
    texts, both = recorded(
        model, lambda: generate(model, prompt, [[late, early]], max_new_tokens=3)
    )
    _, plain = recorded(model, lambda: generate(model, prompt, max_new_tokens=3))
    first_texts, first = recorded(model, lambda: generate(model, prompt, early, max_new_tokens=3))
    assert texts == first_texts
    read_out = torch.zeros(plain[0][0].shape[1], 1)
    read_out[-1] = 1
    assert torch.equal(both[0][0], plain[0][0] + read_out * early.vector)
    assert torch.equal(both[1][0], first[1][0])
    assert torch.equal(both[2][0], first[2][0] + read_out * late.vector)
    for step in (1, 2):
        for layer in (0, 1, 2):
            assert torch.equal(both[layer][step], first[layer][step])


def test_a_clamp_acts_on_the_stream_that_an_earlier_layers_vector_has_changed(model):
    vector, late = SteeringVector(0, 8 * direction(0)), clamp(model, layer=2)
    prompt = tiny.PROMPTS[:1]
    _, first = recorded(model, lambda: generate(model, prompt, vector, max_new_tokens=1))
    _, both = recorded(model, lambda: generate(model, prompt, [[vector, late]], max_new_tokens=1))
    stream, sae = first[2][0][:, -1], model.saes[2]
    gap = late.values - encode(sae, stream)[:, late.latents]
    expected = stream + gap @ sae.W_dec.detach()[late.latents]
    torch.testing.assert_close(both[2][0][:, -1], expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(both[2][0][:, :-1], first[2][0][:, :-1])


def rows(model):
    """Return steering for each prompt: none, one, several, of one layer and of several."""
    first, second = halves(8.0)
    other = SteeringVector(2, 8 * direction(3), placement="decaying", decay=0.5)
    return [
        [first.at("every_position"), second, other],
        None,
        [clamp(model), other],
        first.at(slice(2, 5)),
        [second.at("generated_tokens"), first.at("decaying")],
    ]


def test_rows_with_several_one_and_none_are_written_as_if_alone(model):
    steering, options = rows(model), {"max_new_tokens": NEW}
    together = generate(model, tiny.PROMPTS, steering, **options)
    assert generate(model, tiny.PROMPTS, steering, batch_size=2, **options) == together
    plain = generate(model, tiny.PROMPTS, **options)
    for row, (prompt, one) in enumerate(zip(tiny.PROMPTS, steering, strict=True)):
        assert generate(model, [prompt], [one], **options) == [together[row]]
        if isinstance(one, list):
            assert together[row] != plain[row]


def test_several_stay_with_their_row_when_others_have_ended_and_left(monkeypatch):
    monkeypatch.setattr(decoding, "LEAVING", 1)
    model, _ = stopping_at("gemma2", tiny.PROMPTS[0], 2)
    tiny_model = tiny.wrapped("gemma2")
    steering = [None, None, *rows(tiny_model)]
    prompts = [*tiny.PROMPTS[:1] * 2, *tiny.PROMPTS]
    together, passes = recorded(model, lambda: generate(model, prompts, steering, max_new_tokens=9))
    assert len(passes[0][-1]) < len(prompts)
    alone = [
        generate(model, [prompt], [one], max_new_tokens=9)[0]
        for prompt, one in zip(prompts, steering, strict=True)
    ]
    assert together == alone


def test_no_intervention_for_a_prompt_is_no_steering(model):
    plain = generate(model, tiny.PROMPTS, max_new_tokens=NEW)
    for nothing in ([[]] * 5, [None] * 5, [[], None, [], None, []]):
        assert generate(model, tiny.PROMPTS, nothing, max_new_tokens=NEW) == plain


def test_log_probabilities_with_several_are_those_of_their_sum(model):
    first, second = (one.at("every_position") for one in halves(8.0))
    both = SteeringVector(LAYER, first.vector + second.vector, placement="every_position")
    prompt, output = tiny.PROMPTS[2], "Le chat."
    expected = log_probabilities(model, prompt, output, both)
    assert torch.equal(log_probabilities(model, prompt, output, [[first, second]]), expected)
    assert not torch.equal(log_probabilities(model, prompt, output, first), expected)


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
    with refused("steering"):
        for_each_prompt(wrong, 2)


def test_a_layer_has_as_many_edits_as_one_prompt_needs(model):
    first, second = halves(1.0)
    late = SteeringVector(2, direction(0))
    edits = edits_of(model, [[late, first], first, [first, second], None], 4)
    assert [edit.layer for edit in edits] == [1, 1, 2]
    used = [[one is not None for one in edit.placements] for edit in edits]
    assert used == [
        [True, True, True, False],
        [False, False, True, False],
        [True, False, False, False],
    ]
    for edit, row in zip(edits, used, strict=True):
        assert edit.offsets.any(1).tolist() == row


def test_a_clamp_and_another_intervention_of_one_layer_are_refused_for_one_prompt(model):
    """The second would act on what the first one left, whatever order they are given in."""
    vector = SteeringVector(LAYER, direction(0))
    for several in ([clamp(model), vector], [vector, clamp(model)], [clamp(model)] * 2):
        with refused("steering"):
            generate(model, tiny.PROMPTS[:1], [several], max_new_tokens=1)
    apart = [[clamp(model), SteeringVector(2, direction(0))], [clamp(model), clamp(model, 2)]]
    assert len(generate(model, tiny.PROMPTS[:2], apart, max_new_tokens=1)) == 2


@pytest.mark.parametrize(
    ("steering", "message"),
    [
        ({1: {3: 2.0}}, "steering=dict given; give a SteeringVector, or a list with one for each"),
        ("every_position", "steering=str given"),
        (3, "steering=int given"),
        (torch.ones(tiny.D_MODEL), "steering=Tensor given"),
        ([torch.ones(tiny.D_MODEL)] * 2, "float given as an intervention|Tensor given as"),
        ([["last"], None], "str given as an intervention; give a SteeringVector"),
        ([[None], None], "NoneType given as an intervention"),
        ([None], "1 steering vectors given for 2 prompts; give one for each prompt, None for"),
    ],
)
def test_what_is_no_intervention_is_refused(steering, message):
    with pytest.raises(ValueError, match=message):
        for_each_prompt.__wrapped__(steering, 2)  # where no types are checked


def test_equal_interventions_have_equal_keys_and_others_have_not(model):
    vector = SteeringVector(LAYER, direction(0))
    same = SteeringVector(LAYER, direction(0), "another name", decay=0.1)
    others = [
        SteeringVector(LAYER, direction(1)),
        SteeringVector(0, direction(0)),
        vector.at("decaying"),
        vector.at("decaying", 0.5),
        vector.at(slice(1, 2)),
        vector.at(slice(1, 3)),
        vector.at((True, False)),
        vector.at((True, True)),
        vector.scaled(2.0),
        clamp(model),
        clamp(model).at("decaying"),
        clamp(model, latents=(3, 18)),
        clamp(model).scaled(2.0),
        replace(clamp(model), keep_error=False),
        [vector, vector],
        [vector, clamp(model, 2)],
        [clamp(model, 2), vector],
        None,
    ]
    first, again, alone, *rest = intervention_keys([vector, same, [vector], *others], 21)
    assert first == again == alone
    keys = [first, *rest]
    assert all(one not in keys[:at] for at, one in enumerate(keys))
    assert rest[-1] is None
