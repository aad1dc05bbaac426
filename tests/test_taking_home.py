"""A steering vector is kept in a file, and applied to a plain transformers model."""

import json

import pytest
import tiny
import torch
from refusals import refused, unreadable
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from saif_helpers.export.model_identity import config_digest
from saif_helpers.export.vector_files import about_vector
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import tokenize
from saif_helpers.placements import PLACEMENTS
from saif_helpers.steering import generate_ids, log_probabilities
from saif_helpers.vectors import SteeringVector

KINDS = ["gemma2", "llama", "qwen2"]
LAYER, NEW = 1, 8
PLACES = [*PLACEMENTS, slice(0, 3), slice(-4, None), slice(2, -1)]


def causal_lm(kind):
    if kind != "qwen2":
        return tiny.causal_lm(kind)
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "initializer_range": 0.3}
    config = Qwen2Config(
        vocab_size=262,
        hidden_size=tiny.D_MODEL,
        intermediate_size=64,
        num_hidden_layers=tiny.N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        **ids,
    )
    return Qwen2ForCausalLM(config).eval()


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    return wrap(causal_lm(request.param), tiny.tokenizer(), saes, name=f"tiny-{request.param}")


@pytest.fixture(scope="module")
def plain(model):
    """Return the same model, which nothing of nnsight has touched."""
    return causal_lm(model.name.removeprefix("tiny-"))


def direction(seed=0, size=8):
    return size * torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(seed))


VECTOR = SteeringVector(LAYER, direction(), "random")


def inputs(prompts):
    tokens = tokenize(prompts, tiny.tokenizer())
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}


def written(plain, prompts, n_tokens=NEW, **options):
    """Return what a plain model writes greedily, up to what ends each row."""
    given = inputs(prompts)
    start = given["input_ids"].shape[1]
    options = {"do_sample": False, "max_new_tokens": n_tokens, "eos_token_id": [1, 5], **options}
    ids = plain.generate(**given, **options)[:, start:].tolist()
    return [up_to_end(row) for row in ids]


def up_to_end(ids):
    ends = [place for place, token in enumerate(ids) if token in (1, 5)]
    return ids[: ends[0] + 1] if ends else ids


def ours(model, prompts, steering, n_tokens=NEW):
    return [
        up_to_end(row) for row in generate_ids(model, prompts, steering, max_new_tokens=n_tokens)
    ]


def n_hooks(module):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in module.modules())


# Applied to a plain model


@pytest.mark.parametrize("placement", PLACES, ids=str)
def test_apply_gives_the_tokens_that_generate_gives(model, plain, placement):
    vector = VECTOR.at(placement, decay=0.5)
    unsteered = written(plain, tiny.PROMPTS)
    with vector.apply(plain, tiny.tokenizer()) as steered:
        assert steered is plain
        found = written(plain, tiny.PROMPTS)
    assert found == ours(model, tiny.PROMPTS, vector) != unsteered
    assert written(plain, tiny.PROMPTS) == unsteered


def test_apply_takes_a_mask(model, plain):
    for prompt in tiny.PROMPTS:
        n = len(model.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        vector = VECTOR.at(tuple(place % 3 == 0 for place in range(n)))
        with vector.apply(plain, tiny.tokenizer()):
            assert written(plain, [prompt]) == ours(model, [prompt], vector)
            with refused("placement"):
                written(plain, [f"{prompt}!"])


@pytest.mark.parametrize("placement", ["decaying", "every_position"])
def test_apply_gives_the_same_tokens_in_sixteen_bits(model, plain, placement):
    """Prompt by prompt, since padding changes sums, and sixteen bits round them."""
    half = causal_lm(model.name.removeprefix("tiny-")).bfloat16()
    wrapped = wrap(causal_lm(model.name[5:]).bfloat16(), tiny.tokenizer(), {}, name="half")
    vector = VECTOR.at(placement)
    for prompt in tiny.PROMPTS:
        with vector.apply(half, tiny.tokenizer()):
            assert written(half, [prompt]) == ours(wrapped, [prompt], vector)


def test_what_is_added_is_the_vector_at_its_positions_and_nowhere_else(plain):
    """Exact, in each pass of a batch with padding; the first token is never steered."""
    weak = SteeringVector(LAYER, direction(1, 1e-3)).at("every_position")
    passes = {False: [], True: []}
    for steered, kept in passes.items():
        handle = None

        def keep(_module, _inputs, output, kept=kept):
            kept.append(output.clone())

        if steered:
            with weak.apply(plain, tiny.tokenizer()):
                handle = plain.model.layers[LAYER].register_forward_hook(keep)
                written(plain, tiny.PROMPTS[:3])
        else:
            handle = plain.model.layers[LAYER].register_forward_hook(keep)
            written(plain, tiny.PROMPTS[:3])
        handle.remove()
    mask = inputs(tiny.PROMPTS[:3])["attention_mask"].bool()
    first = torch.cat([mask[:, :1], mask[:, 1:] & ~mask[:, :-1]], 1)
    assert len(passes[True]) == len(passes[False]) == NEW
    for step, (without, with_it) in enumerate(zip(*passes.values(), strict=True)):
        moved = mask & ~first if step == 0 else torch.ones(3, 1, dtype=torch.bool)
        if step == 0:  # later passes read what earlier ones left in the cache
            assert torch.equal(with_it, without + moved[:, :, None] * weak.vector)
        assert torch.equal((with_it != without).any(-1)[~moved], torch.zeros_like(moved)[~moved])
        assert (with_it != without).any(-1)[moved].all()


def test_the_first_token_is_that_of_the_tokenizer_or_of_the_configuration(plain):
    """A weak vector at the first token alone moves nothing, whoever names that token."""
    first = SteeringVector(LAYER, direction()).at(slice(0, 1))
    given = inputs(tiny.PROMPTS[:1])
    other = tiny.tokenizer()
    other.bos_token = "<unk>"
    with torch.no_grad():
        expected = plain(**given).logits
        for tokenizer, same in ((tiny.tokenizer(), True), (None, True), (other, False)):
            with first.apply(plain, tokenizer):
                assert torch.equal(plain(**given).logits, expected) is same


def test_vectors_may_be_applied_one_inside_the_other(model, plain):
    several = [
        SteeringVector(0, direction(1)).at("every_position"),
        SteeringVector(LAYER, direction(2)).at("decaying", decay=0.5),
        SteeringVector(LAYER, direction(3)),
    ]
    both = ours(model, tiny.PROMPTS, [several] * len(tiny.PROMPTS))
    a, b, c = several
    with a.apply(plain), b.apply(plain), c.apply(plain):
        assert written(plain, tiny.PROMPTS) == both
        with a.scaled(-1.0).apply(plain):
            assert written(plain, tiny.PROMPTS) != both
        assert written(plain, tiny.PROMPTS) == both


def test_one_context_serves_several_generations(model, plain):
    vector = VECTOR.at("decaying")
    with vector.apply(plain):
        for prompts in (tiny.PROMPTS[:1], tiny.PROMPTS, tiny.PROMPTS[3:], tiny.PROMPTS[:1]):
            assert written(plain, prompts) == ours(model, prompts, vector)


def test_nothing_stays_attached_also_after_an_error(plain):
    before, weights = n_hooks(plain), config_digest(plain)
    with VECTOR.apply(plain):
        assert n_hooks(plain) == before + 2
    with refused("input_ids"), VECTOR.apply(plain):
        plain(inputs_embeds=torch.zeros(1, 3, tiny.D_MODEL))
    assert n_hooks(plain) == before
    assert config_digest(plain) == weights
    assert not [name for name in vars(plain) if name in ("forward", "generate")]


def test_the_model_inside_a_model_with_saes_can_be_steered_as_well(model):
    expected = ours(model, tiny.PROMPTS, VECTOR)
    with VECTOR.apply(model.hf, model.tokenizer):
        assert written(model.hf, tiny.PROMPTS) == expected


def test_a_single_pass_reads_a_prompt(model, plain):
    """With a cache or without; the logits are those that log_probabilities judges by."""
    vector, (prompt,) = VECTOR.at("every_position"), tiny.PROMPTS[:1]
    ids = inputs([prompt])["input_ids"]
    likely = log_probabilities(model, "<bos>", model.tokenizer.decode(ids[0, 1:]), vector)
    for use_cache in (True, False):
        with vector.apply(plain), torch.no_grad():
            logits = plain(ids, use_cache=use_cache).logits[0, :-1].log_softmax(-1)
        found = logits.gather(1, ids[0, 1:, None])[:, 0]
        torch.testing.assert_close(found, likely, atol=1e-4, rtol=1e-4)


def test_beams_and_sampling_are_steered_too(plain):
    """With one beam that cannot be told from greedy search, and samples drawn at temperature 0+."""
    vector = VECTOR.at("decaying")
    with vector.apply(plain):
        greedy = written(plain, tiny.PROMPTS)
        cold = {"do_sample": True, "temperature": 1e-4, "top_k": 0}
        assert written(plain, tiny.PROMPTS, **cold) == greedy
        beams = written(plain, tiny.PROMPTS, num_beams=3)
    assert beams != written(plain, tiny.PROMPTS, num_beams=3)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"use_cache": False}, "use_cache"),
        ({"prefill_chunk_size": 8}, "past_key_values"),
        ({"cache_implementation": "static"}, "attention_mask"),
    ],
)
def test_a_generation_whose_passes_cannot_be_told_apart_is_refused(plain, options, argument):
    with VECTOR.apply(plain), refused(argument):
        written(plain, tiny.PROMPTS, **options)


def test_a_cache_from_before_is_refused(plain):
    ids = inputs(tiny.PROMPTS[:1])["input_ids"]
    with torch.no_grad():
        cache = plain(ids[:, :-1], use_cache=True).past_key_values
        with VECTOR.apply(plain), refused("past_key_values"):
            plain(ids[:, -1:], past_key_values=cache)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs_embeds": torch.zeros(1, 3, tiny.D_MODEL)}, "no input_ids"),
        (
            {"input_ids": torch.tensor([[2, 9, 0]]), "attention_mask": torch.tensor([[1, 1, 0]])},
            "padding_side='left'",
        ),
        (
            {"input_ids": torch.tensor([[2, 9]]), "attention_mask": torch.ones(1, 3)},
            r"mask of shape \(1, 3\) given for tokens of shape \(1, 2\)",
        ),
    ],
)
def test_a_pass_that_cannot_be_steered_rightly_is_refused(plain, given, message):
    with VECTOR.apply(plain), pytest.raises(ValueError, match=message):
        plain(**given)


def test_what_does_not_fit_the_model_is_refused_before_anything_is_attached(model, plain):
    before = n_hooks(plain)
    for vector, argument in (
        (SteeringVector(LAYER, torch.ones(5)), "vector"),
        (SteeringVector(7, direction()), "layer"),
        (SteeringVector(0, torch.full((tiny.D_MODEL,), torch.nan)), "vector"),
    ):
        with refused(argument), vector.apply(plain):
            pass
    with refused("model"):
        VECTOR.apply(model).__enter__()
    with (
        refused("model"),
        VECTOR.apply(torch.nn.Linear(2, 2)),
    ):
        pass
    assert n_hooks(plain) == before


# Kept in a file


@pytest.fixture
def file(tmp_path):
    return tmp_path / "vector.safetensors"


LONG = SteeringVector(LAYER, direction(5), "k = 3", placement="decaying", decay=1 / 3).scaled(0.1)


@pytest.mark.parametrize(
    "vector",
    [
        LONG,
        *(LONG.at(placement) for placement in PLACES),
        LONG.at((True, False, True)),
        SteeringVector(0, direction().bfloat16()),
        SteeringVector(0, direction().double() / 3),
    ],
    ids=str,
)
def test_a_vector_comes_back_exactly(file, vector):
    vector.save(file)
    found = SteeringVector.load(file)
    assert found.vector.dtype == vector.vector.dtype
    assert torch.equal(found.vector, vector.vector)
    for name in ("layer", "description", "placement", "decay", "strength"):
        assert getattr(found, name) == getattr(vector, name)
        assert type(getattr(found, name)) is type(getattr(vector, name))


def test_a_file_says_what_it_holds_and_of_which_model(file, model):
    LONG.save(file, model, settings={"k": 3, "few": {10: "a", 9: [1.5, None]}})
    about = about_vector(file)
    assert about["settings"] == {"k": 3, "few": {"10": "a", "9": [1.5, None]}}
    assert about["model"]["name"] == model.name
    assert about["model"]["n_layers"] == tiny.N_LAYERS
    assert about["model"]["saes"] == {str(tiny.D_SAE): "in memory"}
    assert len(about["model"]["config"]) == 64
    assert about["d_model"] == tiny.D_MODEL
    assert about["placement"] == {"named": "decaying"}
    assert about["strength"] == 0.1
    assert about["package"]
    assert list(load_file(file)) == ["vector"]


def test_equal_vectors_make_equal_files(file, tmp_path, model):
    for path in (file, tmp_path / "again.safetensors"):
        LONG.save(path, model, settings={"b": 1, "a": 2})
    assert file.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_the_same_model_under_another_name_or_dtype_is_accepted(file, model, plain, tmp_path):
    plain.save_pretrained(tmp_path / "model")
    elsewhere = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    elsewhere.config.pad_token_id = 7
    LONG.save(file, model)
    named = wrap(elsewhere, tiny.tokenizer(), {}, name="another name")
    for other in (plain, elsewhere, named, model):
        assert torch.equal(SteeringVector.load(file, other).vector, LONG.vector)


def test_a_vector_of_another_model_is_refused(file, model, plain):
    LONG.save(file, model)
    config = plain.config.to_dict()
    for changed in ({"num_hidden_layers": 2, "layer_types": None}, {"rms_norm_eps": 0.5}):
        other = type(plain)(type(plain.config)(**config | changed))
        with refused("model") as caught:
            SteeringVector.load(file, other)
        assert model.name in str(caught.value)
    SteeringVector(LAYER, torch.ones(5)).save(file)
    assert len(SteeringVector.load(file).vector) == 5
    with refused("model"):
        SteeringVector.load(file, model)
    SteeringVector(9, direction()).save(file)
    with refused("model"):
        SteeringVector.load(file, model)


def test_a_vector_that_does_not_fit_its_model_is_not_saved(file, model):
    for vector in (SteeringVector(LAYER, torch.ones(5)), SteeringVector(9, direction())):
        with refused("model"):
            vector.save(file, model)
    for settings in ({"a": float("nan")}, {"a": object()}):
        with refused("settings"):
            LONG.save(file, settings=settings)
    assert not list(file.parent.iterdir())


def test_a_damaged_file_is_refused(file):
    LONG.save(file)
    whole = file.read_bytes()
    for place in (3, 60, len(whole) - 1):  # length of the header, header, numbers
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with unreadable(file):
            SteeringVector.load(file)
    for part in (b"", whole[:5], whole[:-4]):
        file.write_bytes(part)
        with unreadable(file):
            SteeringVector.load(file)


def test_a_foreign_file_is_refused(file):
    save_file({"vector": direction()}, file)
    with unreadable(file):
        SteeringVector.load(file)
    save_file({"vector": direction()}, file, {"steering_vector": "[]"})
    with unreadable(file):
        SteeringVector.load(file)
    about = json.dumps({"format": "saif-vector-9", "sha256": "", "package": "7.0"})
    save_file({"vector": direction()}, file, {"steering_vector": about})
    with unreadable(file) as caught:
        SteeringVector.load(file)
    assert "saif-vector-9" in str(caught.value)
    file.write_text("not a vector")
    with unreadable(file):
        SteeringVector.load(file)
    with pytest.raises(FileNotFoundError):
        SteeringVector.load(file.with_name("nowhere"))


def test_a_vector_that_was_kept_steers_as_before(file, model, plain):
    vector = VECTOR.at("decaying", decay=0.3)
    vector.save(file, model)
    with SteeringVector.load(file, plain).apply(plain, tiny.tokenizer()):
        assert written(plain, tiny.PROMPTS) == ours(model, tiny.PROMPTS, vector)
