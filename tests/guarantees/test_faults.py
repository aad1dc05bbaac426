"""Faults that were found from outside: the smallest input of each, and what is right."""

import os
import threading
import unicodedata
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import tiny
import torch
import transformers
from refusals import refused
from sae_lens import AbsTopKSAE, AbsTopKSAEConfig
from transformers import AddedToken, AutoModelForCausalLM

import saif_helpers
from saif_helpers.activations import capture
from saif_helpers.analysis.contexts import top_contexts
from saif_helpers.cache.store import Store
from saif_helpers.comparison import paired_difference
from saif_helpers.contents import Content
from saif_helpers.graders.checks import word_count
from saif_helpers.graders.grader import Item
from saif_helpers.graders.ifeval import follows_ifeval
from saif_helpers.graders.text import contains_word, words_of
from saif_helpers.grading import Grades, grade
from saif_helpers.hub.loading import load
from saif_helpers.hub.published_saes import choose_layers, pretrained_saes, resolved
from saif_helpers.instructions import InstructionType, load_instructions
from saif_helpers.intervals import wilson
from saif_helpers.latents import encode
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import whole_characters
from saif_helpers.prompts import make_pairs, render
from saif_helpers.ranking import rank_captured, rank_latents
from saif_helpers.steering import generate
from saif_helpers.study.claims import Criterion
from saif_helpers.study.settings import settings_grid
from saif_helpers.vector_rules import mean_difference_vector, saif_vector
from saif_helpers.vectors import SteeringVector

ITEM = Item("x")
FRENCH = load_instructions()["french"]


@pytest.fixture
def as_users_have_it(monkeypatch):
    """Without the checks of array shapes, which run in tests alone."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def model():
    return tiny.wrapped("gemma2")


@pytest.mark.parametrize("text", ["Переведи это.", "a猫b", "😀", "plain", "é\ufffd!", ""])
def test_tokens_of_one_character_are_decoded_together(text):
    tokenizer = tiny.tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = whole_characters(ids, tokenizer)
    assert "".join(piece for piece, _ in pieces) == text
    assert [at for _, places in pieces for at in places] == list(range(len(ids)))
    if "\ufffd" not in text:
        assert [piece for piece, _ in pieces] == list(text)  # the tokenizer knows bytes


def test_contexts_show_whole_characters_with_their_largest_activation(model):
    prompt = render("Переведи эту фразу.", model.tokenizer)
    (active,) = (encode(model.saes[1], capture(model, [prompt], [1])[1]) > 0).nonzero()[:1, 1]
    (context,) = top_contexts(model, [prompt], 1, [int(active)])[int(active)]
    assert "".join(context.tokens) == prompt.removeprefix("<bos>")
    assert len(context.tokens) == len(context.activations)
    assert context.peak > 0


def test_thousands_of_added_tokens_do_not_slow_a_prompt_down():
    tokenizer = tiny.tokenizer()
    render("The cat sleeps.", tokenizer)
    tokenizer.add_tokens([AddedToken(f"<unused{i}>", special=True) for i in range(3000)])
    looks = []
    decoder = type(tokenizer).added_tokens_decoder
    with pytest.MonkeyPatch.context() as patch:
        spy = property(lambda self: looks.append(1) or decoder.fget(self))
        patch.setattr(type(tokenizer), "added_tokens_decoder", spy)
        for _ in range(5):
            render("The cat sleeps.", tokenizer)
        with refused("text"):
            render("The <unused7> sleeps.", tokenizer)
        template = tokenizer.chat_template
        tokenizer.chat_template = template + "{# <new> #}"
        render("The cat sleeps.", tokenizer)
    assert len(looks) == 2, "looked up anew at each prompt"


def test_two_threads_on_one_model_wait_for_each_other(model):
    expected = capture(model, tiny.PROMPTS, [1])[1]
    written = generate(model, tiny.PROMPTS, max_new_tokens=3)
    wrong = []

    def work():
        try:
            for _ in range(4):
                assert torch.equal(capture(model, tiny.PROMPTS, [1])[1], expected)
                assert generate(model, tiny.PROMPTS, max_new_tokens=3) == written
        except Exception as error:  # told below
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def test_keywords_of_ifeval_mean_themselves():
    has = follows_ifeval("keywords:existence", keywords=["C++"])
    assert (has("A cat.", ITEM), has("I write C++ code.", ITEM)) == (False, True)
    assert not follows_ifeval("keywords:existence", keywords=["a.b"])("aXb", ITEM)
    often = follows_ifeval("keywords:frequency", keyword="a.b", frequency=1, relation="at least")
    assert (often("aXb", ITEM), often("a.b", ITEM)) == (False, True)
    without = follows_ifeval("keywords:forbidden_words", forbidden_words=["a.b"])
    assert (without("aXb", ITEM), without("an a.b here", ITEM)) == (True, False)
    with refused("forbidden_words"):
        follows_ifeval("keywords:forbidden_words", forbidden_words=["C++"])


def test_marks_belong_to_their_letters():
    two = word_count(2, 2)
    for text in ("school pupil", "हिन्दी भाषा", unicodedata.normalize("NFD", "école élève")):
        assert two(text, ITEM), text
    assert words_of("Les ÉLÈVES") == ["les", "élèves"]


@pytest.mark.parametrize(
    ("text", "word", "there"),
    [
        ("हिन्दी में", "हिन", False),
        ("हिन्दी में", "में", True),
        ("我在花园里看书", "花园", True),
        ("我在花园里看书", "公园", False),
        ("the gardens", "garden", False),
        (unicodedata.normalize("NFD", "une école."), "École", True),
    ],
)
def test_a_word_is_found_whole_where_words_have_ends(text, word, there):
    assert contains_word(text, word) == there


def test_more_latents_than_are_sensitive_warn():
    positive = torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0]])
    negative = torch.tensor([[0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
    ranking = rank_latents(positive, negative)
    sae = tiny.sae(1, d_sae=3)
    saif_vector(ranking, sae, 1)
    with pytest.warns(UserWarning, match="only 1 of them are ever switched on"):
        saif_vector(ranking, sae, 2)


def test_latents_that_can_be_negative_are_refused():
    sae = AbsTopKSAE(AbsTopKSAEConfig(d_in=32, d_sae=64, k=8))
    with refused("sae"):
        encode(sae, torch.randn(20, 32))
    with refused("sae"):
        wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {1: sae}, name="x")


def test_a_ranking_of_parts_is_the_ranking_of_all(model, monkeypatch):
    positive, negative = ({1: torch.randn(50, 32)} for _ in range(2))
    whole = rank_captured(model, positive, negative)[1]
    monkeypatch.setattr("saif_helpers.latents.ENCODED_AT_ONCE", 7 * model.saes[1].cfg.d_sae)
    parts = rank_captured(model, positive, negative)[1]
    assert torch.equal(parts.order, whole.order)
    assert parts.layer == whole.layer == 1
    for name in ("sensitivity", "mean", "std", "negative_mean"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    with refused("positive"):
        rank_captured(model, {1: torch.empty(0, 32)}, {1: torch.empty(0, 32)})


@pytest.mark.parametrize(
    ("positive", "negative", "argument"),
    [
        (torch.ones(300, 4), torch.ones(1, 4), "negative"),
        (torch.ones(3, 4), torch.ones(3, 5), "negative"),
        (torch.full((3, 4), torch.nan), torch.ones(3, 4), "latents"),
        (torch.ones(3, 4), torch.full((3, 4), torch.inf), "latents"),
        (torch.randn(9, 4), torch.randn(9, 4), "latents"),
    ],
)
def test_what_is_no_pair_of_latents_is_not_ranked(positive, negative, argument, as_users_have_it):
    with refused(argument):
        rank_latents(positive, negative)


def test_a_ranking_and_an_sae_know_their_layer(model):
    streams = {layer: torch.randn(20, 32) for layer in (0, 1)}
    others = {layer: -stream for layer, stream in streams.items()}
    rankings = rank_captured(model, streams, others)
    assert saif_vector(rankings[1], model.saes[1], 3).layer == 1
    with refused("sae"):
        saif_vector(rankings[0], model.saes[1], 3)


@pytest.mark.parametrize(
    "vector", [torch.tensor(3.0), torch.ones(32, 32), torch.ones(32, dtype=torch.long)]
)
def test_what_is_no_vector_is_refused(vector, as_users_have_it):
    with refused("vector"):
        SteeringVector(1, vector, "x")


def test_what_other_libraries_take_is_refused_in_words(model, as_users_have_it):
    vector = torch.ones(32)
    with refused("steering"):
        generate(model, tiny.PROMPTS, {0: vector, 1: vector}, max_new_tokens=2)
    with refused("layer"):
        mean_difference_vector(vector, vector, 1)
    with refused("residual stream"):
        mean_difference_vector({1: vector}, {1: vector}, 1)


def test_streams_know_their_layer(model):
    """Another layer's SAE, or the streams of two layers, is what hasty loops mix up."""
    residual = capture(model, tiny.PROMPTS, [1])
    expected = encode(model.saes[1], residual[1])
    assert torch.equal(encode(model.saes[1], residual), expected)
    with refused("residual"):
        encode(tiny.sae(2), residual)
    unnamed = tiny.sae(1)
    unnamed.cfg.metadata.hook_name = None
    assert torch.equal(encode(unnamed, residual), encode(unnamed, residual[1]))
    with refused("residual"):
        encode(unnamed, residual | {0: residual[1]})
    with refused("layer"):
        mean_difference_vector(residual, {0: residual[1]}, 1)


@pytest.mark.parametrize("config", ["Lfm2Config", "Qwen3NextConfig"])
def test_a_hybrid_model_is_refused_before_anything_runs(config):
    sizes = {
        "vocab_size": 262,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 1,
    }
    if config == "Lfm2Config":
        sizes["full_attn_idxs"] = [1]
    else:
        sizes |= {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
        sizes |= {"head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2}
    model = AutoModelForCausalLM.from_config(getattr(transformers, config)(**sizes)).eval()
    with refused("model"):
        wrap(model, tiny.tokenizer(), {}, name="hybrid")


def test_saes_are_chosen_in_one_way(tmp_path):
    for chosen in ({"layers": [3]}, {"size": "16k"}, {"release": "x"}):
        with refused(next(iter(chosen))):
            load(str(tmp_path), saes={3: tmp_path}, **chosen)
    with refused("release"):
        load(str(tmp_path), saes=tmp_path, release="x")


def test_a_canonical_id_is_recorded_as_its_files():
    release = "gemma-scope-2b-pt-res-canonical"
    path = "google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"
    assert resolved(release, "layer_20/width_16k/canonical") == path
    assert resolved("mine", "an-id") == "mine/an-id"
    assert str(pretrained_saes([release])[20, 2**14]) == path


def test_no_public_name_is_a_module_too():
    modules = {path.stem for path in Path(saif_helpers.__file__).parent.glob("*.py")}
    assert not modules & set(saif_helpers.__all__), (
        "which of the two it is hangs on what came first"
    )


def grades(instruction="french", n=3):
    items = tuple(Item(str(number)) for number in range(n))
    return Grades(instruction, items, ("",) * n, (True,) * n, (True,) * n)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: wilson(3, 4, confidence=95), r"confidence=95 given; .* 95 % is 0.95"),
        (lambda: grades().proportion("strict", 90), "confidence=90"),
        (lambda: Criterion("x", wilson(3, 4), "over", 0.5), "give 'above' or 'below'"),
        (lambda: paired_difference(grades(), grades("german"), "loose"), "compare one instruction"),
        (lambda: paired_difference(grades(), grades(), "loose", 95), "confidence=95"),
        (lambda: grade("one text", grades(n=8).items, FRENCH), "give a list of outputs"),
        (lambda: settings_grid([0], [15], [0], "fading"), "placement 'fading'"),
        (lambda: choose_layers([0.5], 4, "x"), "integers"),
        (lambda: choose_layers(True, 4, "x"), "integers"),
        (lambda: choose_layers("0", 4, "x"), "integers"),
        (lambda: load(device="gpu"), "give 'cpu', 'cuda', 'cuda:1' or 'auto'"),
        (lambda: rank_latents(torch.ones(2, 4), torch.zeros(2, 4)).top(2.5), "k=2.5 given"),
        (lambda: make_pairs("klingon", ["A cat."], tiny.tokenizer()), "there are .*french"),
    ],
)
def test_hasty_input_is_refused_in_words(call, said, as_users_have_it):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused():
    with refused("device"):
        load(device="cuda")


def test_hasty_input_is_taken_where_it_is_clear(model, as_users_have_it):
    few = settings_grid(0, 15, 0.0, "decaying", iter([1, 2]), 0.5)
    assert few == settings_grid([0], [15], [0.0], ["decaying"], [1, 2], [0.5])
    assert few == settings_grid(iter([0]), 15, 0.0, iter(["decaying"]), [1, 2], iter([0.5]))
    assert len(settings_grid([0, 1], [15], [0.0], ["decaying"], [1], (d for d in (0.5, 0.8)))) == 4
    (pair,) = make_pairs("french", "A cat sleeps.", model, seed=2)
    assert (pair,) == tuple(make_pairs(FRENCH, [Content("A cat sleeps.")], model.tokenizer, seed=2))
    ranking = rank_latents(torch.ones(2, 4), torch.zeros(2, 4))
    assert ranking.top(2.0).tolist() == [0, 1]
    listed = SteeringVector(1, [1.0] * 32, "a list")
    array = SteeringVector(1, np.ones(32), "an array")
    for other in (listed, array):
        assert torch.equal(other.vector, torch.ones(32))
    assert generate(model, tiny.PROMPTS, listed, max_new_tokens=2.0) == generate(
        model, tiny.PROMPTS, array, max_new_tokens=2
    )


def test_graders_may_be_a_function_and_answer_as_numpy_does():
    shout = InstructionType(
        name="shout",
        wordings={"en": ["Shout it.", "Say it loudly."]},
        grader=lambda output, item: np.bool_(output.endswith("!")),
    )
    found = grade(["No.", "Yes!"], grades(n=2).items, shout)
    assert found.strict == found.loose == (False, True)
    assert all(type(answer) is bool for answer in found.strict)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_stores_folder_is_left_out(tmp_path):
    store = Store(tmp_path)
    model = wrap(tiny.causal_lm("gemma2"), tiny.tokenizer(), {}, name="x", store=store)
    expected = capture(model, tiny.PROMPTS, [1])[1]
    (entry,) = tmp_path.glob("*/*.safetensors")
    os.mkfifo(entry.with_name("0" * 64 + entry.suffix))
    again = wrap(tiny.causal_lm("gemma2"), tiny.tokenizer(), {}, name="x", store=Store(tmp_path))
    assert torch.equal(capture(again, tiny.PROMPTS, [1])[1], expected)
