"""Checks of an output to build a grader from: a language, a pattern, a number of words.

Strict: the output does what was asked, completely and about the right content; where the data has a
reference, the output equals it. Loose: what was asked is recognisably there. The paper's own words
for its two accuracies are not known; this reading is this book's (standing: ours), and it is not
IFEval's strict and loose.
"""

import math
import re
from collections.abc import Sequence

from saif_helpers._internal.checked import checked
from saif_helpers.graders.grader import Grader, Item, OutputCheck
from saif_helpers.graders.text import (
    LANGUAGES,
    exact_match,
    identify_language,
    words_of,
)


def equals_reference(output: str, item: Item) -> bool:
    """Return whether the output equals the item's reference, white space aside.

    Raises:
        ValueError: If the item has no reference.
    """
    if item.reference is None:
        raise ValueError(
            f"strict grading compares with a reference, and the content {item.content!r} has none "
            "for this instruction; give one, or give the instruction a grader that needs none"
        )
    return exact_match(output, item.reference)


@checked
def language_is(language: str, among: Sequence[str] = LANGUAGES) -> OutputCheck:
    """Make a check that asks for a language and needs no reference.

    >>> saif.language_is("fr")("Le chat dort dans le jardin.", saif.Item("The cat sleeps."))
    True

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


@checked
def matches(pattern: str) -> OutputCheck:
    """Make a check that asks for a regular expression somewhere in the output.

    >>> saif.matches(r"[?]$")("Is it raining?", saif.Item("It is raining."))
    True

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


@checked
def word_count(least: int = 1, most: int | None = None) -> OutputCheck:
    """Make a check that asks for a number of words.

    >>> saif.word_count(most=3)("It is raining now.", saif.Item("It is raining."))
    False

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
