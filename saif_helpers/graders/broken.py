"""Whether a text is broken: one syllable over and over, characters that are none, nothing new.

Steering that is too strong makes a model repeat itself, and such text can pass a loose grade: a
language identifier takes "Deuxeuxeuxeux" for French. So a broken text passes no grade in this
package, and the share of broken texts is reported next to the grades. The rules and their bars are
this book's (standing: ours): repetition that no writer intends, at a length that no refrain has.
A text that makes no sense is not broken by this alone.
"""

import re
import unicodedata
import zlib
from collections import Counter

from saif_helpers._internal.checked import checked
from saif_helpers.graders.text import words_of

SHARE_REPEATED = 0.3
"""Least share of a broken text that repeats at once what precedes it."""
SAID_TWICE = 0.6
"""Least share of a broken text that is one clause, said twice."""
RUN = 5
"""So many times running, a word or syllable is repeated by nobody."""
SHORTEST = 12
"""Characters below which a text, or what is repeated in it, is too short to tell."""
WORDS = 3
"""Words in a row, to be looked for further on in a text."""
FEWEST_WORDS = 12
"""From so many words on, words in a row are looked for, and a clause that begins again."""
SEEN_BEFORE = 0.5
"""Least share of a broken text's words in a row that stood in it before."""
MARKS = 0.5
"""Least share of a broken text that is the same marks or digits, ten times running or more."""
SAME_LINES = 3
"""So many lines that are the same, and more than half of them, make a text broken."""
FEWEST_BYTES = 200
"""From so many bytes of UTF-8 on, a text's size after compression is looked at."""
COMPRESSED = 0.15
"""Least size of a sound text after compression, as a share of its own."""
# A syllable or word four times running, words three times, a clause twice.
_RUN = re.compile(r"(.{2,7}?)\1{3,}|(.{8,80}?)\2{2,}|(.{12,200}?)\3+", re.DOTALL)
_MARKS = re.compile(r"([\W\d_]{1,8}?)\1{9,}")
_RULES = set("-=_*~#. ")  # what draws a line or leaves a blank to be filled in
_RUN_OF_ONE = re.compile(r"([^\W\d_])\1{11,}|(\d)\2{39,}")
_MOJIBAKE = re.compile(r"\xc3[\x80-\xbf\u0192\u201a]|\xe2\u20ac[\u0080-\u2122]|\xef\xbf\xbd")
_NO_CHARACTER = re.compile(r"[\ufffd\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")
_ENDS = frozenset(".!?…:\"'”»)]}`")  # of a text that is not cut off
_SPACE = "\t\n\v\f\r\x85"


@checked
def is_broken(text: str) -> bool:
    """Return whether a text is broken, so that it follows no instruction.

    >>> saif.is_broken("Deuxeuxeuxeuxeuxeux")
    True
    >>> saif.is_broken("Row, row, row your boat, gently down the stream.")
    False

    Args:
        text: An output of a model, whole or cut off.

    Returns:
        True if characters are not text; if `SHARE_REPEATED` of the text repeats at once what it
        follows (a word or two four times running, more words three times); if `SAID_TWICE` of it
        is one clause, twice; if it is a clause and half of it again, cut off; if a piece comes
        `RUN` times running and makes up a tenth of the text; if `MARKS` of it are the same marks,
        or it is long and has neither letter nor digit; if it goes in circles (`SEEN_BEFORE`); if
        most lines are the same; or if it can be compressed to less than `COMPRESSED`. False for an
        empty text.
    """
    repeats = _repeats_at_once(text) or _begins_again(text) or _repeats_marks(text)
    return _has_broken_characters(text) or repeats or _lacks_variety(text)


def _has_broken_characters(text: str) -> bool:
    """Return whether a text has characters that are none, or UTF-8 read as something else.

    A single replacement character at the very end is a character that the token limit cut off.
    """
    text = text.rstrip().removesuffix("\ufffd")
    control = any(unicodedata.category(char) == "Cc" for char in text if char not in _SPACE)
    return control or bool(_NO_CHARACTER.search(text) or _MOJIBAKE.search(text))


def _repeats_at_once(text: str) -> bool:
    """Return whether much of a text repeats what it follows, case and punctuation aside."""
    plain = " ".join(words_of(text)) + " "
    if len(plain) < SHORTEST:
        return False
    repeated = 0
    for run in _RUN.finditer(plain):
        piece = run[1] or run[2] or run[3]
        if not any(char.isalpha() for char in piece):  # figures in a table, or a row of marks
            continue
        long_enough = len(run[0]) >= max(SHORTEST, len(plain) / 10)
        if long_enough and len(run[0]) >= RUN * len(piece):
            return True
        times, n_words = len(run[0]) // len(piece), len(piece.split())
        if times == 2 and (len(run[0]) < SAID_TWICE * len(plain) or n_words < 3):
            continue  # a refrain, or code that passes a name on
        if times == 3 and n_words < 3:
            continue  # Location, location, location!
        repeated += len(run[0]) - len(piece)
    return repeated >= SHARE_REPEATED * len(plain) or _RUN_OF_ONE.search(plain) is not None


def _begins_again(text: str) -> bool:
    """Return whether a text is one clause, then half of it or more again, and is cut off there.

    Numbers do not count, so that the clause may be two items of a list.
    """
    words = [word for word in words_of(text) if not word.isnumeric()]
    n, cut_off = len(words), text.rstrip()[-1:] not in _ENDS
    return (
        cut_off
        and n >= FEWEST_WORDS
        and any(
            words[n - length - 1].startswith(words[-1])  # which may be cut off too
            and words[length:-1] == words[: n - length - 1]
            for length in range(n // 2, 2 * n // 3 + 1)
        )
    )


def _repeats_marks(text: str) -> bool:
    """Return whether half of a text is the same marks over and over, lines and blanks aside.

    `SHORTEST` characters or more without a letter or a digit are no text.
    """
    if len(text.strip()) >= SHORTEST and not any(map(str.isalnum, text)):
        return True
    runs = [run[0] for run in _MARKS.finditer(text) if not set(run[1].strip()) <= _RULES]
    return SHORTEST <= sum(map(len, runs)) >= MARKS * len(text)


def _lacks_variety(text: str) -> bool:
    """Return whether most lines are the same, numbers aside, or a text says little that is new."""
    lines = [re.sub(r"^[\d\W]+", "", line).strip().casefold() for line in text.splitlines()]
    lines = [line for line in lines if len(line) > 5]
    if lines and lines[0].startswith(lines[-1]):
        lines[-1] = lines[0]  # cut off
    most = max(Counter(lines).values(), default=0)
    if most >= SAME_LINES and 2 * most > len(lines):
        return True
    words, data = words_of(text), text.encode("utf-8", "replace")
    rows = [" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)]
    seen = [row for row in rows if re.search(r"[^\W\d]", row)]  # figures come again in good data
    if len(words) >= FEWEST_WORDS and len(seen) - len(set(seen)) >= SEEN_BEFORE * len(rows):
        return True
    return len(data) >= FEWEST_BYTES and len(zlib.compress(data, 9)) < COMPRESSED * len(data)
