"""What holds for any input: public functions driven with generated texts, sizes and layers.

``make soak`` draws at least 2,000 examples in all; without it there are a few dozen for each test,
always the same ones (tests/conftest.py).
"""

import functools
import sys
from dataclasses import replace

import jaxtyping
import pytest
import tiny
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from saif_helpers.activations import capture, capture_tokens
from saif_helpers.analysis.separation import auroc
from saif_helpers.analysis.side_effects import content_kept
from saif_helpers.analysis.stability import jaccard, permute_pairs
from saif_helpers.cache.entry import pack, unpack
from saif_helpers.comparison import paired_difference
from saif_helpers.contents import Content
from saif_helpers.graders.checks import word_count
from saif_helpers.graders.exact import GRADERS
from saif_helpers.graders.grader import Item
from saif_helpers.graders.ifeval import follows_ifeval
from saif_helpers.graders.natural import NATURAL_GRADERS, answer
from saif_helpers.graders.run_check import run_check
from saif_helpers.graders.text import identify_language, repetition
from saif_helpers.grading import grade
from saif_helpers.instructions import InstructionType
from saif_helpers.intervals import wilson
from saif_helpers.latents import decode, encode
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import tokenize, without_bos
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import make_pairs, render
from saif_helpers.ranking import rank_latents
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.vector_rules import saif_vector
from saif_helpers.vectors import SteeringVector

TOKENIZER = tiny.tokenizer()
PIECES = [*tiny.SPECIAL, "<", ">", "_of_turn>", "user\n", "\n", "\0", "\x1b", " ", "{", "}", "é"]

anything = st.text(st.characters(), max_size=30)  # with surrogates and control characters
mixed = st.lists(st.one_of(st.sampled_from(PIECES), anything), max_size=6).map("".join)
letters = st.characters(exclude_categories=["Cc", "Cs"])
contents = st.text(letters, min_size=1, max_size=30).filter(str.strip)
kinds = st.sampled_from(["gemma2", "llama"])
styles = st.sampled_from(["chat", "plain"])
layer_sets = st.lists(st.integers(0, tiny.N_LAYERS - 1), min_size=1, max_size=4)
factors = st.floats(-50, 50, width=32)
seeds = st.integers(0, 2**31)


@st.composite
def prompt_lists(draw, most=5):
    texts = draw(st.lists(contents, min_size=1, max_size=most))
    chosen = [draw(styles) for _ in texts]
    # beartype draws the item that it checks, and hypothesis allows no other draw here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return [render(text, TOKENIZER, style) for text, style in zip(texts, chosen, strict=True)]


@functools.cache
def model_in(kind, dtype):
    if dtype == torch.float32:
        return tiny.wrapped(kind)
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    return wrap(tiny.causal_lm(kind).to(dtype), TOKENIZER, saes, name=f"tiny-{kind}-{dtype}")


models = st.builds(model_in, kinds, st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def vectors():
    """Functions that make a vector: its own checks draw random numbers, as no strategy may."""

    def made(layer, seed, scale, placement, decay):
        where = {"placement": placement, "decay": decay}
        offset = scale * random(seed, tiny.D_MODEL)
        return functools.partial(SteeringVector, layer, offset, "random", **where)

    layers, scales = st.integers(0, tiny.N_LAYERS - 1), st.floats(0.1, 20)
    return st.builds(made, layers, seeds, scales, st.sampled_from(PLACEMENTS), st.floats(0, 1))


steered = st.fixed_dictionaries(
    {
        "max_new_tokens": st.integers(1, 9),
        "batch_size": st.one_of(st.none(), st.integers(1, 6)),
    }
)


@given(mixed, styles)
def test_a_text_is_refused_or_stays_in_the_users_turn_as_it_is(text, style):
    refused = ""
    try:
        prompt = render(text, TOKENIZER, style)
    except ValueError as error:
        refused = str(error)
    if refused:
        assert refused.startswith(f"the text {text!r} ")
        return
    ids = TOKENIZER(prompt, add_special_tokens=False)["input_ids"]
    special = [TOKENIZER.decode([i]) for i in ids if i in TOKENIZER.all_special_ids]
    turns = ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_turn>"]
    assert special == (turns if style == "chat" else ["<bos>"])
    if style == "chat":
        end = ids.index(TOKENIZER.convert_tokens_to_ids("<end_of_turn>"))
        assert TOKENIZER.decode(ids[2:end]) == "user\n" + text.strip()
    else:
        assert TOKENIZER.decode(ids[1:]) == text


@given(
    st.lists(contents, min_size=1, max_size=8),
    st.lists(contents, min_size=2, max_size=6, unique_by=str.strip),
    st.sampled_from(["after", "before"]),
    styles,
    seeds,
)
def test_a_pair_can_be_read_back(texts, wordings, position, style, seed):
    escaped = [text.replace("{", "{{").replace("}", "}}") for text in wordings]
    spread = {"en": escaped[::2], "fr": escaped[1::2]}
    mine = InstructionType(name="mine", wordings=spread, grader=GRADERS["uppercase"])
    pairs = make_pairs(
        mine, [*map(Content, texts)], TOKENIZER, position=position, style=style, seed=seed
    )
    for pair, text in zip(pairs, texts, strict=True):
        assert pair.wording in wordings
        parts = [text, pair.wording] if position == "after" else [pair.wording, text]
        assert pair.positive == render(" ".join(parts), TOKENIZER, style)
        assert pair.negative == render(text, TOKENIZER, style)
    uses = [sum(pair.language == language for pair in pairs) for language in spread]
    assert abs(uses[0] - uses[1]) <= 1


@given(mixed, mixed)
def test_a_wording_is_refused_or_can_be_filled_with_any_word(wording, word):
    slotted = [wording + " {word}", "Use {word}."]
    refused = ""
    try:
        mine = InstructionType("mine", {"en": slotted}, GRADERS["keyword"], slots=["word"])
    except ValueError as error:
        refused = str(error)
    if refused:
        assert refused.startswith("instruction 'mine' has ")
        return
    assume(word.strip())
    assert mine.fill(slotted[0], {"word": word}).endswith(" " + word)


@given(prompt_lists(most=8))
def test_padding_stands_on_the_left_and_counts_for_nothing(prompts):
    tokens = tokenize(prompts, TOKENIZER)
    counted = without_bos(tokens, TOKENIZER)
    for row, prompt in enumerate(prompts):
        alone = TOKENIZER(prompt, add_special_tokens=False)["input_ids"]
        assert tokens["input_ids"][row, -len(alone) :].tolist() == alone
        assert tokens["attention_mask"][row].tolist().count(1) == len(alone)
        assert tokens["position_ids"][row, -len(alone) :].tolist() == [*range(len(alone))]
        assert counted[row].sum() == len(alone) - 1


@given(models, prompt_lists(), layer_sets, st.integers(1, 6), st.randoms(use_true_random=False))
def test_a_capture_is_the_same_for_any_batches_order_and_layers(model, prompts, layers, size, draw):
    found = capture(model, prompts, layers, size)
    assert set(found) == set(layers)
    again = capture(model, prompts, layers, size)
    order = draw.sample(range(len(prompts)), len(prompts))
    other = capture(model, [prompts[i] for i in order], layers, len(prompts))
    close = {torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 2e-1}[model.lm.dtype]
    for layer in layers:
        assert torch.equal(found[layer], again[layer])
        beside = capture(model, prompts, sorted({layer, max(layers)}), size)[layer]
        assert torch.equal(found[layer], beside)  # another last layer would round another way
        alone = capture(model, prompts, [layer], size)[layer]
        assert alone.shape == (len(prompts), tiny.D_MODEL)
        assert alone.dtype == torch.float32
        for one, two in ((alone, found[layer]), (other[layer], found[layer][order])):
            assert ((one - two).norm(dim=1) <= close * two.norm(dim=1)).all()


@given(kinds, prompt_lists(), layer_sets, st.integers(1, 6))
def test_every_text_token_is_captured_once(kind, prompts, layers, size):
    model = tiny.wrapped(kind)
    n = sum(len(ids) - 1 for ids in TOKENIZER(prompts, add_special_tokens=False)["input_ids"])
    parts = list(capture_tokens(model, prompts, layers, size))
    for layer in layers:
        stream = torch.cat([part[layer] for part in parts])
        assert stream.shape == (n, tiny.D_MODEL)
        assert stream.isfinite().all()


@given(models, prompt_lists(most=4), vectors(), steered)
def test_strength_0_is_no_steering(model, prompts, vector, how):
    plain = generate(model, prompts, **how)
    assert generate(model, prompts, vector().scaled(0.0), **how) == plain
    assert generate(model, prompts, [None] * len(prompts), **how) == plain


@given(kinds, prompt_lists(most=4), vectors(), steered, factors)
def test_steered_texts_do_not_depend_on_their_batch(kind, prompts, vector, how, strength):
    model, vector = tiny.wrapped(kind), vector().scaled(strength)
    together = generate(model, prompts, vector, **how)
    assert generate(model, prompts, [vector] * len(prompts), **how) == together
    backwards = generate(model, prompts[::-1], vector, **how)
    assert backwards[::-1] == together
    alone = [generate(model, [p], vector, **how)[0] for p in prompts]
    assert alone == together


@given(kinds, prompt_lists(most=1), contents, vectors(), factors)
def test_probabilities_are_those_and_strength_is_a_factor(kind, prompts, output, vector, strength):
    model, vector, n = tiny.wrapped(kind), vector(), len(TOKENIZER(output)["input_ids"])
    likely = log_probabilities(model, prompts[0], output, vector.scaled(strength))
    assert likely.shape == (n,)
    assert (likely <= 0).all()
    by_hand = replace(vector, vector=strength * vector.vector)
    assert torch.equal(likely, log_probabilities(model, prompts[0], output, by_hand))
    plain = log_probabilities(model, prompts[0], output)
    nothing = log_probabilities(model, prompts[0], output, vector.scaled(0.0))
    assert torch.equal(nothing, plain)


@pytest.mark.filterwarnings("ignore:k = :UserWarning")  # latents that no pair switches on
@given(st.integers(0, 2), st.integers(1, 9), st.integers(1, tiny.D_SAE), seeds, factors, factors)
def test_a_vector_is_linear_in_strength_and_beta(layer, n, k, seed, first, second):
    sae = tiny.sae(layer)
    latents = encode(sae, 3 * random(seed, n, tiny.D_MODEL))
    assume(latents.any())
    ranking = rank_latents(latents, encode(sae, 3 * random(seed + 1, n, tiny.D_MODEL)))

    def at(beta):
        return saif_vector(ranking, sae, k, beta).vector

    close = {"rtol": 1e-3, "atol": 1e-3 * (1 + abs(first) + abs(second)) * at(1.0).norm().item()}
    torch.testing.assert_close(at(first + second) - at(first), at(second) - at(0.0), **close)
    vector = saif_vector(ranking, sae, k)
    assert torch.equal(vector.scaled(first).vector, first * vector.vector)
    both = vector.scaled(first).vector + vector.scaled(second).vector
    torch.testing.assert_close(vector.scaled(first + second).vector, both, **close)


@st.composite
def activations(draw):
    """Small whole numbers, whose means do not depend on the order of the sum."""
    n, d = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    made = torch.Generator().manual_seed(draw(seeds))
    return [torch.randint(0, 3, (n, d), generator=made).float() for _ in range(2)]


@given(activations(), seeds)
def test_a_ranking_does_not_depend_on_the_order_of_the_pairs(pair, seed):
    positive, negative = pair
    ranking = rank_latents(positive, negative)
    order = torch.randperm(len(positive), generator=torch.Generator().manual_seed(seed))
    other = rank_latents(positive[order], negative[order])
    for name in ("sensitivity", "mean", "negative_mean", "order"):
        assert torch.equal(getattr(ranking, name), getattr(other, name))
    torch.testing.assert_close(ranking.std, other.std)
    sorted_scores = ranking.sensitivity[ranking.order]
    assert (sorted_scores.diff() <= 0).all()
    assert ((sorted_scores >= 0) & (sorted_scores <= 1)).all()
    assert sorted(ranking.order.tolist()) == [*range(positive.shape[1])]
    swapped = permute_pairs(positive, negative, seed=seed)
    assert torch.equal(sum(swapped), positive + negative)


@given(st.sets(st.integers(0, 9), min_size=1), st.sets(st.integers(0, 9)), activations())
def test_overlaps_and_areas_are_shares_and_symmetric(first, second, pair):
    one, other = (torch.tensor(sorted(s), dtype=torch.long) for s in (first, second))
    assert 0 <= jaccard(one, other) == jaccard(other, one) <= 1
    assert jaccard(one, one) == 1
    areas = auroc(*pair)
    assert ((areas >= 0) & (areas <= 1)).all()
    torch.testing.assert_close(areas, 1 - auroc(*pair[::-1]))


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.01, 0.999))
def test_an_interval_lies_within_0_and_1_and_holds_its_value(n, share, confidence):
    found = wilson(round(share * n), n, confidence)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_difference_lies_within_its_interval_and_turns_with_its_sign(answers):
    mine = InstructionType("mine", {"en": ["A.", "B."]}, GRADERS["uppercase"])
    items = [Item(f"a{number}") for number in range(len(answers))]
    outputs = [
        [
            item.content.upper() if answer[way] else ""
            for item, answer in zip(items, answers, strict=True)
        ]
        for way in (0, 1)
    ]
    graded = [grade(each, items, mine) for each in outputs]
    found, turned = (paired_difference(*pair, "strict") for pair in (graded, graded[::-1]))
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (found.value, found.low) == pytest.approx((-turned.value, -turned.high))


words = st.sampled_from(["The", "cat", "sleeps", "in", "le chat", "3", "!", "?", '"', "```", ":"])
outputs = st.one_of(mixed, st.lists(st.one_of(words, mixed), max_size=12).map(" ".join))
CHECKS = {
    "no comma": follows_ifeval("punctuation:no_comma"),
    "french": follows_ifeval("language:response_language", language="fr"),
    "json": follows_ifeval("detectable_format:json_format"),
}


@given(outputs, contents, st.one_of(st.none(), outputs.filter(str.strip)))
def test_every_grader_answers_for_any_text(output, content, reference):
    for graders, right in ((GRADERS, reference or content), (NATURAL_GRADERS, reference)):
        for name, grader in graders.items():
            item = Item(content, right, {"keyword": content})
            mine = InstructionType(name, {"en": ["A.", "B."]}, grader)
            strict, loose = (
                run_check(mine.grader, mine.name, kind, output, item)
                for kind in ("strict", "loose")
            )
            # The organism's strict check compares, its loose one looks at the form alone.
            assert loose or not strict or graders is GRADERS
    for check in (word_count(1, 3), *CHECKS.values()):
        assert isinstance(check(output, Item(content)), bool)
    assert 0 <= repetition([output, content]) <= 1
    assert isinstance(answer(output, Item(content)), str)
    assert identify_language(output) in (None, "en", "fr", "es", "de")
    assert 0 <= content_kept([output], [content]).item() <= 1.0001


@given(
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.integers(0, 2),
    seeds,
)
def test_encoding_and_decoding_keep_the_leading_shape(shape, dtype, layer, seed):
    sae, residual = tiny.sae(layer), random(seed, *shape, tiny.D_MODEL).to(dtype)
    latents = encode(sae, residual)
    assert latents.shape == (*shape, tiny.D_SAE)
    assert (latents >= 0).all()
    assert torch.equal(decode(sae, latents), decode(sae, latents.double()))
    assert decode(sae, latents).shape == (*shape, tiny.D_MODEL)


@given(
    st.dictionaries(anything, st.one_of(anything, st.integers(), st.none())),
    st.dictionaries(st.text("abc.", min_size=1), st.lists(st.integers(0, 3), max_size=3)),
    st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
)
def test_a_stores_entry_can_be_read_back(key, shapes, dtype):
    tensors = {name: torch.ones(shape).to(dtype) for name, shape in shapes.items()}
    data = pack(key, tensors)
    found, read = unpack(data)
    assert found == key
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert data == pack(found, read)


def test_a_soak_run_draws_at_least_2000_examples():
    here = vars(sys.modules[__name__]).values()
    tests = [test for test in here if getattr(test, "is_hypothesis_test", False)]
    assert len(tests) * settings.get_profile("soak").max_examples >= 2000
