"""Properties of a text: words, language, repetition, case and syntax."""

import json
import re
import unicodedata
from collections.abc import Sequence

import py3langid
import regex

from saif_helpers._internal.errors import ArgumentError

LANGUAGES = ("en", "fr", "es", "de")
_WORD = regex.compile(r"[\w\p{M}]+")  # \w in re excludes marks and would split Hindi words
_NO_SPACES = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{M}]+"
)


def normalise(text: str) -> str:
    """Return the text in Unicode form NFC, with white space collapsed and stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


_THOUGHT = re.compile(r".*?(</think(?:ing)?>|\[/THINK\])\s*", re.DOTALL)
_BEGUN = re.compile(r"\s*(<think(?:ing)?>|\[THINK\])")


def without_thought(output: str) -> str:
    """Return an output without the reasoning block that precedes the answer.

    >>> without_thought("<think>They want French.</think>Bonjour.")
    'Bonjour.'

    Args:
        output: The output. The opening tag may be missing, since some templates put it into the
            prompt.

    Returns:
        What follows the block; an empty string if the output was truncated inside it; the output
        itself if there is no block.
    """
    if thought := _THOUGHT.match(output):
        return output[thought.end() :]
    return "" if _BEGUN.match(output) else output


def exact_match(output: str, reference: str) -> bool:
    """Return whether two texts are equal after normalising white space."""
    return normalise(output) == normalise(reference)


def words_of(text: str) -> list[str]:
    """Return the case-folded words of a text, with marks attached to their letters.

    Args:
        text: A text in any script with spaces between words.

    Returns:
        Runs of letters, marks, digits and underscores, in Unicode form NFC.
    """
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def contains_word(text: str, word: str) -> bool:
    """Return whether `text` contains `word` as a whole word, ignoring case.

    In scripts without spaces between words, any occurrence counts.
    """
    if not word.strip():
        raise ArgumentError(
            "contains_word was given an empty word; give the word to look for", "word"
        )
    text, word = (unicodedata.normalize("NFC", part).casefold() for part in (text, word.strip()))
    if _NO_SPACES.fullmatch(word):
        return word in text
    return regex.search(rf"(?<![\w\p{{M}}]){regex.escape(word)}(?![\w\p{{M}}])", text) is not None


def is_uppercase(text: str) -> bool:
    """Return whether the text has letters and all of them are upper case."""
    return text.isupper()


def is_question(text: str) -> bool:
    """Return whether the text has a word and ends with a question mark."""
    return re.search(r"\w", text) is not None and text.rstrip().endswith("?")


def parses_as_json(text: str) -> bool:
    """Return whether the whole text is a JSON object or array."""
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):  # a steered model may repeat a bracket endlessly
        return False


def identify_language(text: str, among: Sequence[str] = LANGUAGES) -> str | None:
    """Identify the language of a text among a few candidates, offline.

    Args:
        text: The text. One sentence is enough; one word may not be.
        among: Candidate languages as ISO 639-1 codes, for example ``("en", "fr")``.

    Returns:
        One of `among`, or None for a text without a letter.

    Raises:
        ValueError: If `among` is empty or the identifier does not know one of its languages.
    """
    scores = dict(py3langid.rank(text))
    unknown = [language for language in among if language not in scores]
    if unknown or not among:
        raise ArgumentError(
            f"languages {list(among)} given; give one or more of {', '.join(sorted(scores))}",
            "among",
        )
    if not any(character.isalpha() for character in text):
        return None
    return max(among, key=lambda language: scores[language])


_REPEATED = re.compile(r"(.{3,80}?)\1+")


def repetition(texts: Sequence[str]) -> float:
    """Return the share of all text that immediately repeats what precedes it.

    A repeated piece is a word, several words or part of a word, with at least three characters
    including a trailing space. Case and punctuation are ignored.

    Args:
        texts: Outputs, for example of steered generation.

    Returns:
        0 if nothing is repeated immediately, close to 1 for one syllable repeated throughout; 0.002
        for unsteered sentences.
    """
    plain = ["".join(f"{word} " for word in words_of(text)) for text in texts]
    repeats = [match for text in plain for match in _REPEATED.finditer(text)]
    return sum(len(each[0]) - len(each[1]) for each in repeats) / max(1, sum(map(len, plain)))
