import string

import pytest
import tiny
from refusals import refused

from saif_helpers.contents import Content
from saif_helpers.graders.grader import Grader
from saif_helpers.instructions import InstructionType
from saif_helpers.prompts import make_pairs
from saif_helpers.steering import generate, generate_ids, text_of
from saif_helpers.study.baselines import (
    first_tokens,
    force_beginnings,
    force_first_token,
    most_frequent_first_token,
    reference_answers,
)

SHOUT = InstructionType(
    name="shout",
    wordings={"en": ["Say it loudly.", "Shout it."], "de": ["Sag es laut.", "Ruf es."]},
    grader=Grader(strict=lambda output, item: True, loose=lambda output, item: True),
)
MODEL = tiny.wrapped("gemma2")


def test_references_are_taken_and_only_what_is_missing_is_written_by_the_model():
    known = Content("A cat.", references={"shout": "A CAT!"})
    unknown, other = Content("A dog."), Content("A bird.", references={"whisper": "a bird"})
    contents = [unknown, known, other]
    answers = reference_answers(MODEL, SHOUT, contents, max_new_tokens=5, seed=1)
    pairs = make_pairs(SHOUT, contents, MODEL.tokenizer, languages=["en"], seed=1)
    written = generate(MODEL, [pairs[0].positive, pairs[2].positive], max_new_tokens=5)
    assert answers == [written[0], "A CAT!", written[1]]


def test_with_all_references_nothing_is_generated(monkeypatch):
    monkeypatch.setattr("saif_helpers.study.baselines.generate", None)
    known = [Content(text, references={"shout": text.upper()}) for text in ("A.", "B.")]
    assert reference_answers(MODEL, SHOUT, known) == ["A.", "B."]


def test_beginnings_are_forced_and_the_unsteered_model_goes_on():
    model = tiny.wrapped("llama")
    prompts, outputs = tiny.PROMPTS[:3], ["Le chat dort", "La", "Les rats mangent"]
    plain = generate(model, prompts, max_new_tokens=6)
    assert force_beginnings(model, prompts, outputs, 0, max_new_tokens=6) == plain
    begun = force_beginnings(model, prompts, outputs, 2, max_new_tokens=6)
    assert begun[1] == "La"  # two tokens long, so there is nothing to continue
    for text, prompt, output in zip(begun[::2], prompts[::2], outputs[::2], strict=True):
        (rest,) = generate(model, [prompt + output[:2]], max_new_tokens=4)
        assert text == output[:2] + rest
    whole = force_beginnings(model, prompts, outputs, 20, max_new_tokens=30)
    assert whole == outputs
    with refused("n"):
        force_beginnings(model, prompts, outputs, 6, max_new_tokens=6)
    with refused("outputs"):
        force_beginnings(model, prompts, outputs[:1], 1)


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def test_first_tokens_are_those_of_the_tokenizer(model):
    found = first_tokens(model, ["Le chat", " El", "À", ""])
    assert found[-1] is None
    assert [model.tokenizer.decode([token]) for token in found[:-1]] == ["L", " ", "\ufffd"]


def test_the_most_frequent_first_token_is_counted_and_ties_go_to_the_first(model):
    assert most_frequent_first_token(model, ["a", "bc", "b", "c"]) == "b"
    assert most_frequent_first_token(model, ["x", "y", "y", "x"]) == "x"
    assert most_frequent_first_token(model, ["È", "À", "Àa", "x"]) == "À"  # share their first byte
    assert most_frequent_first_token(model, ["", ""]) == ""
    with refused("texts"):
        most_frequent_first_token(model, [])


def test_forcing_a_token_writes_it_and_goes_on_unsteered(model):
    prompts = tiny.PROMPTS[:2]
    outputs = force_first_token(model, prompts, "L", max_new_tokens=6)
    rest = generate(model, [prompt + "L" for prompt in prompts], max_new_tokens=5)
    assert outputs == ["L" + text for text in rest]
    (token,) = first_tokens(model, ["L"])
    assert force_first_token(model, prompts, token, max_new_tokens=6) == outputs
    assert force_first_token(model, prompts, [token, "L"], max_new_tokens=6) == outputs


def test_forcing_nothing_is_generating(model):
    plain = generate(model, tiny.PROMPTS[:2], max_new_tokens=5)
    assert force_first_token(model, tiny.PROMPTS[:2], ["", None], max_new_tokens=6) == plain


def test_forcing_the_models_own_first_token_changes_nothing(model):
    prompts = [f"<bos>{letter}." for letter in string.ascii_letters]
    written = generate_ids(model, prompts, max_new_tokens=6)
    plain = [text_of(model, ids) for ids in written]
    own = first_tokens(model, plain)  # those that were written, where these are text
    same = [token == ids[0] for token, ids in zip(own, written, strict=True)]
    assert sum(same) >= 5
    forced = force_first_token(model, prompts, own, max_new_tokens=6)
    for kept, before, after in zip(same, plain, forced, strict=True):
        assert not kept or before == after


def test_no_special_token_is_forced(model):
    (end,) = model.tokenizer("<end_of_turn>", add_special_tokens=False)["input_ids"]
    for special in ("<end_of_turn>", end, "Le <end_of_turn>"):
        with refused("tokens"):
            force_first_token(model, ["<bos>a"], special)


def test_one_token_for_each_prompt_or_one_for_all(model):
    with refused("tokens"):
        force_first_token(model, ["<bos>a"], ["a", "b"])
    with refused("max_new_tokens"):
        force_first_token(model, ["<bos>a"], "a", max_new_tokens=1)
