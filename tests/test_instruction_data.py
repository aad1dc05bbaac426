"""The shipped instruction wordings keep the promises that corpus and chapters rely on."""

# ruff: noqa: RUF001 (Cyrillic letters and full-width marks are what is tested)

import json
import re
import unicodedata
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "saif_helpers" / "data"
TEXTS = {
    name: (FOLDER / name).read_text(encoding="utf-8")
    for name in ("instructions.json", "natural_instructions.json")
}
GRAMMAR, NATURAL = map(json.loads, TEXTS.values())
DATA = GRAMMAR | NATURAL

LANGUAGES = ["en", "fr", "es", "de", "zh", "ru"]
OUTPUT_LANGUAGE = {
    "french": "fr",
    "spanish": "es",
    "german": "de",
    "summarise": "en",
    "uppercase": "en",
    "keyword": "en",
    "question": "en",
    "json": "en",
    "answer_french": "fr",
    "answer_german": "de",
    "answer_spanish": "es",
    "python": "en",
    "json_answer": "en",
    "poem": "en",
    "list": "en",
    "email": "en",
}
FIELDS = [
    "title",
    "description",
    "output_language",
    "slots",
    "held_out_language",
    "held_out_wordings",
    "wordings",
]
COUNT = 12
HELD_OUT = [10, 11]

# A wording stands before or after the content, so none may say where the content is.
PLACE_WORDS = {
    "en": r"\b(above|below|follow\w*|preced\w*|previous|prior|next|earlier|later|before|after)\b",
    "fr": r"(?<!là-)dessus|dessous|\bsui[vt]|précéd|plus haut|plus bas|\bprochain|\bavant\b"
    r"|\baprès\b",
    "es": r"\barriba|\babajo|\bsigu|\banterior|\bprevi|\bprecede|continuación|\bpróxim|\bantes\b",
    "de": r"\boben\b|\bunten\b|\bober|\bobig|folgend|\bfolgt\b|\bvorig|\bvorher|\bnächst|\bvoran"
    r"|\bdanach\b|(vor|nach|oben|unten)stehend",
    "zh": r"[上下前后][面文述列一]|以[上下]|如[上下]|接下来|[之以][前后]",
    "ru": r"выше|ниже|следующ|предыдущ|предшеств|\bдалее\b|\bсверху\b|\bснизу\b",
}
LETTERS = dict.fromkeys(LANGUAGES, r"[A-Za-zÀ-ÖØ-öø-ÿŒœ]") | {
    "zh": r"[\u4e00-\u9fff]",
    "ru": r"[А-Яа-яЁё]",
}
ENDINGS = {"。": ".", "？": "?", "！": "!", "：": ":"}  # full width -> ASCII

# Every translation wording names its language; every held-out wording has a word of the task.
LANGUAGE_NAMES = {
    "french": ["French", "français", "franc[eé]s", "[Ff]ranzösisch", "法语", "французск"],
    "spanish": ["Spanish", "espagnol", "español", "[Ss]panisch", "西班牙语", "[Ии]спанск"],
    "german": ["German", "allemand", "alem[aá]n", "[Dd]eutsch", "德语", "[Нн]емецк"],
}
RESPONSE_LANGUAGES = {f"answer_{name}": name for name in LANGUAGE_NAMES}
TASK_WORDS = LANGUAGE_NAMES | {
    "summarise": [
        "core|shorten",
        "essentiel|raccourcir",
        "esencial|acortar",
        "Kern|kürzen",
        "主干|缩短",
        "суть|сократить",
    ],
    "uppercase": ["capital|uppercase", "majuscule", "mayúscula", "Groß", "大写", "заглавн"],
    "keyword": [r"\{keyword\}"] * 6,
    "question": ["question", "question", "pregunta", "Frage", "疑问", "вопрос"],
    "json": ["JSON"] * 6,
    "python": ["Python"] * 6,
    "json_answer": ["JSON"] * 6,
    "poem": [
        "poem|verse",
        r"poème|\bvers\b",
        r"poema|\bversos?\b",
        r"[Gg]edicht|\bVers",
        "诗",
        "стих",
    ],
    "list": [
        "[Nn]umber",
        "[Nn]umérot|numéros",
        "[Nn]umera|números",
        "[Nn]ummer",
        "编号|数字",
        "нумер|номерами",
    ],
    "email": ["e-mail", "e-mail", "correo", "E-Mail", "邮件", "электронн|письмо"],
}
TASK_WORDS |= {name: LANGUAGE_NAMES[asked] for name, asked in RESPONSE_LANGUAGES.items()}

LISTS = [
    pytest.param(name, language, id=f"{name}-{language}")
    for name in DATA
    for language in DATA[name]["wordings"]
]


def bare(wording: str) -> str:
    """Return the wording's letters and digits only, in one case: what makes it this wording."""
    return "".join(char for char in wording.casefold() if char.isalnum())


def ending(wording: str) -> str:
    """Return the final punctuation mark, in ASCII."""
    return ENDINGS.get(wording[-1], wording[-1])


@pytest.mark.parametrize("name", TEXTS)
def test_file_form(name):
    text = TEXTS[name]
    assert json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n" == text
    assert unicodedata.is_normalized("NFC", text)


def test_instructions_in_order():
    assert list(DATA) == list(OUTPUT_LANGUAGE)
    assert set(GRAMMAR) == set(OUTPUT_LANGUAGE) - set(NATURAL)


@pytest.mark.parametrize("name", DATA)
def test_fields(name):
    entry = DATA[name]
    assert list(entry) == FIELDS
    assert entry["output_language"] == OUTPUT_LANGUAGE[name]
    assert entry["slots"] == (["keyword"] if name == "keyword" else [])
    assert entry["held_out_wordings"] == HELD_OUT
    assert re.fullmatch(r"[A-Z][^.\n]*[^.\n ]", entry["title"])
    assert re.fullmatch(r"[A-Z][^.\n]*\.", entry["description"])  # exactly one sentence


def test_titles_and_descriptions_differ():
    for field in ("title", "description"):
        assert len({entry[field] for entry in DATA.values()}) == len(DATA)


@pytest.mark.parametrize("name", DATA)
def test_twelve_wordings_in_each_language(name):
    wordings = DATA[name]["wordings"]
    assert list(wordings) == LANGUAGES
    assert {language: len(wordings[language]) for language in LANGUAGES} == dict.fromkeys(
        LANGUAGES, COUNT
    )


@pytest.mark.parametrize("entries", [GRAMMAR, NATURAL], ids=["grammar", "natural"])
def test_every_language_but_english_is_held_out_for_some_instruction(entries):
    held_out = {entry["held_out_language"] for entry in entries.values()}
    assert sorted(held_out) == sorted(set(LANGUAGES) - {"en"})


def test_held_out_languages_rotate():
    held_out = [entry["held_out_language"] for entry in GRAMMAR.values()]
    period = len(LANGUAGES) - 1
    assert held_out[period:] == held_out[: len(held_out) - period]


def test_no_wording_occurs_twice():
    first_use = {}
    for name, entry in DATA.items():
        for language, wordings in entry["wordings"].items():
            for index, wording in enumerate(wordings):
                place = f"{name}/{language}/{index}"
                assert first_use.setdefault(bare(wording), place) == place, wording


@pytest.mark.parametrize("name", DATA)
def test_translations_are_aligned(name):
    wordings = DATA[name]["wordings"]
    for index, english in enumerate(wordings["en"]):
        for language in LANGUAGES:
            other = wordings[language][index]
            assert ending(other) == ending(english), (language, index, other)
            assert ("JSON" in other) == ("JSON" in english), (language, index, other)


@pytest.mark.parametrize("name", DATA)
def test_colon_endings_are_rare(name):
    assert sum(ending(wording) == ":" for wording in DATA[name]["wordings"]["en"]) <= 1


@pytest.mark.parametrize("name", DATA)
def test_english_lengths(name):
    lengths = [len(wording.split()) for wording in DATA[name]["wordings"]["en"]]
    assert min(lengths) >= 3
    assert max(lengths) <= 12
    assert len(set(lengths)) >= 4  # mixed, not all of one length


@pytest.mark.parametrize(("name", "language"), LISTS)
def test_wording_form(name, language):
    for wording in DATA[name]["wordings"][language]:
        assert wording == " ".join(wording.split())  # one line, plain single spaces
        assert wording[-1] in ("。？！：" if language == "zh" else ".?!:"), wording
        assert not re.search(PLACE_WORDS[language], wording.casefold()), wording
        assert language == "zh" or wording.lstrip("¿¡")[0].isupper(), wording


@pytest.mark.parametrize(("name", "language"), LISTS)
def test_slots_and_quotes(name, language):
    slots = DATA[name]["slots"]
    for wording in DATA[name]["wordings"][language]:
        rest = wording
        for slot in slots:
            assert wording.count(f'"{{{slot}}}"') == 1, wording
            rest = rest.replace(f'"{{{slot}}}"', "")
        assert not re.search(r'[{}"“”„‟«»‹›「」『』《》‘’`]', rest), wording
        filled = wording.format(**dict.fromkeys(slots, "garden"))
        assert filled.count("garden") == len(slots), wording


@pytest.mark.parametrize(("name", "language"), LISTS)
def test_script(name, language):
    for wording in DATA[name]["wordings"][language]:
        rest = re.sub(r"\{keyword\}|JSON|Python", "", wording)
        letters = [char for char in rest if char.isalpha()]
        strays = [char for char in letters if not re.fullmatch(LETTERS[language], char)]
        assert letters, wording
        assert not strays, f"{strays} in {wording}"


@pytest.mark.parametrize(("name", "language"), LISTS)
def test_typography(name, language):
    for wording in DATA[name]["wordings"][language]:
        if language == "fr":
            assert not re.search(r"[^ ][?!:;]", wording), wording  # a space before ? ! : ;
        else:
            assert not re.search(r" [?!:;.,]", wording), wording
        if language == "es":
            assert wording.count("¿") == wording.count("?"), wording
            assert wording.count("¡") == wording.count("!"), wording
        if language == "zh":
            assert not re.search(r"[ ,.;:?!]", wording), wording  # full-width marks only


@pytest.mark.parametrize(("name", "language"), LISTS)
def test_names_its_task_and_no_other_language(name, language):
    column = LANGUAGES.index(language)
    for index, wording in enumerate(DATA[name]["wordings"][language]):
        if name in LANGUAGE_NAMES | RESPONSE_LANGUAGES or index in HELD_OUT:
            assert re.search(TASK_WORDS[name][column], wording), wording
        for other in set(LANGUAGE_NAMES) - {RESPONSE_LANGUAGES.get(name, name)}:
            assert not re.search(LANGUAGE_NAMES[other][column], wording), wording


@pytest.mark.parametrize("name", DATA)
def test_held_out_task_words_are_seen_in_training(name):
    for column, language in enumerate(LANGUAGES):
        wordings = DATA[name]["wordings"][language]
        seen = " ".join(w for i, w in enumerate(wordings) if i not in HELD_OUT).casefold()
        for index in HELD_OUT:
            used = re.findall(TASK_WORDS[name][column], wordings[index])
            assert used, (language, index)
            assert all(word.casefold() in seen for word in used), (language, index)
