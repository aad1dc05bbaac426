"""The graders of real models against hand labels, and against what this book's sentences tell.

The labels of natural_outputs.jsonl say what a careful reader says, not what the rules say: "strict"
is the task done completely on this content, with no more around it than a lead-in; "loose" is the
task recognisably there. The outputs are written by hand in the manner of real models. The batch
"before" was labelled before the rules were first run on it, "after" was written when the rules
stood; two rules, about refusals and code blocks, were learnt from them since. Both are by the
author of the rules: agreement on a real model's outputs may be lower.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from saif_helpers.analysis.side_effects import content_kept
from saif_helpers.contents import load_contents
from saif_helpers.graders.grader import Item
from saif_helpers.graders.natural import NATURAL_GRADERS, answer
from saif_helpers.graders.translation import CHRF_BAR, is_repetitive
from saif_helpers.grading import check_grader
from saif_helpers.instructions import load_instructions

LINES = Path(__file__).with_name("natural_outputs.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [json.loads(line) for line in LINES]
GRAMMAR = load_contents("test")
LANGUAGES = ("french", "spanish", "german")
DOOR = "Nobody answered the door."


def passes(case: dict, kind: str, instruction: str | None = None) -> bool:
    item = Item(case["content"], slots={"keyword": case["keyword"]})
    grader = NATURAL_GRADERS[instruction or case["instruction"]]
    return getattr(grader, kind)(case["output"], item)


def share(instruction: str, outputs: list[str], contents: list[str]) -> float:
    grader = NATURAL_GRADERS[instruction]
    pairs = zip(outputs, contents, strict=True)
    return sum(grader.strict(output, Item(content)) for output, content in pairs) / len(outputs)


@pytest.mark.parametrize(
    ("batch", "kind", "agree", "n"),
    [
        ("before", "strict", 113, 115),
        ("before", "loose", 111, 115),
        ("after", "strict", 37, 40),
        ("after", "loose", 39, 40),
    ],
)
def test_the_rules_agree_with_hand_labels(batch, kind, agree, n):
    """What strict passes wrongly is fluent text in the right language about something else."""
    cases = [case for case in CASES if case["batch"] == batch]
    right = ("strict",) if kind == "strict" else ("strict", "loose")
    disagree = [case for case in cases if passes(case, kind) != (case["label"] in right)]
    assert len(cases) == n
    assert n - len(disagree) >= agree, disagree


def test_every_instruction_has_outputs_of_every_label():
    count = Counter((case["instruction"], case["label"]) for case in CASES)
    assert set(NATURAL_GRADERS) == set(load_instructions())
    for name in NATURAL_GRADERS:
        for label in ("strict", "loose", "no"):
            assert count[name, label] >= (1 if label == "loose" else 3), (name, label)


@pytest.mark.parametrize("name", NATURAL_GRADERS)
def test_what_passes_strictly_passes_loosely_for_any_output(name):
    for case in CASES:
        assert passes(case, "loose", name) or not passes(case, "strict", name), case
    instruction = load_instructions("natural")[name]
    assert instruction.grader is NATURAL_GRADERS[name]
    for content in load_contents("test", "natural"):
        check_grader(instruction, content)


@pytest.mark.parametrize("name", LANGUAGES)
def test_right_translations_pass_and_wrong_languages_do_not(name):
    contents = [content.text for content in GRAMMAR]
    right = [content.references[name] for content in GRAMMAR]
    assert share(name, right, contents) >= 0.98
    assert share(name, contents, contents) == 0
    for other in set(LANGUAGES) - {name}:
        assert share(name, [content.references[other] for content in GRAMMAR], contents) <= 0.01


@pytest.mark.parametrize("name", LANGUAGES)
def test_half_a_translation_rarely_passes(name):
    """These sentences have 5 to 11 words; in longer ones the English half is easier to see."""
    halves, contents = [], []
    for content in GRAMMAR:
        english, foreign = content.text.split(), content.references[name].split()
        halves.append(" ".join(foreign[: len(foreign) // 2] + english[len(english) // 2 :]))
        halves.append(" ".join(english[: len(english) // 2] + foreign[len(foreign) // 2 :]))
        contents += [content.text] * 2
    assert share(name, halves, contents) <= 0.06


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_bar_of_chrf_lies_above_what_other_sentences_share(name):
    references = [content.references[name] for content in GRAMMAR]
    others = references[7:] + references[:7]
    chance = content_kept(others, references)
    assert (chance > CHRF_BAR / 100).float().mean() <= 0.01


def test_a_reference_may_be_met_in_other_words():
    item = Item(DOOR, reference="Personne n'a ouvert la porte.")
    grader = NATURAL_GRADERS["french"]
    assert grader.strict("Personne n'a répondu à la porte.", item)
    for wrong in ("Le bateau avait quitté la baie au matin.", "Nobody answered la porte.", DOOR):
        assert not grader.strict(wrong, item)


@pytest.mark.parametrize(
    ("output", "bare"),
    [
        ("Niemand kam.", "Niemand kam."),
        (" Here you go:\n\n**Niemand kam.**\n", "Niemand kam."),
        ('Sure! Here is the translation: "Niemand kam."', "Niemand kam."),
        ("**German:** „Niemand kam.“", "Niemand kam."),
        ("**Niemand** kam.", "Niemand kam."),
        ("Achtung: Niemand kam.", "Achtung: Niemand kam."),
        ('"Niemand," sagte er, "kam."', '"Niemand," sagte er, "kam."'),
        ("Niemand kam.\n\nLet me know!", "Niemand kam.\n\nLet me know!"),
        ('{"sentence": "Nobody"}', '{"sentence": "Nobody"}'),
        ("Translation:", "Translation:"),
        ("Sure!\n\nNiemand kam.", "Niemand kam."),
        ("Of course.\n\nHere it is:\n\nNiemand kam.", "Niemand kam."),
        ("Sure!", "Sure!"),
        ("```\nNiemand kam.\n```", "Niemand kam."),
        ("Here it is:\n``` text\r\nNiemand kam.\r\n```", "Niemand kam."),
        ("```\nNiemand kam.\n```\nOr: so.", "```\nNiemand kam.\n```\nOr: so."),
        ("'Niemand kam.'", "Niemand kam."),
        ("'t is so, isn't it'", "'t is so, isn't it'"),
        ('{"subject":\n"Nobody"}', '{"subject":\n"Nobody"}'),
        ("", ""),
    ],
)
def test_an_answer_is_taken_out_of_its_wrapping(output, bare):
    assert answer(output, Item(DOOR)) == bare


@pytest.mark.parametrize("output", ['"COME IN!"', '""COME IN!""', "Sure!\n\n“COME IN!”"])
def test_a_content_that_is_all_speech_keeps_its_quotes(output):
    assert NATURAL_GRADERS["uppercase"].strict(output, Item('"Come in!"'))


def test_a_content_with_a_colon_keeps_it():
    assert answer("Here is the plan: run.", Item("Here is the plan: run.")).startswith("Here")


@pytest.mark.parametrize("wrap", ["{}", "**{}**", "Here it is:\n\n{}", 'Sure! Here it is: "{}"'])
def test_wrapped_capitals_pass_whatever_the_content(wrap):
    contents = [content.text for content in load_contents("test", "natural")]
    outputs = [wrap.format(text.upper()) for text in contents]
    assert share("uppercase", outputs, contents) >= 0.98


@pytest.mark.parametrize("name", NATURAL_GRADERS)
@pytest.mark.parametrize(
    "output",
    [
        '{"subject": "Nobody", "verb": "answered"}\n\nThis is JSON.',
        "[" + 5000 * "1" + "]",
        5000 * "[",
    ],
    ids=["remark", "digits", "brackets"],
)
def test_no_output_stops_a_grader(name, output):
    grader, item = NATURAL_GRADERS[name], Item(DOOR, slots={"keyword": "key"})
    assert grader.strict(output, item) is False
    assert grader.loose(output, item) is (name == "json" and "JSON" in output)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("french", "Personne n'a répondu à la porte."),
        ("summarise", "Nobody answered it."),
        ("uppercase", DOOR.upper()),
        ("keyword", "Nobody answered the garden door."),
        ("question", "Did nobody answer the door?"),
    ],
)
@pytest.mark.parametrize("remark", ["\n\nBon courage !", "\nWell?", "\n\nLet me know!"])
def test_a_remark_behind_the_answer_leaves_it_loose(name, right, remark):
    grader, item = NATURAL_GRADERS[name], Item(DOOR, slots={"keyword": "garden"})
    assert grader.strict(right, item)
    assert not grader.strict(right + remark, item)
    assert grader.loose(right + "\n\n" + remark.strip(), item)


@pytest.mark.parametrize(
    "text",
    ["मुझे नहीं पता", "これは日本語の文章です。", "한국어 문장입니다", "Δεν ξέρω", "Я не знаю."],
)
def test_another_script_is_no_language_of_the_graders(text):
    for grader in map(NATURAL_GRADERS.get, LANGUAGES):
        assert not grader.loose(text, Item(DOOR))


@pytest.mark.parametrize(
    ("name", "right", "mixed"),
    [
        ("french", "Personne n'a répondu à la porte.", "Personne n'a répondu à la 门 porte."),
        ("keyword", "Nobody answered the garden door.", "Nobody answered the garden дверь door."),
    ],
)
def test_a_letter_of_another_script_is_not_strict_unless_it_is_the_contents(name, right, mixed):
    strict, slots = NATURAL_GRADERS[name].strict, {"keyword": "garden"}
    assert strict(right, Item(DOOR, slots=slots))
    assert not strict(mixed, Item(DOOR, slots=slots))
    assert strict(mixed, Item(DOOR + " (门, дверь)", slots=slots))


@pytest.mark.parametrize(
    ("name", "refusal", "content"),
    [
        ("french", "Je suis désolé, je ne peux pas.", "I'm sorry, I cannot."),
        ("french", "Nous ne pouvons pas vous aider ici.", "We cannot help you here."),
        ("spanish", "Lo siento, no puedo venir.", "I'm sorry, I can't come."),
        ("german", "Es tut mir leid, ich kann nicht.", "I'm sorry, I cannot do it."),
    ],
)
def test_a_refusal_is_strict_only_where_the_content_is_one(name, refusal, content):
    grader = NATURAL_GRADERS[name]
    assert grader.strict(refusal, Item(content))
    assert not grader.strict(refusal, Item("The boat had left the bay."))
    assert grader.loose(refusal, Item("The boat had left the bay."))


@pytest.mark.parametrize(
    ("output", "strict", "loose"),
    [
        ('Nobody answered the "garden" door.', True, True),
        ('Nobody answered "garden."', False, True),
        ("In the garden it rains.", False, True),
        ('The word "garden" is a noun.', False, False),
        ("“Garden” is misspelled.", False, False),
        ('"Garden." is a word, and the garden is green.', False, True),
    ],
)
def test_a_keyword_is_used_and_not_only_spoken_of(output, strict, loose):
    grader, item = NATURAL_GRADERS["keyword"], Item(DOOR, slots={"keyword": "garden"})
    assert grader.strict(output, item) is strict
    assert grader.loose(output, item) is loose


@pytest.mark.parametrize(
    "output", ['JSON: [\n{"subject": "Nob', '[{"subject": "Nob', 'JSON:\n```json\n{"subject": "Nob']
)
def test_json_that_is_cut_off_is_loose_in_a_list_too(output):
    assert NATURAL_GRADERS["json"].loose(output, Item(DOOR))
    assert not NATURAL_GRADERS["json"].strict(output, Item(DOOR))


@pytest.mark.parametrize(
    ("output", "content", "expected"),
    [
        ("Pidamos algo.", "Let's order something.", True),
        ("Pidamos algo.", "The boat had left the bay in the morning.", False),
        ("El barco salió.\n\nThis is Spanish for a boat that left the bay.", DOOR, True),
        ("El barco salió. This is Spanish for a boat that has left the bay.", DOOR, False),
    ],
)
def test_a_language_is_told_by_enough_words_and_half_of_the_parts(output, content, expected):
    assert NATURAL_GRADERS["spanish"].loose(output, Item(content)) is expected


def test_the_ordinals_of_spanish_are_latin():
    assert NATURAL_GRADERS["spanish"].strict("Vive en el 3.º piso.", Item("He lives on floor 3."))


def test_a_question_may_end_with_speech():
    content = '"Have you looked in the car?" she asked.'
    grader = NATURAL_GRADERS["question"]
    assert grader.strict('Did she ask, "Have you looked in the car?"', Item(content))
    assert not grader.loose(content, Item(content))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("le le le chat", True),
        ("Le chat dort ici. Le chat dort ici.", True),
        ("Nous nous sommes battus.", False),
        ("", False),
    ],
)
def test_repetition_is_told(text, expected):
    assert is_repetitive(text) is expected
