"""Whether a text is broken: one syllable over and over, characters that are none, nothing new.

Steering that is too strong makes a model repeat itself, and such text can pass a loose grade: a
language identifier takes "Deuxeuxeuxeux" for French. So a broken text passes no grade in this
package, and the share of broken texts is reported beside the grades. The rules and their bars are
this book's (standing: ours): repetition that no writer intends, at a length that no refrain has.
"""

import re
import unicodedata
import zlib
from collections import Counter

SHARE_REPEATED = 0.3
"""Least share of a broken text that repeats at once what stands before it."""

RUN = 5
"""So many times running, a word or syllable is repeated by nobody."""

FEWEST_WORDS = 30
"""From so many words on, a text's variety is looked at."""

FEWEST_LINES = 4
"""From so many lines on, they are compared with one another."""

VARIETY = 0.25
"""Least share of distinct words of a long text."""

COMPRESSED = 0.25
"""Least size of a long text after compression, as a share of its own."""

_RUN = re.compile(r"(.{2,7}?)\1{3,}|(.{8,80}?)\2{2,}|(.{12,200}?)\3+", re.DOTALL)
_RUN_OF_ONE = re.compile(r"(\w)\1{11,}")
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf\u0192\u201a\u00a0-\u00bf]|â€[\u0080-\u2122]|ï¿½")


def is_broken(text: str) -> bool:
    """Return whether a text is broken, so that it follows no instruction.

    >>> is_broken("Deuxeuxeuxeuxeuxeux")
    True
    >>> is_broken("Row, row, row your boat, gently down the stream.")
    False

    Args:
        text: An output of a model.

    Returns:
        True if characters are not text, if `SHARE_REPEATED` of the text repeats at once what it
        follows (a word four times running, some words three times, a clause twice), if a piece
        comes `RUN` times running and makes up a tenth of the text, if most lines are the same,
        or if a text of `FEWEST_WORDS` says little that is new. False for an empty text.
    """
    return _has_broken_characters(text) or _repeats_at_once(text) or _lacks_variety(text)


def _has_broken_characters(text: str) -> bool:
    """Return whether a text has characters that are none, or UTF-8 read as something else.

    A single replacement character at the very end is a character that the token limit cut off.
    """
    text = text.removesuffix("\ufffd")
    kinds = {unicodedata.category(char) for char in text if char not in "\t\n\r\u200d"}
    return "\ufffd" in text or bool(kinds & {"Cc", "Cs", "Cn"}) or bool(_MOJIBAKE.search(text))


def _repeats_at_once(text: str) -> bool:
    """Return whether much of a text repeats what it follows, case and punctuation aside."""
    plain = " ".join(re.findall(r"\w+", text.casefold())) + " "
    if len(plain) < 12:
        return False
    repeated = 0
    for run in _RUN.finditer(plain):
        piece = run[1] or run[2] or run[3]
        if not any(char.isalpha() for char in piece):  # figures in a table, or a row of marks
            continue
        repeated += len(run[0]) - len(piece)
        if len(run[0]) >= max(RUN * len(piece), 12, len(plain) / 10):
            return True
    return repeated >= SHARE_REPEATED * len(plain) or _RUN_OF_ONE.search(plain) is not None


def _lacks_variety(text: str) -> bool:
    """Return whether most lines are the same, numbers aside, or a long text says little new."""
    lines = [re.sub(r"^[\d\W]+", "", line).strip().casefold() for line in text.splitlines()]
    lines = [line for line in lines if len(line) > 5]
    if len(lines) >= FEWEST_LINES and Counter(lines).most_common(1)[0][1] > len(lines) / 2:
        return True
    words, data = re.findall(r"\w+", text.casefold()), text.encode()
    return len(words) >= FEWEST_WORDS and (
        len(set(words)) < VARIETY * len(words)
        or len(zlib.compress(data, 9)) < COMPRESSED * len(data)
    )
