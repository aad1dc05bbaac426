import pytest
from refusals import refused

from saif_helpers.contents import load_contents
from saif_helpers.graders.checks import language_is, matches, word_count
from saif_helpers.graders.exact import GRADERS
from saif_helpers.graders.grader import Item
from saif_helpers.graders.text import (
    contains_word,
    exact_match,
    identify_language,
    is_question,
    is_uppercase,
    parses_as_json,
    repetition,
    without_thought,
)

SENTENCES = {
    "en": "The old baker sells warm bread in the market.",
    "fr": "Le vieux boulanger vend du pain chaud au marché.",
    "es": "El viejo panadero vende pan caliente en el mercado.",
    "de": "Der alte Bäcker verkauft warmes Brot auf dem Markt.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_languages_are_told_apart(language):
    assert identify_language(SENTENCES[language]) == language


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("<think>\n\n</think>\n\nLe chat dort.", "Le chat dort."),
        ("<think>\nThey want French.\n</think>\n\nLe chat dort.", "Le chat dort."),
        ("They want French.\n</think>\nLe chat dort.", "Le chat dort."),  # opened by the template
        ("[THINK]French, then.[/THINK]Le chat dort.", "Le chat dort."),
        ("<think>They want French, so", ""),  # cut off
        ("I <think> so.", "I <think> so."),
        ("Le chat dort.\n", "Le chat dort.\n"),
    ],
)
def test_a_thought_before_the_answer_is_taken_off(output, answer):
    assert without_thought(output) == answer


def test_the_candidates_restrict_the_answer():
    assert identify_language(SENTENCES["fr"], ("en", "es")) in ("en", "es")
    assert identify_language(SENTENCES["fr"], ("fr",)) == "fr"
    for empty in ("", "  ", "123 ."):
        assert identify_language(empty) is None
    with refused("among"):
        identify_language("word", ("en", "klingon"))
    with refused("among"):
        identify_language("word", ())


def test_text_checks():
    assert exact_match(" a  b\n", "a b")
    assert exact_match("cafe\u0301", "caf\u00e9")
    assert not exact_match("a b", "A b")
    assert contains_word("In the Garden.", "garden")
    assert not contains_word("gardener", "garden")
    assert not contains_word("teagarden", "garden")
    with refused("word"):
        contains_word("anything", " ")
    assert is_uppercase("THE CAT.")
    assert not is_uppercase("THE cAT.")
    assert not is_uppercase("...")
    assert is_question("Does it rain? ")
    assert not is_question("?")
    assert not is_question("It rains.")
    assert parses_as_json('{"a": 1}')
    assert parses_as_json("[1]")
    assert not parses_as_json("1")
    assert not parses_as_json('{"a": 1} and more')


# For each instruction: a right output, one that is only loosely right, and one that is wrong.
CONTENT = "The old baker sells warm bread."
CASES = {
    "french": ("Le vieux boulanger vend du pain.", SENTENCES["fr"], SENTENCES["en"]),
    "spanish": ("El viejo panadero vende pan.", SENTENCES["es"], SENTENCES["fr"]),
    "german": ("Der alte Bäcker verkauft Brot.", SENTENCES["de"], SENTENCES["es"]),
    "summarise": ("The baker sells bread.", "The old baker sells.", CONTENT),
    "uppercase": ("THE OLD BAKER SELLS WARM BREAD.", "THE BAKER.", CONTENT),
    "keyword": ("The garden has bread.", "A garden, then.", "A gardener."),
    "question": ("Does the old baker sell warm bread?", "Who sells bread?", CONTENT),
    "json": ('{"who": "baker", "what": "bread"}', '{"who": "cat"}', "who: baker"),
}


@pytest.mark.parametrize("name", CASES)
def test_strict_wants_the_reference_and_loose_the_kind_of_answer(name):
    right, loosely_right, wrong = CASES[name]
    item = Item(CONTENT, reference=right, slots={"keyword": "garden"})
    grader = GRADERS[name]
    assert grader.strict(right, item)
    assert grader.loose(right, item)
    assert not grader.strict(loosely_right, item)
    assert grader.loose(loosely_right, item)
    assert not grader.strict(wrong, item)
    assert not grader.loose(wrong, item)
    assert not grader.strict("", item)
    assert not grader.loose("", item)


def test_every_grader_has_a_case():
    assert set(CASES) == set(GRADERS)


def test_json_is_compared_as_data():
    item = Item(CONTENT, reference='{"who": "baker", "what": "bread"}')
    assert GRADERS["json"].strict('{"what":"bread","who":"baker"}', item)


def test_a_summary_must_be_about_the_content():
    item = Item(CONTENT, reference="The baker sells bread.")
    assert not GRADERS["summarise"].loose("A cat sleeps.", item)


def test_uppercase_needs_no_reference_but_translation_does():
    item = Item(CONTENT)
    assert GRADERS["uppercase"].strict(CONTENT.upper(), item)
    for name in ("french", "json", "summarise", "keyword", "question"):
        with refused("item"):
            GRADERS[name].strict("anything", item)


def test_repetition_counts_what_repeats_the_text_before_it():
    assert repetition([""]) == repetition(["le chat dort", "maman"]) == 0.0
    assert repetition(["le le le le"]) == 0.75  # of twelve characters, spaces counted, nine
    assert repetition(["Le. le!", "un chat"]) == 3 / 14
    assert repetition(["le chat le chat"]) == 0.5
    assert repetition(["Deuxeuxeuxeux"]) == 9 / 14  # a part of a word, three times more
    shipped = [content.references["french"] for content in load_contents("test")]
    assert repetition(shipped) < 0.003


def test_checks_that_need_no_reference():
    item = Item("The old baker sells warm bread.")
    assert language_is("fr")(SENTENCES["fr"], item)
    assert not language_is("fr")(SENTENCES["de"], item)
    assert matches(r"^\d+ %$")("12 %", item)
    assert not matches(r"^\d+ %$")("about 12 %", item)
    assert [word_count(2, 3)("a " * n, item) for n in range(5)] == [False, False, True, True, False]
    assert word_count()("a " * 99, item)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: language_is("it"), "language"),
        (lambda: matches("("), "pattern"),
        (lambda: word_count(3, 2), "most"),
    ],
)
def test_checks_that_could_never_pass_are_refused(make, argument):
    with refused(argument):
        make()
