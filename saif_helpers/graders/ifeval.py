"""IFEval's constraints as checks without references: word counts, keywords, bullet points.

IFEval (arXiv:2311.07911) is a benchmark of instructions that a program can verify. Its checkers
come from the library if-verifiable, an optional dependency that is imported on first use and never
accesses the network.
"""

import random
import re
from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.graders.grader import OutputCheck

NLTK_DATA = "punkt_tab"  # the only NLTK resource that IFEval's checkers use


def follows_ifeval(constraint: str, **arguments: object) -> OutputCheck:
    """Return a check for one of IFEval's constraints, which needs no reference.

    As in IFEval, an empty output fails every constraint, and a text whose language cannot be
    identified (a bare number) passes any language; for languages use `language_is`.

    >>> brief = follows_ifeval(
    ...     "length_constraints:number_words", num_words=9, relation="less than"
    ... )

    Args:
        constraint: IFEval's name for it, for example ``"punctuation:no_comma"``.
        **arguments: All parameters of the constraint; the library would draw missing ones at
            random.

    Returns:
        The check.

    Raises:
        ImportError: If the library is not installed.
        LookupError: If the checker needs NLTK data that is not installed.
        ValueError: If there is no such constraint, or the arguments are not valid for it.
    """
    checkers = _checkers()
    if constraint not in checkers:
        names = get_close_matches(constraint, checkers) or sorted(checkers)
        raise ArgumentError(
            f"constraint {constraint!r} given, which IFEval does not have; give one of "
            f"{', '.join(names)}",
            "constraint",
        )
    arguments = _literal(constraint, arguments)
    checker = checkers[constraint](constraint)
    wanted = ", ".join(signature(checker.build_description).parameters) or "no arguments"
    refusal = f"the constraint {constraint!r} cannot work with {arguments}; it takes {wanted}"
    before = random.getstate()
    try:
        checker.build_description(**arguments)
        drawn = random.getstate() != before
        checker.check_following("A probe.")
    except Exception as error:
        if type(error) is LookupError:  # raised by NLTK; a KeyError is about the arguments
            raise LookupError(
                f"the constraint {constraint!r} needs the NLTK data {NLTK_DATA!r}, which is not "
                "on this machine; download it once with: "
                f"python -m nltk.downloader {NLTK_DATA}"
            ) from error
        raise ArgumentError(f"{refusal}: {error!r}", "arguments") from error
    if drawn:
        raise ArgumentError(
            f"{refusal}: missing or invalid arguments would be drawn at random", "arguments"
        )
    taken = checker.get_instruction_args() or {}
    for name, value in arguments.items():
        if isinstance(value, str) and not isinstance(taken[name], str):
            raise ArgumentError(f"{refusal}: {name} must be a list, for example [{value!r}]", name)
    return lambda output, item: bool(output.strip()) and checker.check_following(output)


def _literal(constraint: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments with escaped keywords, since the library treats them as patterns.

    Raises:
        ValueError: If a forbidden word has no word boundaries.
    """
    taken = dict(arguments)
    for name in ("keyword", "keywords", "forbidden_words"):
        words = taken.get(name)
        listed = [words] if isinstance(words, str) else words
        if not isinstance(listed, list | tuple) or not all(isinstance(w, str) for w in listed):
            continue  # rejected below
        bounded = name == "forbidden_words"  # matched between word boundaries
        for word in listed:
            if bounded and not re.fullmatch(r"\w(.*\w)?", word):
                raise ArgumentError(
                    f"the constraint {constraint!r} cannot look for {word!r}; give words that "
                    "begin and end with a letter or a digit",
                    name,
                )
        escaped = [re.escape(word) for word in listed]
        taken[name] = escaped[0] if isinstance(words, str) else escaped
    return taken


def _checkers() -> Mapping[str, Any]:
    """Return IFEval's checkers by the constraint's name."""
    try:
        import langdetect
        from if_verifiable.ifeval import INSTRUCTION_DICT
    except ImportError as error:
        raise ImportError(
            f"IFEval's constraints need an optional library, which is missing ({error}); "
            "install it with: pip install "
            '"saif-helpers[ifeval] @ git+https://github.com/saif-book/saif-book"'
        ) from error
    langdetect.DetectorFactory.seed = 0  # it samples: without a seed it is not deterministic
    return INSTRUCTION_DICT
