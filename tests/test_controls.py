import string

import pytest

from saif_helpers.controls import first_tokens, force_first_token, most_frequent_first_token
from saif_helpers.steering import generate
from tests import tiny


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def test_first_tokens_are_those_of_the_tokenizer(model):
    assert first_tokens(model, ["Le chat", " El", ""]) == ["L", " ", ""]


def test_the_most_frequent_first_token_is_counted_and_ties_go_to_the_first(model):
    assert most_frequent_first_token(model, ["a", "bc", "b", "c"]) == "b"
    assert most_frequent_first_token(model, ["x", "y", "y", "x"]) == "x"
    with pytest.raises(ValueError, match="no texts"):
        most_frequent_first_token(model, [])


def test_forcing_a_token_writes_it_and_goes_on_unsteered(model):
    prompts = tiny.PROMPTS[:2]
    outputs = force_first_token(model, prompts, "L", max_new_tokens=6)
    rest = generate(model, [prompt + "L" for prompt in prompts], max_new_tokens=5)
    assert outputs == ["L" + text for text in rest]


def test_forcing_the_models_own_first_token_changes_nothing(model):
    prompts = [f"<bos>{letter}." for letter in string.ascii_letters]
    plain = generate(model, prompts, max_new_tokens=6)
    own = first_tokens(model, plain)
    whole = [token.isascii() and bool(token) for token in own]  # a token may be half a character
    assert sum(whole) >= 5
    forced = force_first_token(model, prompts, own, max_new_tokens=6)
    for kept, before, after in zip(whole, plain, forced, strict=True):
        assert not kept or before == after


def test_one_token_for_each_prompt_or_one_for_all(model):
    with pytest.raises(ValueError, match="2 first tokens given for 1 prompts"):
        force_first_token(model, ["<bos>a"], ["a", "b"])
    with pytest.raises(ValueError, match="max_new_tokens=1"):
        force_first_token(model, ["<bos>a"], "a", max_new_tokens=1)
