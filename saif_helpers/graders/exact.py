"""Graders of the organism's outputs, for which its grammar gives exact references."""

import json

from saif_helpers.graders.checks import equals_reference, translation
from saif_helpers.graders.grader import Grader, Item
from saif_helpers.graders.text import (
    contains_word,
    exact_match,
    is_question,
    is_uppercase,
    parses_as_json,
    words_of,
)


def is_shorter_version(output: str, item: Item) -> bool:
    """Return whether the output is shorter than the content and shares over half of its words."""
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
"""Name of a shipped instruction to its grader."""
