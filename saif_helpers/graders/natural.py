"""Graders for real models, which need no reference and unwrap the answer.

Real models wrap their answer ("Sure! Here is the translation: ..."), and an English sentence has
many correct translations. Strict and loose are therefore rules here: language identification, word
overlap with the content, length and format. All rules and thresholds are this book's (standing:
ours); the tests report their agreement with manual labels. References are used only for
translations (see `translation`).
"""

import json
import re
from functools import partial

from saif_helpers.graders.exact import is_shorter_version
from saif_helpers.graders.grader import Grader, Item, OutputCheck
from saif_helpers.graders.text import (
    contains_word,
    exact_match,
    is_question,
    is_uppercase,
    normalise,
    parses_as_json,
    without_thought,
    words_of,
)
from saif_helpers.graders.translation import (
    CLOSING,
    foreign_letters,
    has_end,
    is_in,
    is_repetitive,
    is_translation,
    looks_translated,
    numbers_in,
)

KEPT_BAR = 0.6  # minimum share of the content's words that a rewrite keeps
_LEAD_IN = re.compile(
    r"\b(here|sure|certainly|of course|translat\w+|version|sentence|question|summary|keyword"
    r"|uppercase|capitals?|answer|output|french|spanish|german|français|español|deutsch"
    r"|voici|traduction|aquí|traducción|hier|übersetzung)\b",
    re.IGNORECASE,
)
_COURTESY = re.compile(
    r"\A(sure|sure thing|certainly|of course|absolutely|okay)[!.,]*[^\S\n]*\n\s*", re.IGNORECASE
)
_FENCE = re.compile(r"^```[^\S\n]*\w*[^\S\n]*\n(.*?)\n?```$", re.DOTALL | re.MULTILINE)
_MARKS = (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"), ("‘", "’"), ("'", "'"), ("`", "`"))  # noqa: RUF001
_PRONOUNS = {
    "i", "me", "my", "mine", "you", "your", "yours", "he", "him", "his", "she", "her", "hers",
    "it", "its", "we", "us", "our", "ours", "they", "them", "their", "this", "that", "these",
    "those", "s", "t", "d", "ll", "m", "re", "ve", "do", "does", "did", "don",
}  # fmt: skip
_AUXILIARIES = {
    "is", "are", "was", "were", "am", "be", "do", "does", "did", "has", "have", "had", "can",
    "could", "will", "would", "shall", "should", "may", "might", "must", "ought", "isn", "aren",
    "wasn", "weren", "don", "doesn", "didn", "hasn", "haven", "hadn", "couldn", "won", "wouldn",
    "shouldn", "mustn",
}  # fmt: skip
_OPEN = {
    "who", "whom", "whose", "what", "which", "when", "where", "why", "how",
}  # fmt: skip


def answer(output: str, item: Item) -> str:
    """Extract the answer from an output.

    Removes a reasoning block (`without_thought`), a leading courtesy line ("Sure!"), a lead-in that
    ends in a colon, on its own line or on the answer's ("Sure! Here is the translation: ..."),
    Markdown emphasis, and a code block or quotes around the whole, unless the content is quoted as
    well. Remarks after the answer are kept: they fail strict grading.

    Args:
        output: The output.
        item: What it is graded against; if its content has a colon, the first line is kept.

    Returns:
        The answer; the whole output if it is not wrapped.
    """
    text = re.sub(r"(\*{1,3})(?=\S)(.+?)(?<=\S)\1", r"\2", without_thought(output).strip())
    text = _COURTESY.sub("", text)
    first, _, rest = text.partition("\n")
    if first.rstrip().endswith(":") and rest.strip() and first[0] not in "{[":
        text = rest.strip()
    elif ":" not in item.content:
        before, colon, after = first.partition(": ")
        if colon and after.strip() and _LEAD_IN.search(before) and before[0] not in "{[":
            text = (after + "\n" + rest).strip()
    fence = _FENCE.fullmatch(text)
    if fence and "```" not in fence[1]:
        text = fence[1].strip()
    speech = _quoted(item.content) is not None
    while (inner := _quoted(text)) is not None:
        if speech and _quoted(inner) is None:  # the content's own quotes
            break
        text = inner
    return text


def _quoted(text: str) -> str | None:
    """Return a text without quotes around the whole of it, or None if there are none."""
    for opening, closing in _MARKS:
        inner = text[1:-1]
        # A content that starts with speech is wrapped in double quotes twice.
        around = opening not in inner or text[:2] == '""'
        if len(text) > 1 and text[0] == opening and text[-1] == closing and around:
            return inner.strip()
    return None


def _grader(strict: OutputCheck, loose: OutputCheck) -> Grader:
    """Return a grader of answers; loose also tries the first paragraph, strict implies loose."""

    def loosely(output: str, item: Item) -> bool:
        text = answer(output, item)
        return any(loose(part, item) for part in (text, _first_paragraph(text)))

    return Grader(lambda o, item: loosely(o, item) and strict(answer(o, item), item), loosely)


def _alone(check: OutputCheck) -> OutputCheck:
    """Return a check that fails answers with more lines than the content, which have a remark."""
    return lambda text, item: _lines(text) <= max(1, _lines(item.content)) and check(text, item)


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _first_paragraph(text: str) -> str:
    return re.split(r"\n\s*\n", text)[0]


def _kept(text: str, other: str) -> float:
    """Return the share of another text's words in a text, ignoring endings and pronouns."""
    wanted = [word for word in words_of(other) if word not in _PRONOUNS]
    words = words_of(text)
    stems = [word[: max(3, len(word) - 3)] for word in wanted]
    return sum(any(w.startswith(stem) for w in words) for stem in stems) / max(1, len(stems))


def _is_english(text: str, item: Item) -> bool:
    return is_in("en", text.lower()) and not foreign_letters(text, item) and not is_repetitive(text)


def _is_summary(text: str, item: Item) -> bool:
    words, content = len(words_of(text)), len(words_of(item.content))
    cut_off = normalise(item.content).startswith(normalise(text)) and not has_end(text, item)
    return (
        min(3, content - 1) <= words <= (content - 1 if content <= 8 else 0.8 * content)
        and _is_english(text, item)
        and not cut_off
        and numbers_in(text) <= numbers_in(item.content)
    )


def _is_content_in_capitals(text: str, item: Item) -> bool:
    straight = str.maketrans("“”‘’", "\"\"''")  # noqa: RUF001
    return exact_match(text.translate(straight), item.content.upper().translate(straight))


def _has_keyword_worked_in(text: str, item: Item) -> bool:
    most = 2 * len(words_of(item.content)) + 8
    return (
        _is_english(text, item)
        and _kept(text, item.content) >= KEPT_BAR
        and len(words_of(text)) <= most
        and has_end(text, item)
    )


def _uses_keyword(text: str, item: Item) -> bool:
    """Return whether the keyword is used; a quoted keyword is only mentioned, not used.

    If the content is kept, the keyword may be quoted.
    """
    keyword = item.slots["keyword"]
    unquoted = re.sub(rf"[\"“”„]{re.escape(keyword)}[.,;:!?]?[\"“”]", "", text, flags=re.IGNORECASE)
    kept = 2 * _kept(text, item.content) >= KEPT_BAR
    return contains_word(text if kept else unquoted, keyword)


def _is_yes_no_question(text: str, item: Item) -> bool:
    # The auxiliary starts the text or a later clause ("On Mondays, do they ...?").
    openings = [match.casefold() for match in re.findall(r"(?:^|[,\"“:] ?[\"“]?)([^\W_]+)", text)]
    return (
        _is_english(text, item)
        and text.count("?") == 1
        and bool(set(openings) & _AUXILIARIES)
        and not set(openings[:1]) & _OPEN
        and _kept(text, item.content) >= KEPT_BAR
        and len(words_of(text)) <= 2 * len(words_of(item.content)) + 4
    )


def _is_question_about(text: str, item: Item) -> bool:
    # Chatty answers often end with another question, so only the first paragraph counts.
    first = _first_paragraph(text)
    return is_question(first.rstrip(CLOSING)) and 2 * _kept(first, item.content) >= KEPT_BAR


def _unfenced(text: str) -> str:
    return match[1] if (match := _FENCE.search(text)) else text


def _looks_like_json(text: str, item: Item) -> bool:
    """Return whether a text is JSON, or an object truncated by the token limit."""
    cut_off = re.match(r"(JSON\W{0,3}\s)?(```[^\S\n]*\w*\s*)?(\[\s*)?\{\s*\"\w", text)
    return parses_as_json(_unfenced(text)) or cut_off is not None


def _names_the_parts(text: str, item: Item) -> bool:
    found = json.loads(text) if parses_as_json(text) else None  # a remark may follow
    if not isinstance(found, dict):
        return False
    parts = {str(key).casefold(): _text_of(value) for key, value in found.items()}
    names = ("subject", "verb", "object")
    if not set(names) <= set(parts) or not (parts["subject"] and parts["verb"]):
        return False
    return _kept(item.content, " ".join(parts[key] for key in names)) >= KEPT_BAR


def _text_of(value: object) -> str:
    """Return the words of a JSON value, nested or not."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return " ".join(_text_of(part) for part in inner)
    return "" if value is None else str(value)


def _translation(language: str) -> Grader:
    check = partial(is_translation, language)
    return _grader(_alone(check), partial(looks_translated, language))


NATURAL_GRADERS: dict[str, Grader] = {
    "french": _translation("fr"),
    "spanish": _translation("es"),
    "german": _translation("de"),
    "summarise": _grader(_alone(_is_summary), is_shorter_version),
    "uppercase": _grader(_is_content_in_capitals, lambda text, item: is_uppercase(text)),
    "keyword": _grader(_alone(_has_keyword_worked_in), _uses_keyword),
    "question": _grader(_alone(_is_yes_no_question), _is_question_about),
    "json": _grader(_names_the_parts, _looks_like_json),
}
"""Name of a shipped instruction to its grader for real models."""
