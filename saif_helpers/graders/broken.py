"""Detection of broken text: degenerate repetition, invalid characters, no variety.

Steering that is too strong makes a model repeat itself, and such text can pass a loose grade: a
language identifier classifies "Deuxeuxeuxeux" as French. Broken text therefore fails every grade in
this package, and the share of broken texts is reported next to the grades. The rules and thresholds
are this book's (standing: ours). They target repetition that no writer intends and that is longer
than a refrain. Nonsense alone does not count as broken.
"""

import re
import unicodedata
import zlib
from collections import Counter

from saif_helpers._internal.checked import checked
from saif_helpers.graders.text import words_of

SHARE_REPEATED = 0.3
"""Minimum share of a text that immediately repeats what precedes it."""
SAID_TWICE = 0.6
"""Minimum share of a text that is one clause said twice."""
RUN = 5
"""Number of consecutive repetitions that no writer intends."""
SHORTEST = 12
"""Number of characters below which a text, or a repetition, is too short to judge."""
WORDS = 3
"""Length of the word n-grams that are checked for recurrence."""
FEWEST_WORDS = 12
"""Minimum number of words to check for recurring n-grams and a restarted clause."""
SEEN_BEFORE = 0.5
"""Minimum share of a text's n-grams that occurred before."""
MARKS = 0.5
"""Minimum share of a text that is the same marks or digits ten or more times in a row."""
SAME_LINES = 3
"""Minimum number of equal lines, which must also be more than half of all lines."""
FEWEST_BYTES = 200
"""Minimum number of UTF-8 bytes to check the compression ratio."""
COMPRESSED = 0.15
"""Minimum compression ratio of a sound text."""
# A syllable or word four times in a row, several words three times, a clause twice.
_RUN = re.compile(r"(.{2,7}?)\1{3,}|(.{8,80}?)\2{2,}|(.{12,200}?)\3+", re.DOTALL)
_MARKS = re.compile(r"([\W\d_]{1,8}?)\1{9,}")
_RULES = set("-=_*~#. ")  # rulers and blanks to fill in
_RUN_OF_ONE = re.compile(r"([^\W\d_])\1{11,}|(\d)\2{39,}")
_MOJIBAKE = re.compile(r"\xc3[\x80-\xbf\u0192\u201a]|\xe2\u20ac[\u0080-\u2122]|\xef\xbf\xbd")
_NO_CHARACTER = re.compile(r"[\ufffd\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")
_ENDS = frozenset(".!?…:\"'”»)]}`")  # of a text that is not truncated
_SPACE = "\t\n\v\f\r\x85"


@checked
def is_broken(text: str) -> bool:
    """Return whether a text is broken, and so cannot follow any instruction.

    >>> saif.is_broken("Deuxeuxeuxeuxeuxeux")
    True
    >>> saif.is_broken("Row, row, row your boat, gently down the stream.")
    False

    Args:
        text: An output of a model, possibly truncated.

    Returns:
        True if it contains invalid characters; if `SHARE_REPEATED` of the text immediately repeats
        what precedes it (one or two words four times in a row, more words three times); if
        `SAID_TWICE` of it is one clause said twice; if it is a clause and half of it again,
        truncated; if a piece occurs `RUN` times in a row and makes up a tenth of the text; if
        `MARKS` of it are the same marks, or it is long and has no letters or digits; if its n-grams
        recur (`SEEN_BEFORE`); if most lines are equal; or if it compresses to less than
        `COMPRESSED`. False for an empty text.
    """
    repeats = _repeats_at_once(text) or _begins_again(text) or _repeats_marks(text)
    return _has_broken_characters(text) or repeats or _lacks_variety(text)


def _has_broken_characters(text: str) -> bool:
    """Return whether a text has invalid characters or mis-decoded UTF-8.

    A single replacement character at the very end is a character truncated by the token limit.
    """
    text = text.rstrip().removesuffix("\ufffd")
    control = any(unicodedata.category(char) == "Cc" for char in text if char not in _SPACE)
    return control or bool(_NO_CHARACTER.search(text) or _MOJIBAKE.search(text))


def _repeats_at_once(text: str) -> bool:
    """Return whether much of a text immediately repeats itself, ignoring case and punctuation."""
    plain = " ".join(words_of(text)) + " "
    if len(plain) < SHORTEST:
        return False
    repeated = 0
    for run in _RUN.finditer(plain):
        piece = run[1] or run[2] or run[3]
        if not any(char.isalpha() for char in piece):  # numbers in a table, or a row of marks
            continue
        long_enough = len(run[0]) >= max(SHORTEST, len(plain) / 10)
        if long_enough and len(run[0]) >= RUN * len(piece):
            return True
        times, n_words = len(run[0]) // len(piece), len(piece.split())
        if times == 2 and (len(run[0]) < SAID_TWICE * len(plain) or n_words < 3):
            continue  # a refrain, or code that forwards a name
        if times == 3 and n_words < 3:
            continue  # Location, location, location!
        repeated += len(run[0]) - len(piece)
    return repeated >= SHARE_REPEATED * len(plain) or _RUN_OF_ONE.search(plain) is not None


def _begins_again(text: str) -> bool:
    """Return whether a text is one clause, restarted at least halfway, and truncated there.

    Numbers are ignored, so that the clause may be two items of a list.
    """
    words = [word for word in words_of(text) if not word.isnumeric()]
    n, cut_off = len(words), text.rstrip()[-1:] not in _ENDS
    return (
        cut_off
        and n >= FEWEST_WORDS
        and any(
            words[n - length - 1].startswith(words[-1])  # which may be truncated too
            and words[length:-1] == words[: n - length - 1]
            for length in range(n // 2, 2 * n // 3 + 1)
        )
    )


def _repeats_marks(text: str) -> bool:
    """Return whether half of a text is the same marks repeated, ignoring rulers and blanks.

    A text of `SHORTEST` or more characters without a letter or digit counts as well.
    """
    if len(text.strip()) >= SHORTEST and not any(map(str.isalnum, text)):
        return True
    runs = [run[0] for run in _MARKS.finditer(text) if not set(run[1].strip()) <= _RULES]
    return SHORTEST <= sum(map(len, runs)) >= MARKS * len(text)


def _lacks_variety(text: str) -> bool:
    """Return whether most lines are equal, ignoring numbers, or most n-grams recur."""
    lines = [re.sub(r"^[\d\W]+", "", line).strip().casefold() for line in text.splitlines()]
    lines = [line for line in lines if len(line) > 5]
    if lines and lines[0].startswith(lines[-1]):
        lines[-1] = lines[0]  # truncated
    most = max(Counter(lines).values(), default=0)
    if most >= SAME_LINES and 2 * most > len(lines):
        return True
    words, data = words_of(text), text.encode("utf-8", "replace")
    rows = [" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)]
    seen = [row for row in rows if re.search(r"[^\W\d]", row)]  # numbers recur in valid data
    if len(words) >= FEWEST_WORDS and len(seen) - len(set(seen)) >= SEEN_BEFORE * len(rows):
        return True
    return len(data) >= FEWEST_BYTES and len(zlib.compress(data, 9)) < COMPRESSED * len(data)
