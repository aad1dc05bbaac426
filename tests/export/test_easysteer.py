"""EasySteer's files and clauses, read as its documentation says."""

import json

import gguf
import numpy as np
import pytest
import tiny
import torch

from saif_helpers.export.easysteer import easysteer_spec
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import tokenize, without_bos
from saif_helpers.placements import PLACEMENTS, position_scales
from saif_helpers.vectors import ClampedLatents, SteeringVector

VECTOR = SteeringVector(0, torch.randn(tiny.D_MODEL), "random")
PLACES = [
    *(name for name in PLACEMENTS if name != "decaying"),
    slice(None),
    slice(0, 3),
    slice(1, None),
    slice(-4, None),
    slice(2, -1),
    slice(-1000, 4),
    slice(-5, -2),
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "vector.gguf"


def with_tokenizer(**changed):
    tokenizer = tiny.tokenizer()
    for name, value in changed.items():
        setattr(tokenizer, name, value)
    return wrap(tiny.causal_lm("llama"), tokenizer, {}, name="tiny")


def selected(apply, ids, n_generated):
    """Tell which positions a clause selects: those of the prompt, those of generated tokens."""
    n = len(ids)

    def resolve(bound):
        return bound + n if bound < 0 else bound

    chosen = np.full(n, apply.get("prompt") == "all")
    for place in apply.get("prompt_positions", []):
        chosen[min(resolve(place), n - 1)] = True
    if "prompt_window" in apply:
        start, stop = apply["prompt_window"]
        low, high = resolve(start), n if stop is None else resolve(stop)
        chosen |= [low <= place < high for place in range(n)]
    for place in apply.get("exclude_prompt_positions", []):
        chosen[place] = False
    chosen &= ~np.isin(ids, apply.get("exclude_prompt_tokens", []))
    return chosen.tolist(), [apply.get("generation") == "all"] * n_generated


def ours(vector, tokens, tokenizer):
    counted = without_bos(tokens, tokenizer)
    scales = position_scales(counted, [0], [(vector.placement, vector.decay)])
    later = [scales.at(step) for step in (1, 2)]
    return (scales.at(0)[0] != 0).tolist(), [one is not None and bool(one) for one in later]


def check_positions(spec, vector, model, prompts):
    (one,) = spec["vectors"]
    for prompt in prompts:
        tokens = tokenize([prompt], model.tokenizer)
        ids = tokens["input_ids"][0].numpy()
        assert selected(one["apply"], ids, 2) == ours(vector, tokens, model.tokenizer)


@pytest.mark.parametrize("placement", PLACES, ids=str)
def test_the_positions_are_those_of_generate(file, placement):
    model, vector = tiny.wrapped("llama"), VECTOR.at(placement)
    spec = easysteer_spec(vector, file, model)
    check_positions(spec, vector, model, tiny.PROMPTS)


CHATML = "{% for message in messages %}<start_of_turn>{{ message['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("changed", "apply", "prompts"),
    [
        ({"bos_token": None}, {}, ["<start_of_turn>a", "<bos>a"]),
        ({"chat_template": None}, {"exclude_prompt_positions": [0]}, ["<bos>a", "<bos>ab"]),
        ({"chat_template": CHATML}, {"exclude_prompt_tokens": [2]}, ["<start_of_turn>a", "<bos>a"]),
        (
            {"chat_template": CHATML, "bos_token": "<start_of_turn>"},
            {"exclude_prompt_positions": [0]},
            ["<start_of_turn>a<start_of_turn>b"],
        ),
    ],
)
def test_the_beginning_of_the_sequence_is_left_out_where_there_is_one(
    file, changed, apply, prompts
):
    model, vector = with_tokenizer(**changed), VECTOR.at("every_position")
    spec = easysteer_spec(vector, file, model)
    assert spec["vectors"][0]["apply"] == {"prompt": "all", "generation": "all"} | apply
    check_positions(spec, vector, model, prompts)


def test_a_vector_that_does_not_fade_is_no_fading_one(file):
    model = tiny.wrapped("llama")
    for decay in (0.0, 1.0):
        vector = VECTOR.at("decaying", decay=decay)
        check_positions(easysteer_spec(vector, file, model), vector, model, tiny.PROMPTS)


def test_the_file_holds_the_vector_and_the_specification_names_it(file):
    vector = VECTOR.scaled(3.0)
    spec = easysteer_spec(vector, file, tiny.wrapped("llama"))
    (tensor,) = gguf.GGUFReader(file).tensors
    assert tensor.name == "direction.0"  # layer 0 can be steered there
    assert np.array_equal(tensor.data, vector.vector.numpy())
    (one,) = json.loads(json.dumps(spec))["vectors"]
    assert one.pop("apply") == {"prompt_positions": [-1]}
    assert one == {
        "source": str(file),
        "algorithm": "direct",
        "scale": 1.0,
        "normalize": False,
        "layers": [0],
    }


@pytest.mark.parametrize(
    ("vector", "name", "message"),
    [
        (VECTOR.at("decaying"), "a.gguf", r"decaying by 0\.8.*neither a vector that fades"),
        (VECTOR.at((True, False)), "a.gguf", "nor a mask"),
        (VECTOR.at(slice(3, 3)), "a.gguf", "which is nowhere"),
        (VECTOR.at(slice(-2, -4)), "a.gguf", "which is nowhere"),
        (VECTOR, "a.pt", r"takes a name \*\.gguf"),
        (VECTOR, "a|direct.gguf", r"without a \|"),
        (SteeringVector(5, VECTOR.vector), "a.gguf", "layer 5; .* layers 0-2"),
        (
            ClampedLatents(1, tiny.sae(1), torch.tensor([3]), torch.ones(1)),
            "a.gguf",
            "depends on the residual stream",
        ),
    ],
    ids=str,
)
def test_what_easysteer_cannot_do_is_refused(tmp_path, vector, name, message):
    with pytest.raises(ValueError, match=message):
        easysteer_spec(vector, tmp_path / name, tiny.wrapped("llama"))
    assert not list(tmp_path.iterdir())
