"""Checks of an instruction's wordings, run when the instruction is created."""

from collections import Counter
from collections.abc import Mapping, Sequence
from string import Formatter

from saif_helpers._internal.errors import ArgumentError


def check_wordings(name: str, wordings: Mapping[str, Sequence[str]], slots: Sequence[str]) -> None:
    """Raise if wordings are too few, empty or repeated, or do not have the declared slots.

    Args:
        name: Name of the instruction, for messages.
        wordings: Language to wordings.
        slots: The slots that each wording must have.

    Raises:
        ValueError: If a wording is not valid.
    """
    texts = [text for several in wordings.values() for text in several]
    if len(texts) < 2:
        raise ArgumentError(
            f"instruction {name!r} has {len(texts)} wordings; give at least two, so that what is "
            "found is not tied to one wording",
            "wordings",
        )
    for language, texts_of_it in wordings.items():
        if not texts_of_it or any(not text.strip() for text in texts_of_it):
            raise ArgumentError(
                f"instruction {name!r} has an empty wording in {language!r}; remove it", "wordings"
            )
    repeated = [text for text, count in Counter(t.strip() for t in texts).items() if count > 1]
    if repeated:
        raise ArgumentError(
            f"instruction {name!r} has the wording {repeated[0]!r} more than once; "
            "wordings are weighted equally, so give each once",
            "wordings",
        )
    for text in texts:
        found = _slots_in(text, name)
        if found != set(slots):
            raise ArgumentError(
                f"instruction {name!r} has the slots {sorted(slots)}, but its wording "
                f"{text!r} has {sorted(found)}; write each slot in braces in every wording",
                "slots",
            )


def _slots_in(wording: str, name: str) -> set[str]:
    """Return the names in braces in a wording; raise if braces are not a slot."""
    advice = "write a slot as {name}, and a literal brace as {{ or }}"
    try:
        parts = list(Formatter().parse(wording))
    except ValueError as error:
        raise ArgumentError(
            f"instruction {name!r} has the wording {wording!r}, whose braces cannot be read "
            f"({error}); {advice}",
            "wordings",
        ) from error
    if any(form or conversion for _, _, form, conversion in parts):
        raise ArgumentError(
            f"instruction {name!r} has the wording {wording!r} with a colon or an exclamation mark "
            f"in its braces; {advice}",
            "wordings",
        )
    return {key for _, key, _, _ in parts if key is not None}


def check_held_out(
    name: str,
    wordings: Mapping[str, Sequence[str]],
    language: str | None,
    indices: Sequence[int],
) -> None:
    """Raise if a held-out language or wording does not exist.

    Args:
        name: Name of the instruction, for messages.
        wordings: Language to wordings.
        language: The held-out language, or None.
        indices: Indices of the held-out wordings, the same in every language.

    Raises:
        ValueError: If there is no such language, or a language has no such wording.
    """
    if language is not None and language not in wordings:
        raise ArgumentError(
            f"instruction {name!r} holds out the language {language!r}, "
            f"but has wordings in {', '.join(wordings)}",
            "held_out_language",
        )
    shortest = min(len(texts) for texts in wordings.values())
    wrong = [index for index in indices if not 0 <= index < shortest]
    if wrong:
        raise ArgumentError(
            f"instruction {name!r} holds out the wordings {wrong}, "
            f"but every language has the indices 0-{shortest - 1} only",
            "held_out_wordings",
        )
