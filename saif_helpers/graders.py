"""Text checks that decide, strictly and loosely, whether an output follows its instruction.

Strict: the output does what was asked, completely and about the right content; where the data has a
reference, the output equals it. Loose: what was asked is recognisably there. The paper's own words
for its two accuracies are not known; this reading is this book's (standing: ours), and it is not
IFEval's strict and loose.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import py3langid
import regex

LANGUAGES = ("en", "fr", "es", "de")
_WORD = regex.compile(r"[\w\p{M}]+")  # re knows no marks: it would cut Hindi words at each
_NO_SPACES = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{M}]+"
)


@dataclass(frozen=True)
class Item:
    """What an output is graded against.

    Attributes:
        content: The sentence that the instruction was about.
        reference: The one right answer, or None where none is known.
        slots: What the instruction's slots were filled with, for example ``{"keyword": "garden"}``.
    """

    content: str
    reference: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)


Check = Callable[[str, Item], bool]


@dataclass(frozen=True)
class Grader:
    """Two checks of an output against its item.

    Attributes:
        strict: Whether the output does what was asked, completely and about the right content.
        loose: Whether what was asked is recognisably there.
    """

    strict: Check
    loose: Check


def normalise(text: str) -> str:
    """Return the text in Unicode form NFC, with one space for any white space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


_THOUGHT = re.compile(r".*?(</think(?:ing)?>|\[/THINK\])\s*", re.DOTALL)
_BEGUN = re.compile(r"\s*(<think(?:ing)?>|\[THINK\])")


def without_thought(output: str) -> str:
    """Return an output without the block in which a reasoning model thinks before it answers.

    >>> without_thought("<think>They want French.</think>Bonjour.")
    'Bonjour.'

    Args:
        output: The output. The block's opening tag may be in the prompt, as some templates have it.

    Returns:
        What follows the block; nothing if the output was cut off inside it; the output itself where
        there is no block.
    """
    if thought := _THOUGHT.match(output):
        return output[thought.end() :]
    return "" if _BEGUN.match(output) else output


def exact_match(output: str, reference: str) -> bool:
    """Say whether two texts are equal once white space is normalised."""
    return normalise(output) == normalise(reference)


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, each mark with its letter.

    Args:
        text: A text in any script that writes spaces between words.

    Returns:
        Runs of letters, marks, digits and underscores, in Unicode form NFC.
    """
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def contains_word(text: str, word: str) -> bool:
    """Say whether `word` is in `text` as a whole word, in any case.

    In a script that writes no spaces between words, it may be anywhere.
    """
    if not word.strip():
        raise ValueError("contains_word was given an empty word; give the word to look for")
    text, word = (unicodedata.normalize("NFC", part).casefold() for part in (text, word.strip()))
    if _NO_SPACES.fullmatch(word):
        return word in text
    return regex.search(rf"(?<![\w\p{{M}}]){regex.escape(word)}(?![\w\p{{M}}])", text) is not None


def is_uppercase(text: str) -> bool:
    """Say whether the text has letters and all of them are capitals."""
    return text.isupper()


def is_question(text: str) -> bool:
    """Say whether the text has a word and ends with a question mark."""
    return re.search(r"\w", text) is not None and text.rstrip().endswith("?")


def parses_as_json(text: str) -> bool:
    """Say whether the text, as a whole, is a JSON object or a JSON array."""
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):  # a steered model may write a digit or a bracket for ever
        return False


def identify_language(text: str, among: Sequence[str] = LANGUAGES) -> str | None:
    """Name the most likely language of a text, out of a few candidates, offline.

    Args:
        text: The text. One sentence is enough; a word may not be.
        among: Candidate languages as ISO 639-1 codes, for example ``("en", "fr")``.

    Returns:
        One of `among`, or None for a text without a letter.

    Raises:
        ValueError: If `among` is empty or the identifier does not know one of its languages.
    """
    scores = dict(py3langid.rank(text))
    unknown = [language for language in among if language not in scores]
    if unknown or not among:
        raise ValueError(
            f"languages {list(among)} asked for; give one or more of {', '.join(sorted(scores))}"
        )
    if not any(character.isalpha() for character in text):
        return None
    return max(among, key=lambda language: scores[language])


def equals_reference(output: str, item: Item) -> bool:
    """Say whether the output equals the item's reference, white space aside.

    Raises:
        ValueError: If the item has no reference.
    """
    if item.reference is None:
        raise ValueError(
            f"strict grading compares with a reference, and the content {item.content!r} has none "
            "for this instruction; give one, or give the instruction a grader that needs none"
        )
    return exact_match(output, item.reference)


def language_is(language: str, among: Sequence[str] = LANGUAGES) -> Check:
    """Make a check that asks for a language and needs no reference.

    Args:
        language: The language asked for, as an ISO 639-1 code.
        among: The languages that the output is told apart from.

    Returns:
        The check.

    Raises:
        ValueError: If the language is not one of `among`.
    """
    if language not in among:
        raise ValueError(f"language {language!r} asked for; it must be one of {', '.join(among)}")
    return lambda output, item: identify_language(output, among) == language


def translation(language: str, among: Sequence[str] = LANGUAGES) -> Grader:
    """Grade a translation: strict is the reference itself, loose is any text in `language`.

    Args:
        language: The language asked for, as an ISO 639-1 code.
        among: The languages that the output is told apart from.

    Returns:
        The grader.

    Raises:
        ValueError: As `language_is`.
    """
    return Grader(equals_reference, language_is(language, among))


def matches(pattern: str) -> Check:
    """Make a check that asks for a regular expression somewhere in the output.

    Args:
        pattern: The expression, in Python's syntax.

    Returns:
        The check.

    Raises:
        ValueError: If the expression cannot be read.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} cannot be read: {error}") from error
    return lambda output, item: compiled.search(output) is not None


def word_count(least: int = 1, most: int | None = None) -> Check:
    """Make a check that asks for a number of words.

    Args:
        least: Fewest words.
        most: Most words; None for no limit.

    Returns:
        The check.

    Raises:
        ValueError: If no number of words would do.
    """
    if least < 0 or (most is not None and most < least):
        raise ValueError(f"{least} to {most} words asked for; give 0 <= least <= most")
    limit = math.inf if most is None else most
    return lambda output, item: least <= len(words_of(output)) <= limit


_REPEATED = re.compile(r"(.{3,80}?)\1+")


def repetition(texts: Sequence[str]) -> float:
    """Return the share of all texts that repeats at once what stands before it.

    What is repeated may be a word, some words or a part of a word, of three characters or more, the
    space behind a word included. Case and punctuation do not count.

    Args:
        texts: Outputs, for example of steered generation.

    Returns:
        0 where nothing is repeated at once, towards 1 for one syllable over and over; 0.002 for
        sentences that nobody steered.
    """
    plain = ["".join(f"{word} " for word in words_of(text)) for text in texts]
    repeats = [match for text in plain for match in _REPEATED.finditer(text)]
    return sum(len(each[0]) - len(each[1]) for each in repeats) / max(1, sum(map(len, plain)))


def is_shorter_version(output: str, item: Item) -> bool:
    """Say whether the output has fewer words than the content, over half of them its words."""
    words, content = words_of(output), words_of(item.content)
    return 0 < len(words) < len(content) and sum(w in content for w in words) > len(words) / 2


def _uppercase_strict(output: str, item: Item) -> bool:
    return exact_match(output, item.reference or item.content.upper())


def _json_strict(output: str, item: Item) -> bool:
    if item.reference is None:
        return equals_reference(output, item)
    return parses_as_json(output) and json.loads(output) == json.loads(item.reference)


GRADERS: dict[str, Grader] = {
    "french": translation("fr"),
    "spanish": translation("es"),
    "german": translation("de"),
    "summarise": Grader(equals_reference, is_shorter_version),
    "uppercase": Grader(_uppercase_strict, lambda output, item: is_uppercase(output)),
    "keyword": Grader(
        equals_reference, lambda output, item: contains_word(output, item.slots["keyword"])
    ),
    "question": Grader(equals_reference, lambda output, item: is_question(output)),
    "json": Grader(_json_strict, lambda output, item: parses_as_json(output)),
}
"""The graders of the instructions that the package ships, by the instruction's name."""
