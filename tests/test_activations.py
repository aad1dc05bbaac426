import copy

import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.activations import capture, capture_tokens
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import token_ids, tokenize, without_bos
from saif_helpers.steering import generate
from saif_helpers.vectors import SteeringVector


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def hooked(model, prompts, layers):
    """Return whole residual streams of a batch, read with plain PyTorch hooks."""
    module, found = model.lm._module, {}
    handles = [
        module.model.layers[layer].register_forward_hook(
            lambda _, __, output, layer=layer: found.__setitem__(layer, output.clone())
        )
        for layer in layers
    ]
    tokens = tokenize(prompts, model.tokenizer)
    with torch.no_grad():
        module(**tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return found, tokens


def test_capture_equals_a_plain_hook(model):
    """Exactly; after the last layer, whose MLP gets fewer rows, but for the order of its sums."""
    residual = capture(model, tiny.PROMPTS, [0, 1, 2])
    order_by_length = sorted(tiny.PROMPTS, key=lambda p: len(p.encode()))
    order_by_length.sort(key=lambda p: len(model.tokenizer(p, add_special_tokens=False).input_ids))
    found, _ = hooked(model, order_by_length, [0, 1, 2])
    for layer in range(3):
        for row, prompt in enumerate(order_by_length):
            at = tiny.PROMPTS.index(prompt)
            if layer < 2:
                assert torch.equal(residual[layer][at], found[layer][row, -1])
            else:
                torch.testing.assert_close(residual[layer][at], found[layer][row, -1])


def test_rows_keep_the_order_of_the_prompts_whatever_the_batches(model):
    together = capture(model, tiny.PROMPTS, [1], batch_size=64)[1]
    in_pairs = capture(model, tiny.PROMPTS, [1], batch_size=2)[1]
    turned = capture(model, tiny.PROMPTS[::-1], [1], batch_size=3)[1].flip(0)
    torch.testing.assert_close(in_pairs, together, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned, together, atol=1e-4, rtol=1e-4)


def test_a_batch_equals_its_members_one_by_one_without_padding(model):
    batch = capture(model, tiny.PROMPTS, [0, 2])
    for row, prompt in enumerate(tiny.PROMPTS):
        alone, tokens = hooked(model, [prompt], [0, 2])
        assert tokens["attention_mask"].all()
        for layer in (0, 2):
            torch.testing.assert_close(batch[layer][row], alone[layer][0, -1], atol=1e-4, rtol=1e-4)


def test_the_forward_pass_stops_after_the_last_layer_asked_for(model):
    runs = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: runs.append(name))
        for name, module in {
            **{f"layer {i}": layer for i, layer in enumerate(model.lm._module.model.layers)},
            "head": model.lm._module.lm_head,
        }.items()
    ]
    try:
        capture(model, tiny.PROMPTS, [1])
    finally:
        for handle in handles:
            handle.remove()
    assert "layer 0" in runs
    assert "layer 2" not in runs
    assert "head" not in runs


@pytest.mark.parametrize("layers", [[1], [0, 2]])
def test_the_last_mlp_sees_the_read_out_position_alone(model, layers):
    widths = {index: [] for index in range(3)}
    handles = [
        layer.mlp.register_forward_hook(
            lambda *given, seen=widths[index]: seen.append(given[-1].shape[1])
        )
        for index, layer in enumerate(model.lm._module.model.layers)
    ]
    try:
        capture(model, tiny.PROMPTS, layers)
        (lengths,) = {tuple(widths[index]) for index in range(layers[-1])}
        assert min(lengths) > 1
        assert widths[layers[-1]] == [1] * len(lengths)
        list(capture_tokens(model, tiny.PROMPTS, layers))
        assert widths[layers[-1]] == [*[1] * len(lengths), *lengths]
    finally:
        for handle in handles:
            handle.remove()


class Enclosed(torch.nn.Module):
    """A layer whose parts have other names than most models give them."""

    def __init__(self, layer):
        super().__init__()
        self.parts = layer

    def forward(self, *given, **named):
        return self.parts(*given, **named)


def test_a_layer_whose_mlp_is_not_known_is_computed_as_a_whole(model):
    expected = capture(model, tiny.PROMPTS, [1, 2])
    lm = copy.deepcopy(model.lm._module)
    lm.model.layers[2] = Enclosed(lm.model.layers[2])
    enclosed = wrap(lm, model.tokenizer, {}, name="enclosed")
    widths = []
    lm.model.layers[2].parts.mlp.register_forward_hook(lambda *io: widths.append(io[-1].shape[1]))
    found = capture(enclosed, tiny.PROMPTS, [1, 2])
    assert min(widths) > 1
    for layer in (1, 2):
        torch.testing.assert_close(found[layer], expected[layer])


def test_layers_may_come_in_any_order_and_twice(model):
    residual = capture(model, tiny.PROMPTS, [2, 0, 2])
    assert list(residual) == [2, 0]
    assert torch.equal(residual[0], capture(model, tiny.PROMPTS, [0, 2])[0])
    torch.testing.assert_close(residual[0], capture(model, tiny.PROMPTS, [0])[0])


def test_capture_tokens_leaves_out_padding_and_bos(model):
    batches = list(capture_tokens(model, tiny.PROMPTS, [2, 0], batch_size=2))
    assert len(batches) == 3
    rows = {layer: torch.cat([batch[layer] for batch in batches]) for layer in (0, 2)}
    order_by_length = sorted(
        tiny.PROMPTS, key=lambda p: len(model.tokenizer(p, add_special_tokens=False).input_ids)
    )
    for layer in (0, 2):
        alone = [hooked(model, [prompt], [layer])[0][layer][0, 1:] for prompt in order_by_length]
        torch.testing.assert_close(rows[layer], torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_without_bos_marks_exactly_the_text_tokens():
    tokenizer = tiny.tokenizer()
    tokens = tokenize(["<bos>ab", "<bos>abcd"], tokenizer)
    marked = without_bos(tokens, tokenizer)
    assert marked.tolist() == [[False, False, False, True, True], [False, True, True, True, True]]
    assert tokens["position_ids"].tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]
    assert tokens["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_prompts_are_tokenised_a_part_at_a_time(monkeypatch):
    tokenizer = tiny.tokenizer()
    prompts = [f"<bos>{'ab' * number}" for number in range(1, 8)]
    whole = token_ids(prompts, tokenizer)
    assert [len(ids) for ids in whole] == [1 + 2 * number for number in range(1, 8)]
    monkeypatch.setattr("saif_helpers.model.tokens.AT_ONCE", 3)
    assert token_ids(prompts, tokenizer) == whole


def test_nothing_stays_attached(model):
    before = capture(model, tiny.PROMPTS, [2])[2]
    handle = model.lm._module.model.layers[1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        capture(model, tiny.PROMPTS, [2])
    handle.remove()
    assert model.lm.interleaver.mediators == []
    assert not model.lm.interleaver.interleaving
    assert torch.equal(capture(model, tiny.PROMPTS, [2])[2], before)


def fail(*_):
    raise RuntimeError("in the middle")


def test_a_layer_that_does_not_exist_is_refused(model):
    with refused("layer"):
        capture(model, tiny.PROMPTS, [0, 3])
    with refused("layers"):
        capture(model, tiny.PROMPTS, [])


def test_prompts_that_are_not_rendered_are_refused(model):
    with refused("prompts"):
        capture(model, ["The cat sleeps."], [0])
    with refused("prompts"):
        capture(model, [], [0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_16_bits_is_captured_exactly_in_float32(dtype):
    network = tiny.causal_lm("llama").to(dtype)
    model = wrap(network, tiny.tokenizer(), {1: tiny.sae(1)}, name="narrow")
    captured = capture(model, tiny.PROMPTS[:2], [1], batch_size=1)[1]
    assert captured.dtype == torch.float32
    assert torch.equal(captured, captured.to(dtype).float())
    steering = SteeringVector(1, torch.ones(tiny.D_MODEL), "ones")
    assert len(generate(model, tiny.PROMPTS[:2], steering, max_new_tokens=3)) == 2
