"""The English sentences for real models keep the promises that chapters rely on."""

import json
import re
from statistics import mean

import pytest
from refusals import refused

from saif_helpers._internal.paths import DATA
from saif_helpers.contents import load_contents
from saif_helpers.graders.response import RESPONSE_GRADERS
from saif_helpers.instructions import load_instructions

ENTRIES = [
    json.loads(line) for line in (DATA / "natural.jsonl").read_text(encoding="utf-8").splitlines()
]
SPLITS = {"identification": 200, "validation": 80, "test": 120}
CONTENTS = {split: load_contents(split, "natural") for split in SPLITS}
EVERY = [content for contents in CONTENTS.values() for content in contents]
# What an instruction says of itself must not stand in a sentence that it is about.
TASK_WORDS = (
    r"translat|\b(french|spanish|german|english|uppercase|lowercase|capitals?|keyword|question"
    r"|json|summar\w+|sentence|shorten)\b"
)


def bare(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def lengths(contents: list) -> list[int]:
    return [len(content.text.split()) for content in contents]


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_its_sentences(split):
    assert len(CONTENTS[split]) == SPLITS[split]
    assert [c.text for c in CONTENTS[split]] == [
        entry["content"] for entry in ENTRIES if entry["split"] == split
    ]
    for content in CONTENTS[split]:
        assert content.references == {}
        assert set(content.slots) == {"keyword"}


def test_no_sentence_occurs_twice_in_either_corpus():
    grammar = [content for split in SPLITS for content in load_contents(split)]
    natural = [bare(content.text) for content in EVERY]
    assert len(set(natural)) == len(EVERY) == 400
    assert not set(natural) & {bare(content.text) for content in grammar}


def test_sentences_are_of_many_lengths():
    assert min(lengths(EVERY)) == 4
    assert max(lengths(EVERY)) == 28
    assert len(set(lengths(EVERY))) >= 20


@pytest.mark.parametrize("take", [slice(None), slice(0, 40), slice(40, 80)])
@pytest.mark.parametrize("split", SPLITS)
def test_any_run_of_sentences_is_mixed(split, take):
    """Chapters take the first or last sentences of a split: these must be like the others."""
    chosen = CONTENTS[split][take]
    assert mean(lengths(chosen)) == pytest.approx(mean(lengths(EVERY)), abs=1.6)
    assert len(set(lengths(chosen))) >= 14
    questions = sum(content.text.endswith("?") for content in chosen) / len(chosen)
    spoken = sum(content.text.startswith('"') for content in chosen) / len(chosen)
    assert 0 < questions <= 0.15
    assert 0 < spoken <= 0.2


@pytest.mark.parametrize("split", SPLITS)
def test_form(split):
    for text, keyword in ((content.text, content.slots["keyword"]) for content in CONTENTS[split]):
        assert text.isascii(), text
        assert text == " ".join(text.split())
        assert text.lstrip('"')[0].isupper(), text
        assert text.rstrip('"')[-1] in ".?!", text
        assert text.count('"') % 2 == 0, text
        assert not re.search(r"[<>{}\[\]:*`\\]", text), text  # turn markers, wrapping, colons
        assert not re.search(TASK_WORDS, text, re.IGNORECASE), text
        assert re.fullmatch(r"[a-z]+", keyword), keyword
        assert keyword not in text.casefold()


def test_keywords_vary():
    keywords = [content.slots["keyword"] for content in EVERY]
    assert len(set(keywords)) >= 200
    assert max(map(keywords.count, keywords)) <= 6


def test_both_corpora_have_the_same_wordings_and_graders_of_their_own():
    grammar, natural = load_instructions(), load_instructions("natural")
    assert list(grammar) == list(natural)[: len(grammar)]
    assert set(natural) - set(grammar) == set(RESPONSE_GRADERS)
    for name, instruction in grammar.items():
        assert natural[name].wordings == instruction.wordings
        assert natural[name].grader is not instruction.grader


@pytest.mark.parametrize(
    ("load", "arguments"), [(load_contents, ("test", "news")), (load_instructions, ("news",))]
)
def test_an_unknown_corpus_is_refused(load, arguments):
    with refused("corpus"):
        load.__wrapped__(*arguments)
