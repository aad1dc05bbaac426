"""Checks of outputs, the building blocks of graders: language, pattern, number of words.

Strict: the output follows the instruction completely and is about the right content; if the data
has a reference, the output equals it. Loose: the output recognisably follows the instruction. The
abstract does not define its two accuracies; these definitions are this book's (standing: ours), and
differ from IFEval's strict and loose.
"""

import math
import re
from collections.abc import Sequence

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.graders.grader import Grader, Item, OutputCheck
from saif_helpers.graders.text import (
    LANGUAGES,
    exact_match,
    identify_language,
    words_of,
)


def equals_reference(output: str, item: Item) -> bool:
    """Return whether the output equals the item's reference, up to white space.

    Raises:
        ValueError: If the item has no reference.
    """
    if item.reference is None:
        raise ArgumentError(
            f"strict grading compares with a reference, and the content {item.content!r} has none "
            "for this instruction; give one, or give the instruction a grader that needs none",
            "item",
        )
    return exact_match(output, item.reference)


@checked
def language_is(language: str, among: Sequence[str] = LANGUAGES) -> OutputCheck:
    """Return a check for a language, which needs no reference.

    >>> is_french = saif.language_is("fr")
    >>> is_french("Le chat dort dans le jardin.", saif.Item("The cat sleeps."))
    True

    Args:
        language: The required language, as an ISO 639-1 code.
        among: Candidate languages of the identifier.

    Returns:
        The check.

    Raises:
        ValueError: If the language is not one of `among`.
    """
    if language not in among:
        raise ArgumentError(
            f"language {language!r} given; it must be one of {', '.join(among)}", "language"
        )
    return lambda output, item: identify_language(output, among) == language


def translation(language: str, among: Sequence[str] = LANGUAGES) -> Grader:
    """Return a grader of translations: strict is the reference, loose any text in `language`.

    Args:
        language: The required language, as an ISO 639-1 code.
        among: Candidate languages of the identifier.

    Returns:
        The grader.

    Raises:
        ValueError: As `language_is`.
    """
    return Grader(equals_reference, language_is(language, among))


@checked
def matches(pattern: str) -> OutputCheck:
    """Return a check that searches the output for a regular expression.

    >>> saif.matches(r"[?]$")("Is it raining?", saif.Item("It is raining."))
    True

    Args:
        pattern: The expression, in the syntax of `re`.

    Returns:
        The check.

    Raises:
        ValueError: If the expression is not valid.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"the pattern {pattern!r} is not valid: {error}", "pattern") from error
    return lambda output, item: compiled.search(output) is not None


@checked
def word_count(least: int = 1, most: int | None = None) -> OutputCheck:
    """Return a check for the number of words.

    >>> saif.word_count(most=3)("It is raining now.", saif.Item("It is raining."))
    False

    Args:
        least: Minimum number of words.
        most: Maximum number of words; None for no limit.

    Returns:
        The check.

    Raises:
        ValueError: If no number of words can pass.
    """
    if least < 0 or (most is not None and most < least):
        raise ArgumentError(
            f"{least} to {most} words given; give 0 <= least <= most",
            "most" if least >= 0 else "least",
        )
    limit = math.inf if most is None else most
    return lambda output, item: least <= len(words_of(output)) <= limit
