"""Graders of response language and format, and of broken texts, against labels and by cases.

The labels of smollm2_outputs.jsonl were given to outputs of SmolLM2-135M-Instruct by reading them:
prompted greedily, sampled, prompted without the instruction, and steered by a difference in means.
"strict" is the task done completely and cleanly, "loose" recognisably there, "broken" a text that
goes in circles or is no text. An answer in a language is strict if every sentence is of that
language; poor grammar, no sense or a made-up word do not make it another one. The batch "before"
was read while the rules were written. The batch "after" was labelled before the rules were run on
it; they then agreed on 0.98 (strict), 0.92 (loose) and 0.94 (broken) of 308 outputs, and some rules
(rows of digits and emojis, items that are the same, lists of two) were learnt from it since. "last"
was labelled in the same way when the rules stood: they agree on 31, 32 and 31 of its 32.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saif_helpers.contents import load_contents
from saif_helpers.graders.broken import is_broken
from saif_helpers.graders.grader import Item
from saif_helpers.graders.response import RESPONSE_GRADERS, answers_in
from saif_helpers.grading import broken_outputs, check_grader, grade
from saif_helpers.instructions import load_instructions

LINES = Path(__file__).with_name("smollm2_outputs.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [json.loads(line) for line in LINES]
AFTER = [case for case in CASES if case["batch"] != "before"]
INSTRUCTIONS = load_instructions("natural")
RIGHT = {"strict": ["strict"], "loose": ["strict", "loose"], "broken": ["broken"]}
DOOR = Item("Nobody answered the door.")


def graded(case: dict) -> dict[str, bool]:
    item = Item(case["content"], slots={"keyword": case["keyword"] or "word"})
    grades = grade([case["output"]], [item], INSTRUCTIONS[case["instruction"]])
    return {kind: getattr(grades, kind)[0] for kind in RIGHT}


GRADED = [(case, graded(case)) for case in CASES]


def agreement(batch: str, kind: str, instruction: str | None = None) -> float:
    agree = [
        found[kind] == (case["label"] in RIGHT[kind])
        for case, found in GRADED
        if case["batch"] == batch and instruction in (None, case["instruction"])
    ]
    return sum(agree) / len(agree)


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("batch", ["before", "after", "last"])
def test_the_rules_agree_with_labels(batch, kind):
    assert agreement(batch, kind) >= 0.93


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("name", RESPONSE_GRADERS)
def test_the_rules_agree_with_labels_of_every_response_type(name, kind):
    assert agreement("after", kind, name) >= 0.85


@pytest.mark.parametrize("kind", RIGHT)
def test_agreement_is_not_owed_to_failures_alone(kind):
    """Of the outputs that a reader passes, most pass; of those that pass, a reader passes most.

    What strict passes wrongly is text in the right language about something else.
    """
    found = {(i, "rules") for i, (_, grades) in enumerate(GRADED) if grades[kind]}
    read = {(i, "rules") for i, case in enumerate(CASES) if case["label"] in RIGHT[kind]}
    assert len(found & read) >= 0.8 * len(read)
    assert len(found & read) >= 0.75 * len(found)


def test_enough_outputs_are_labelled():
    count = Counter((case["instruction"], case["label"]) for case in CASES)
    assert len(AFTER) >= 300
    assert {case["instruction"] for case in AFTER} == set(INSTRUCTIONS)
    for name in RESPONSE_GRADERS:
        assert count[name, "no"] >= 3
        assert count[name, "strict"] + count[name, "loose"] >= 5
    assert sum(n for (_, label), n in count.items() if label == "broken") >= 100


@pytest.mark.parametrize("name", RESPONSE_GRADERS)
def test_what_passes_strictly_passes_loosely_for_any_output(name):
    grader = RESPONSE_GRADERS[name]
    for case in CASES:
        item = Item(case["content"])
        assert grader.loose(case["output"], item) or not grader.strict(case["output"], item), case
    for content in load_contents("test", "natural"):
        check_grader(INSTRUCTIONS[name], content)
        assert not grader.loose(content.text, content.item(INSTRUCTIONS[name])), content.text


LETTER = "Dear Sarah,\n\nNobody answered the door today. Please call me.\n\nBest wishes,\nTom"
VERSE = "I knocked and knocked upon the door,\nBut nobody was there.\nI waited for an hour more,\n"
CODE = "def knock(door):\n    return door.answer() is None\n\nprint(knock(door))"
STEPS = "1. I knocked.\n2. I waited.\n3. I left."
# For each instruction: outputs that pass strictly, that pass loosely only, and that do not pass.
OUTPUTS = {
    "answer_french": (
        ["C'est bien dommage, il n'y a personne.", 'Sure! Here it is: "Il n\'y a personne ici."'],
        ["Peut-être qu'ils sont partis en vacances et", "Il n'y a personne à la дверь maison."],
        ["Nobody is there.", "Nadie contestó a la puerta.", "Oui.", ""],
    ),
    "answer_german": (
        ["Das ist schade, vielleicht sind sie im Urlaub."],
        ["Vielleicht sind sie alle im Urlaub und haben"],
        ["Nobody is there.", "Personne n'a ouvert la porte.", "1234", "これは日本語の文章です。"],
    ),
    "answer_spanish": (
        ["Qué lástima, quizás no había nadie en casa."],
        ["Quizás no había nadie en la casa porque"],
        ["Nobody is there.", "Não havia ninguém em casa ontem à noite.", "!"],
    ),
    "python": (
        [CODE, f"Here you go:\n\n```python\n{CODE}\n```\n\nIt knocks.", "x = 1", "```\nx = 1\n```"],
        [
            f"```python\n{CODE}",
            "```python\n# Knock",
            "Sure:\n```py\ndef knock(",
            "import os\nos.knock(",
            "```python\nreturn 1\n```",
        ],
        [
            "Nobody",
            "pass",
            '"""Nobody."""',
            "door: str",
            "# A door\n\nNobody came.",
            "```json\n{}\n```",
            "```bash\nimport door\n```",
            "```js\nimport door from 'x'\n```",
            "Return to the door.",
            "",
        ],
    ),
    "json_answer": (
        ['{"door": "closed"}', '[{"a": 1}]', 'Here:\n```json\n{"a": [1, 2]}\n```\nDone.'],
        [
            '{"door": "clo',
            '```json\n{"door": ',
            'JSON: {"door": {',
            "[1, 2,",
            'JSON\uff1a{"door": "a"}',
            '***\n{"door": ',
            '{"a": 1} and more',
        ],
        ["{}", "[]", "12", "{door}", "Use JSON.", "The JSON is there: a door", "", 'a "b": 1'],
    ),
    "poem": (
        [VERSE + "Then left, in mute despair.", "The Door\n\n" + VERSE + "Then left it there."],
        [VERSE, VERSE + "And then I"],
        [
            VERSE.replace("\n", " "),
            STEPS + "\n4. I came back.",
            LETTER,
            CODE,
            "Nobody answered.",
            "- a b c\n- d e f\n- g h i\n- j k l.",
            "",
        ],
    ),
    "list": (
        [STEPS, "Here is a list:\n\n" + STEPS, "1) Door\n2) Bell", "**1.** A.\n\n**2.** B."],
        [
            STEPS + "\n4. And then",
            STEPS + "\n\nThat is all.",
            "1. A.\n1. B.",
            "1. A.\n3. B.",
            "1. A",
        ],
        ["- A\n- B", "1.5 million doors", "2. B\n3. C", "Nobody.", "1990. A year.", ""],
    ),
    "email": (
        [LETTER, "Subject: The door\n\n" + LETTER],
        [
            LETTER.partition("Best")[0],
            "Subject: The door",
            "Dear Sarah,",
            "Hi Tom,\nNobody answered",
            "Liebe Anna!\nNiemand kam",
            "Hola María,\n",
        ],
        ["Hello! How can I help you?", "Hola!\n\nNo sé.", "Nobody answered.", "Dear me", VERSE, ""],
    ),
}


def test_every_response_type_has_cases():
    assert set(OUTPUTS) == set(RESPONSE_GRADERS) == set(INSTRUCTIONS) - set(load_instructions())


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        (name, output, label)
        for name, lists in OUTPUTS.items()
        for label, outputs in zip(("strict", "loose", "no"), lists, strict=True)
        for output in outputs
    ],
)
def test_cases(name, output, expected):
    grader = RESPONSE_GRADERS[name]
    assert grader.strict(output, DOOR) is (expected == "strict")
    assert grader.loose(output, DOOR) is (expected != "no")


@pytest.mark.parametrize("name", RESPONSE_GRADERS)
def test_good_answers_are_not_broken_and_broken_ones_pass_nothing(name):
    strict, loose, no = OUTPUTS[name]
    assert not any(map(is_broken, [*strict, *loose, *no]))
    output = {"answer_german": "Ja, wir können ", "list": "1. Deux", "poem": VERSE}.get(name, "")
    output = 12 * (output or OUTPUTS[name][1][0] + "\n")
    grades = grade([output], [DOOR], INSTRUCTIONS[name])
    assert (grades.strict, grades.loose, grades.broken) == ((False,), (False,), (True,))


def test_a_broken_text_that_is_the_reference_is_not_broken():
    text = "no no no no no no no"
    items = [Item("No.", reference=text), Item("No.", reference="no"), Item("No.")]
    assert broken_outputs([text] * 3, items) == (False, True, True)


@pytest.mark.parametrize("cut", range(1, 8))
def test_loose_tolerates_an_end_that_is_cut_off(cut):
    """All first outputs of the cases, from half their length on."""
    for name, (strict, *_) in OUTPUTS.items():
        text = strict[0]
        kept = text[: len(text) // 2 + cut * len(text) // 16]
        assert RESPONSE_GRADERS[name].loose(kept, DOOR), (name, kept)


@given(st.text(max_size=80), st.sampled_from([*RESPONSE_GRADERS]))
def test_no_text_stops_a_grader(text, name):
    grader = RESPONSE_GRADERS[name]
    for wrapped in (text, f"```python\n{text}\n```", f'{{"a": "{text}"}}', f"1. {text}\n2. {text}"):
        strict, loose = grader.strict(wrapped, DOOR), grader.loose(wrapped, DOOR)
        assert isinstance(strict, bool)
        assert isinstance(loose, bool)
        assert loose or not strict


@given(
    st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.booleans(), min_size=1),
    st.sampled_from([None, 2]),
    st.sampled_from(["{}", "```json\n{}\n```", "Here it is:\n\n{}"]),
)
def test_any_object_is_json_however_it_is_wrapped(found, indent, wrap):
    text = wrap.replace("{}", json.dumps(found, indent=indent))
    assert RESPONSE_GRADERS["json_answer"].strict(text, DOOR)
    assert not RESPONSE_GRADERS["json_answer"].strict(text.replace("}", ""), DOOR)


@given(st.integers(2, 40))
def test_any_list_in_sequence_is_numbered(n):
    items = [f"{i}. Item with {i} letters" for i in range(1, n + 1)]
    assert RESPONSE_GRADERS["list"].strict("\n".join(items), DOOR)
    assert not RESPONSE_GRADERS["list"].strict("\n".join(items[1:]), DOOR)


@pytest.mark.parametrize("output", [5000 * "[", 5000 * "(", "1" * 5000, "x = " + "-" * 5000 + "1"])
def test_deep_nesting_and_long_numbers_stop_no_grader(output):
    for grader in RESPONSE_GRADERS.values():
        assert grader.strict(output, DOOR) is False


def test_a_language_that_the_rules_do_not_know_is_refused():
    with pytest.raises(ValueError, match="'xx' asked for; it must be one of en, fr"):
        answers_in("xx")
