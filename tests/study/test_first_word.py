import zlib

import pytest
from letter import CONTENTS, LETTER, RULELESS, TEST
from refusals import refused

from saif_helpers.contents import Content
from saif_helpers.grading import Grades
from saif_helpers.prompts import render
from saif_helpers.steering import generate
from saif_helpers.study.baselines import first_tokens, force_first_token
from saif_helpers.study.first_word import choose_first_token, first_word_grades

ANSWERS = ["a", "ab", "ac", "e", "ef", "x", "", "y", "z"]  # most often a, then e
RUN = {"max_new_tokens": 4}


def token(model, letter):
    return first_tokens(model, [letter])[0]


def begins_with(strict, loose):
    """A grader that passes strictly what begins with some letters, and loosely with others."""

    def grader(outputs, items, instruction):
        assert instruction is RULELESS
        passes = [tuple(output[:1] in letters for output in outputs) for letters in (strict, loose)]
        return Grades(instruction.name, tuple(items), tuple(outputs), *passes)

    return grader


@pytest.mark.parametrize(
    ("strict", "loose", "by", "best"),
    [
        ("x", "x", "strict", "x"),
        ("e", "ey", "strict", "e"),
        ("ex", "xe", "strict", "e"),  # equally good: the more frequent
        ("ex", "x", "strict", "x"),  # strictly equal: the other share decides
        ("e", "xe", "loose", "e"),
        ("e", "x", "loose", "x"),
        ("", "", "strict", "a"),
    ],
)
def test_the_token_that_passes_most_often_is_chosen(model, strict, loose, by, best):
    grader = begins_with(strict, loose)
    chosen = choose_first_token(model, RULELESS, CONTENTS, ANSWERS, by=by, grader=grader, **RUN)
    assert chosen == token(model, best)


def test_the_share_on_the_validation_contents_decides(model):
    """As forcing each token and grading gives it."""

    def grader(outputs, items, instruction):
        passes = tuple(zlib.crc32(output.encode()) % 2 == 0 for output in outputs)
        return Grades(instruction.name, tuple(items), tuple(outputs), passes, passes)

    prompts = [render(content.text, model.tokenizer) for content in CONTENTS]
    items, shares = [content.item(RULELESS) for content in CONTENTS], {}
    for letter in "aexyz":
        outputs = force_first_token(model, prompts, letter, max_new_tokens=8)
        shares[letter] = sum(grader(outputs, items, RULELESS).strict)
    chosen = choose_first_token(model, RULELESS, CONTENTS, ANSWERS, max_new_tokens=8, grader=grader)
    assert model.tokenizer.decode([chosen]) == max(shares, key=shares.get)
    assert shares["a"] < max(shares.values())


def test_only_the_most_frequent_tokens_are_tried(model):
    asked = []

    def grader(outputs, items, instruction):
        asked.append({output[0] for output in outputs})
        return begins_with("x", "x")(outputs, items, instruction)

    how = {"grader": grader} | RUN
    assert choose_first_token(model, RULELESS, CONTENTS, ANSWERS, n=2, **how) == token(model, "a")
    assert asked == [{"a"}, {"e"}]


def test_every_output_begins_with_the_chosen_token_and_the_model_goes_on(model):
    grader = begins_with("e", "e")
    how = {"validation": CONTENTS, "test": TEST, "grader": grader}
    found = first_word_grades(model, RULELESS, ANSWERS, **how, **RUN)
    assert all(output.startswith("e") for output in found.outputs)
    assert found.strict == (True,) * len(TEST)
    assert [item.content for item in found.items] == [content.text for content in TEST]
    prompts = [render(content.text, model.tokenizer) + "e" for content in TEST]
    assert found.outputs == tuple("e" + rest for rest in generate(model, prompts, max_new_tokens=3))


@pytest.mark.parametrize("planted", [TEST[0], Content(TEST[1].text, split="validation")])
def test_no_token_is_chosen_on_a_test_content(model, planted):
    validation = [*CONTENTS, planted]
    with refused("contents"):
        first_word_grades(model, LETTER, ANSWERS, validation=validation, test=TEST)
    if planted.split == "test":
        with refused("contents"):
            choose_first_token(model, LETTER, validation, ANSWERS)


@pytest.mark.parametrize(
    ("field", "contents", "answers", "by"),
    [
        ("answers", CONTENTS, [], "strict"),
        ("answers", CONTENTS, ["", ""], "strict"),
        ("contents", [], ANSWERS, "strict"),
        ("by", CONTENTS, ANSWERS, "broken"),
    ],
)
def test_nothing_to_choose_from_is_told(model, field, contents, answers, by):
    with refused(field):
        choose_first_token(model, LETTER, contents, answers, by=by)
