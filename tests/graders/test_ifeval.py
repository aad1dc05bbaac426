import subprocess
import sys
from pathlib import Path

import pytest
from if_verifiable.ifeval import INSTRUCTION_DICT
from refusals import refused

from saif_helpers.contents import Content
from saif_helpers.graders.grader import Grader, Item
from saif_helpers.graders.ifeval import NLTK_DATA, follows_ifeval
from saif_helpers.grading import check_grader
from saif_helpers.instructions import InstructionType

ROOT = Path(__file__).parents[2]
ITEM = Item("The old baker sells warm bread.")

# For each constraint that needs no data: arguments, an output that follows it, one that does not.
FEW = {"num_words": 5, "relation": "less than"}
LETTER = {"letter": "e", "let_frequency": 2, "let_relation": "less than"}
SECOND = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}
CASES = {
    "keywords:existence": ({"keywords": ["bread", "oven"]}, "An Oven for bread.", "Bread."),
    "keywords:frequency": (
        {"keyword": "bread", "frequency": 2, "relation": "at least"},
        "Bread is bread.",
        "Bread.",
    ),
    "keywords:forbidden_words": ({"forbidden_words": ["bread"]}, "Breadth.", "Warm bread."),
    "keywords:letter_frequency": (
        LETTER,
        "Bread.",
        "Here.",
    ),
    "language:response_language": (
        {"language": "fr"},
        "Le vieux boulanger vend du pain chaud au marché.",
        "Der alte Bäcker verkauft warmes Brot auf dem Markt.",
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "One.\n***\nTwo.", "One."),
    "length_constraints:number_words": (FEW, "He sells warm bread.", ITEM.content),
    "length_constraints:nth_paragraph_first_word": (
        SECOND,
        "First this.\n\nThen that.",
        "Then this.\n\nFirst that.",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 1}, "At [time].", "At ten."),
    "detectable_content:postscript": (
        {"postscript_marker": "P.S."},
        "Bread.\nP.S. It is warm.",
        "Bread.",
    ),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n* b", "* a"),
    "detectable_format:constrained_response": ({}, "My answer is yes.", "Yes."),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 1},
        "Some *warm* bread.",
        "Some warm bread.",
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\nBread.\nSection 2\nMilk.",
        "Section 1\nBread.",
    ),
    "detectable_format:json_format": ({}, '{"who": "baker"}', "who: baker"),
    "detectable_format:title": ({}, "<<Bread>>\nIt is warm.", "Bread\nIt is warm."),
    "combination:two_responses": ({}, "Bread.\n******\nMilk.", "Bread."),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "What is sold?"},
        "What is sold? Bread.",
        "Bread.",
    ),
    "startend:end_checker": ({"end_phrase": "The end."}, "Bread. The end.", "The end. Bread."),
    "startend:quotation": ({}, '"Bread."', "Bread."),
    "change_case:english_capital": (
        {},
        "THE OLD BAKER SELLS HIS WARM BREAD IN THE MARKET.",
        ITEM.content,
    ),
    "change_case:english_lowercase": (
        {},
        "the old baker sells his warm bread in the market.",
        ITEM.content,
    ),
    "punctuation:no_comma": ({}, "Warm bread.", "Warm, fresh bread."),
}
NEED_DATA = {
    "length_constraints:number_sentences": {"num_sentences": 2, "relation": "at least"},
    "change_case:capital_word_frequency": {"capital_frequency": 1, "capital_relation": "at least"},
}


@pytest.mark.parametrize("constraint", CASES)
def test_a_constraint_tells_what_follows_it(constraint):
    arguments, follows, does_not = CASES[constraint]
    check = follows_ifeval(constraint, **arguments)
    assert check(follows, ITEM) is True
    assert check(does_not, ITEM) is False
    assert check("", ITEM) is False
    assert check(" \n", ITEM) is False


def test_every_constraint_of_the_library_has_a_case():
    assert set(CASES) | set(NEED_DATA) == set(INSTRUCTION_DICT)


@pytest.mark.parametrize("constraint", CASES)
def test_a_check_passes_the_test_of_graders(constraint):
    check = follows_ifeval(constraint, **CASES[constraint][0])
    mine = InstructionType("mine", {"en": ["Do it.", "Do it now."]}, Grader(check, check))
    check_grader(mine, Content(ITEM.content))


@pytest.mark.parametrize(
    ("constraint", "arguments", "message"),
    [
        ("punctuation:no_commas", {}, "does not have; give one of punctuation:no_comma"),
        ("brief", {}, "give one of change_case:capital_word_frequency, .*startend:quotation"),
        ("punctuation:no_comma", {"mark": ","}, "takes no arguments: TypeError.*'mark'"),
        ("length_constraints:number_words", {"words": 5}, "takes num_words, relation: TypeError"),
        ("length_constraints:number_words", {"num_words": "5"} | {"relation": "at least"}, "'<'"),
        ("length_constraints:number_words", FEW | {"relation": "below"}, "'less than', 'at least'"),
        ("language:response_language", {"language": "xx"}, "KeyError"),
        ("keywords:existence", {"keywords": "oven"}, r"must be a list, for example \['oven'\]"),
        ("keywords:existence", {"keywords": [3]}, "cannot work with"),
        ("combination:repeat_prompt", {}, "must be set"),
    ],
)
def test_what_cannot_work_is_refused_when_the_check_is_made(constraint, arguments, message):
    with pytest.raises(ValueError, match=message):
        follows_ifeval(constraint, **arguments)


@pytest.mark.parametrize(
    ("constraint", "arguments"),
    [
        ("length_constraints:number_words", {"num_words": 5}),
        ("length_constraints:number_words", {"num_words": -5, "relation": "at least"}),
        ("keywords:existence", {}),
        ("keywords:existence", {"keywords": []}),
        (
            "keywords:letter_frequency",
            {"letter": "ee", "let_frequency": 1, "let_relation": "at least"},
        ),
        ("detectable_content:postscript", {}),
    ],
)
def test_nothing_is_left_to_chance(constraint, arguments):
    with refused("arguments"):
        follows_ifeval(constraint, **arguments)


def test_a_check_answers_the_same_every_time():
    """Language identification samples: with no seed, it changes its mind on this text."""
    check = follows_ifeval("language:response_language", language="it")
    assert len({check("Salsa con carne.", ITEM) for _ in range(40)}) == 1


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_an_odd_answer_of_the_library_does_not_pass(monkeypatch, answer):
    monkeypatch.setattr(
        INSTRUCTION_DICT["punctuation:no_comma"], "check_following", lambda self, text: answer
    )
    check = follows_ifeval("punctuation:no_comma")
    mine = InstructionType("mine", {"en": ["Do it.", "Do it now."]}, Grader(check, check))
    with pytest.raises(ValueError, match="must return True or False"):
        check_grader(mine, Content(ITEM.content))


@pytest.mark.parametrize("module", ["if_verifiable.ifeval", "langdetect"])
def test_a_missing_library_says_how_to_get_it(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'missing .* pip install "saif-helpers\[ifeval\] @ git'):
        follows_ifeval("punctuation:no_comma")


OFFLINE = f"""
import socket, sys

def refuse(*args, **kwargs):
    raise SystemExit("the network was given")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse

import nltk
import saif_helpers as saif
from saif_helpers.graders.ifeval import follows_ifeval

nltk.data.path[:] = sys.argv[1:]
assert "if_verifiable" not in sys.modules
assert follows_ifeval("punctuation:no_comma")("Bread.", None)
for name, arguments in {NEED_DATA}.items():
    try:
        check = follows_ifeval(name, **arguments)
        print(check("BREAD is warm. Milk is cold.", None), check("Bread.", None))
    except LookupError as error:
        print(error)
"""


def offline(*nltk_data: Path) -> list[str]:
    """Return what a process that has no network prints of the constraints that read NLTK's data."""
    command = [sys.executable, "-c", OFFLINE, *map(str, nltk_data)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_missing_data_say_how_to_get_them_and_nothing_is_fetched():
    lines = offline()
    assert len(lines) == len(NEED_DATA)
    for name, line in zip(NEED_DATA, lines, strict=True):
        assert name in line
        assert f"python -m nltk.downloader {NLTK_DATA}" in line


def test_with_its_data_a_constraint_needs_no_network_either(tmp_path):
    folder = tmp_path / "tokenizers" / NLTK_DATA / "english"
    folder.mkdir(parents=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (folder / name).write_text("", encoding="utf-8")
    assert offline(tmp_path) == ["True False"] * len(NEED_DATA)
