"""What a broken text is, and that good texts of any kind are none."""

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import saif_helpers
from saif_helpers._internal.paths import DATA
from saif_helpers.graders import broken
from saif_helpers.graders.broken import RUN, is_broken

REFRAINS = {
    "row": "Row, row, row your boat,\nGently down the stream.\n"
    "Merrily, merrily, merrily, merrily,\nLife is but a dream.",
    "jacques": "Frère Jacques, Frère Jacques,\nDormez-vous ? Dormez-vous ?\nSonnez les matines ! "
    "Sonnez les matines !\nDing, dang, dong ! Ding, dang, dong !",
    "birthday": "Happy birthday to you,\nHappy birthday to you,\nHappy birthday, dear Anna,\n"
    "Happy birthday to you!",
    "captain": "O Captain! my Captain! our fearful trip is done,\nThe ship has weather'd every "
    "rack, the prize we sought is won,\nBut O heart! heart! heart!\nO the bleeding drops of red,",
    "ducklings": "Alle meine Entchen\nschwimmen auf dem See,\nschwimmen auf dem See,\n"
    "Köpfchen in das Wasser,\nSchwänzchen in die Höh.",
    "bridge": "London Bridge is falling down,\nFalling down, falling down,\n"
    "London Bridge is falling down,\nMy fair lady.",
    "farm": "Old MacDonald had a farm, E-I-E-I-O,\nAnd on his farm he had a cow, E-I-E-I-O.\n"
    "With a moo-moo here and a moo-moo there,\nHere a moo, there a moo, everywhere a moo-moo,\n"
    "Old MacDonald had a farm, E-I-E-I-O.",
    "wheels": "The wheels on the bus go round and round,\nround and round, round and round.\n"
    "The wheels on the bus go round and round,\nall through the town.",
    "anaphora": "I love the sea when it is calm,\nI love the sea when it is wild.",
    "answer and its label": "El perdón de la obligación es de 14 días. Spanish translation:\n\n"
    "El perdón de la obligación es de 14 días.",
    "haiku": "An old silent pond.\nA frog jumps into the pond.\nSplash! Silence again.",
}
GOOD = {
    **REFRAINS,
    "empty": "",
    "word": "Yes.",
    "laughing": "Ha ha ha, that is very, very funny!",
    "never": "Never, never, never give up.",
    "location": "Location, location, location!",
    "that that": "I know that that is true.",
    "French": "Nous nous sommes battus, vous vous êtes tus.",
    "Malay": "Rama-rama dan kupu-kupu terbang di taman.",
    "blank": "Name: ____________________\nDate: ____________________",
    "heading": "Shopping\n========================\nMilk and bread",
    "table": "| a | b |\n|---|---|\n| 1 | 1 |\n| 1 | 1 |\n| 2 | 2 |",
    "numbers": '{"a": 1000000000000, "b": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "c": 0.0000001}',
    "records": json.dumps(
        [{"name": name, "age": 30 + len(name)} for name in ("Ann", "Robert", "Jo", "Charlotte")]
    ),
    "list": "1. Buy milk.\n2. Buy bread.\n3. Buy some coffee.\n4. Buy the paper.",
    "code": "def move(left=left, right=right):\n    self.left = left\n    self.right = right\n"
    "    return Library(source_folder=source_folder, target_folder=target_folder)\n",
    "prints": 'print("Hello")\nprint("Hello")\nprint("Bye")',
    "branches": "if x == 1:\n    return 1\nelif x == 2:\n    return 2\nelif x == 3:\n    return 3",
    "indented": "for a in b:\n" + 40 * " " + "print(a)",
    "e-mail": "Dear Sarah,\n\nThank you, thank you, thank you!\n\nBest wishes,\nTom",
    "emoji": "Congratulations! 🎉🎉🎉 👩‍👩‍👧",
    "newest emoji": "Shaking \U0001fae8 and \U0001fae9",  # of Unicode 15 and 16
    "cut-off character": "C'est la f\ufffd",
    "cut-off character, line end": "C'est la f\ufffd\n",
    "Portuguese": "NÃO! IRMÃO, AÇÃO, PÃES: São João.",
    "Chinese": "请把这句话翻译成法语。谢谢！",  # noqa: RUF001 (a full-width mark)
    "Hindi": "मुझे नहीं पता कि वह कहाँ है।",
    "line ends": "One.\r\nTwo.\tThree.\fFour.",
}
BROKEN = {
    "syllable": "Deuxeuxeuxeuxeuxeux",
    "word": "Je Je Je Je Je Je Je",
    "word, of many": "Der alte Mann die die die die die die die die und",
    "words": "J'ai un chat. J'ai un chat. J'ai un chat.",
    "clause, twice": "La réponse est de la réponse. La réponse est de la réponse.",
    "clause, cut off": "Je suis le début, je suis le début, je suis le début, je su",
    "begins again": "En français, cette opération ne peut pas être précédentée.\n\nEn français, "
    "cette opération ne peut p",
    "item, cut off": "1. She folded her glasses and asked him to step outside for a moment.\n"
    "2. She folded her glasses and asked him to",
    "no letter": 12 * "-\n",
    "emojis on lines": 5 * "\U0001f31f\U0001f31f\U0001f31f\n\n",
    "circles": "El hombre de la casa no puede ser un hombre de la casa, porque el hombre de la "
    "casa no puede ser un hombre de la casa.",
    "lines": "1. A red apple.\n2. A red apple.\n3. A pear.\n4. A red apple.",
    "nested": 6 * '{"type": "json", "data": ',
    "letter": "Ohhhhhhhhhhhhhhhhhh",
    "digit": "[" + 5000 * "1" + "]",
    "Chinese": "我不知道" * 6,
    "long": 40 * "The boat is on the sea and the sea is round the boat. ",
    "items": "1. The person who ate it\n2. The person who ate it\n3. The person who ate",
    "numbers": "1. " + 20 * "1.",
    "emojis": 18 * "\U0001f331",
    "fences": 12 * "```\n",
    "marks": "Sure" + 30 * "!",
    "replacement": "Je ne sais pas \ufffd o\ufffd",
    "two at the end": "caf\ufffd\ufffd",
    "mojibake": "Câ€™est lâ€™Ã©tÃ©.",
    "control": "Le chat\x00 dort.",
    "surrogate": "Le chat \ud83d dort.",
    "no character": "Le chat \ufffe dort.",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_texts_are_not_broken(text):
    assert is_broken(text) is False


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_texts_are(text):
    assert is_broken(text) is True


def test_the_examples_in_the_docstring_run():
    results = doctest.testmod(broken, extraglobs={"saif": saif_helpers})
    assert results.attempted >= 2
    assert results.failed == 0


@pytest.mark.parametrize("corpus", ["sentences.jsonl", "natural.jsonl"])
def test_no_shipped_sentence_or_reference_is_broken(corpus):
    for line in (DATA / corpus).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        for text in (entry["content"], *entry.get("references", {}).values()):
            assert not is_broken(text), text


def test_no_shipped_wording_is_broken():
    for file in ("instructions.json", "natural_instructions.json"):
        for entry in json.loads((DATA / file).read_text(encoding="utf-8")).values():
            for wordings in entry["wordings"].values():
                assert not any(map(is_broken, wordings))


def test_the_code_of_this_package_is_not_broken():
    for file in DATA.parent.rglob("*.py"):
        code = file.read_text(encoding="utf-8")
        for length in (200, 400, 2000):
            assert not is_broken(code[-length:]), file


words = st.text("abcdefghijklmnopqrstuvwxyzéüñ", min_size=2, max_size=8)


@given(st.lists(words, min_size=1, max_size=6), st.integers(RUN, 40), st.sampled_from(" \n,-"))
def test_some_words_over_and_over_are_broken(clause, times, joint):
    piece = " ".join(clause)
    assert is_broken(joint.join([piece] * max(times, 12 // len(piece) + 1)))


@given(st.lists(words, min_size=3, max_size=60, unique=True))
def test_words_that_all_differ_are_not_broken(different):
    assert not is_broken(" ".join(different))


@given(st.text(max_size=300))
def test_any_text_is_told(text):
    assert is_broken(text) in (True, False)
    assert is_broken(text + "\x00") is True


@pytest.mark.parametrize("text", ["a", "ab ", "```\n", "x1 ", "我", " ", "\t"])
def test_long_texts_take_no_long_time(text):
    """A model may write thousands of tokens: each rule looks a bounded way ahead."""
    assert is_broken(20_000 * text) in (True, False)
