"""Rules that judge whether an answer translates a sentence, with or without a reference.

An English sentence has many correct translations, so equality with a reference is too strict for a
real model. The rules check the language, the length, words copied from the sentence, its names and
numbers. They cannot detect a fluent but wrong translation. All rules and thresholds are this book's
(standing: ours).
"""

import re
import unicodedata
from itertools import pairwise

from sacrebleu.metrics import CHRF

from saif_helpers.graders.grader import Item
from saif_helpers.graders.text import identify_language, words_of

AMONG = ("en", "fr", "es", "de", "it", "pt", "nl")
CHRF_BAR = 40.0
FEWEST_WORDS = 3  # with fewer words the language is unreliable
PART_WORDS = 5  # the language of shorter parts is often misidentified
MOST_COPIED = 0.34  # share of the longer words; related languages have cognates
MOST_ENGLISH = 0.08  # share of English function words; a title may contain one
LENGTHS = (0.6, 2.0)  # of the content's words
LARGEST_SPELLED = 12  # numbers up to this one may be written as words
MOST_DIGITS = 30  # of a number, enough to distinguish it
_ENGLISH = {
    "the", "and", "of", "is", "with", "this", "that", "these", "those", "to", "it", "you",
    "they", "she", "his", "my", "our", "your", "their", "from", "are", "were", "which",
}  # fmt: skip
_DATES = {
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "january",
    "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december", "i",
}  # fmt: skip
_REFUSAL = re.compile(
    r"je suis (vraiment |vivement )?désolée?, (mais )?je|pas (en mesure de )?vous aider"
    r"|lo siento, (pero )?no|no puedo ayudar|tut mir leid, (aber )?(ich|das)"
    r"|nicht (dabei |damit |weiter)?helfen"
    r"|modèle de langage|modelo de lenguaje|sprachmodell"
)
_MAY_REFUSE = re.compile(r"\b(sorry|afraid|regret|apolog|help|assist|support|language model)")
CLOSING = "\"'”“»’)* "  # noqa: RUF001 (the quotes of several languages)


def is_translation(language: str, text: str, item: Item) -> bool:
    """Return whether an answer is, as far as rules can tell, a translation of the content.

    The language is identified for the whole and for its parts, so that no part is left in English.
    Few words may be copied from the content, letters of another script must come from the content,
    and the answer may not repeat itself or refuse. With a reference, the sentence chrF must reach
    `CHRF_BAR`. That threshold is ours: unrelated sentences score lower (the tests measure it on
    this book's sentences), good translations usually higher. Without a reference, the length must
    be plausible, the content's larger numbers and half of its names must be present, and the answer
    must not be truncated.

    Args:
        language: The required language, one of the ISO 639-1 codes in `AMONG`.
        text: The answer.
        item: The content and its reference, if any.

    Returns:
        Whether it is.
    """
    if not all_in(text, language) or is_repetitive(text) or _copied(text, item) > MOST_COPIED:
        return False
    if foreign_letters(text, item) or _refuses(text, item):
        return False
    if item.reference is not None:
        return CHRF().sentence_score(text, [item.reference]).score >= CHRF_BAR
    words, content = len(words_of(text)), len(words_of(item.content))
    return (
        LENGTHS[0] * content <= words <= LENGTHS[1] * content + 3
        and _keeps_names_and_numbers(text, item)
        and has_end(text, item)
    )


def looks_translated(language: str, text: str, item: Item) -> bool:
    """Return whether an answer is in a language, with enough words to identify it.

    Args:
        language: The required language, one of the ISO 639-1 codes in `AMONG`.
        text: The answer.
        item: The content.

    Returns:
        Whether it is.
    """
    least = min(FEWEST_WORDS, len(words_of(item.content)) / 2)
    return len(words_of(text)) >= least and mostly_in(text, language)


def is_in(language: str, text: str) -> bool:
    """Return whether a text is in a language of `AMONG`, with mostly Latin letters.

    The second condition is needed since the identifier picks one of `AMONG` even for Hindi.

    Args:
        language: The language, as an ISO 639-1 code.
        text: The text.

    Returns:
        Whether it is.
    """
    letters = sum(char.isalpha() for char in text)
    mostly_latin = 2 * len(foreign_letters(text)) < letters
    return mostly_latin and identify_language(text, AMONG) == language


def foreign_letters(text: str, item: Item | None = None) -> list[str]:
    """Return a text's letters of non-Latin scripts, except those of the content."""
    # Form NFKC converts Spanish ordinals to plain letters.
    letters = filter(str.isalpha, unicodedata.normalize("NFKC", text))
    allowed = set(item.content) if item else set()
    return [
        c for c in letters if not unicodedata.name(c, "").startswith("LATIN") and c not in allowed
    ]


def numbers_in(text: str) -> set[int]:
    """Return the numbers written in digits, without separators (1.7 and 1,7 are both 17)."""
    joined = re.sub(r"(?<=\d)[.,'\s](?=\d)", "", text)
    # int() raises for thousands of digits, which a repetitive model may write.
    return {int(number[:MOST_DIGITS]) for number in re.findall(r"\d+", joined)}


def is_repetitive(text: str) -> bool:
    """Return whether a text repeats a word three times in a row, or any four words.

    Args:
        text: The text.

    Returns:
        Whether it does, ignoring case and punctuation.
    """
    words = words_of(text)
    runs = list(zip(*(words[start:] for start in range(4)), strict=False))
    thrice = any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))
    return thrice or len(set(runs)) < len(runs)


def has_end(text: str, item: Item) -> bool:
    """Return whether a text ends like a sentence if its content does; otherwise it is truncated."""
    end = (".", "!", "?", "…")
    return text.rstrip(CLOSING).endswith(end) or not item.content.rstrip(CLOSING).endswith(end)


def all_in(text: str, language: str) -> bool:
    """Return whether a text and all its parts are in a language, with no part left in English.

    Args:
        text: The text.
        language: One of the ISO 639-1 codes in `AMONG`.

    Returns:
        Whether it is.
    """
    english = sum(word in _ENGLISH for word in words_of(text))
    return (
        is_in(language, text)
        and english <= MOST_ENGLISH * len(text.split())
        and all(found in (language, None) for found in _languages(text, language))
    )


def mostly_in(text: str, language: str) -> bool:
    """Return whether a text and at least half of its parts are in a language.

    Args:
        text: The text.
        language: One of the ISO 639-1 codes in `AMONG`.

    Returns:
        Whether it is.
    """
    found = _languages(text, language)
    return is_in(language, text) and 2 * found.count(language) >= len(found)


def _languages(text: str, language: str) -> list[str | None]:
    """Return for each part of a text whether it is in English or in `language`."""
    words = text.split()
    count = max(1, len(words) // PART_WORDS)
    edges = [round(i * len(words) / count) for i in range(count + 1)]
    parts = (" ".join(words[a:b]) for a, b in pairwise(edges))
    return [identify_language(part, ("en", language)) for part in parts]


def _folded(text: str) -> str:
    """Return the text without accents, in one case."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _names(text: str) -> set[str]:
    """Return capitalised words, except sentence starts, days and months."""
    found = re.findall(r"(?<=[\w,;] )[A-Z][\w-]+", text)
    return {_folded(name) for name in found if name.casefold().rstrip("s") not in _DATES}


def _keeps_names_and_numbers(text: str, item: Item) -> bool:
    """Return whether the content's larger numbers and at least half of its names are present.

    Names match by their first three letters, since place names differ between languages.
    """
    names, starts = _names(item.content), {word[:3] for word in words_of(_folded(text))}
    numbers = {number for number in numbers_in(item.content) if number > LARGEST_SPELLED}
    kept = sum(name[:3] in starts for name in names)
    return 2 * kept >= len(names) and numbers <= numbers_in(text)


def _refuses(text: str, item: Item) -> bool:
    """Return whether an answer is a refusal, unlike its content."""
    folded = unicodedata.normalize("NFC", text).casefold()
    return bool(_REFUSAL.search(folded)) and not _MAY_REFUSE.search(item.content.casefold())


def _copied(text: str, item: Item) -> float:
    """Return the share of an answer's longer words that are copied from the content.

    Names and words that the reference contains too do not count as copied.
    """
    names = _names(item.content)
    content = set(words_of(item.content)) - set(words_of(item.reference or ""))
    words = [w for w in words_of(text) if len(w) > 3 and w.isalpha() and _folded(w) not in names]
    return sum(word in content for word in words) / max(1, len(words))
