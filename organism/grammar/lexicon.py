"""The lexicon: a dataclass for each part of speech, read from hand-written TSV tables.

The tables list every word form, except forms that follow a rule without exceptions. The key of a
row is its English lemma, which has exactly one equivalent in each language.
"""

import csv
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TypeVar

LEXICON_DIR = Path(__file__).parent.parent / "lexicon"

#: Names of groups of semantic noun classes in selectional lists.
CLASS_GROUPS = {
    "animal": ("domestic", "wild"),
    "food": ("fruit", "dish"),
    "goods": ("tool", "container", "thing", "device", "furniture", "instrument", "clothing"),
    "place": ("building", "room", "site", "nature"),
}
#: Person nouns that are not in the group ``adult``.
CHILDREN = ("boy", "girl", "child")

Row = TypeVar("Row")


@dataclass(frozen=True)
class Noun:
    """A noun. ``fr_h`` marks h aspiré, ``es_a`` a feminine noun with stressed initial a.

    ``de_obl`` is the accusative and dative singular of weak masculines, ``de_dat_pl`` the dative
    plural; each is empty if it equals ``de`` or ``de_pl``.
    """

    noun: str
    en_pl: str
    noun_class: str
    fr: str
    fr_pl: str
    fr_g: str
    fr_h: str
    es: str
    es_pl: str
    es_g: str
    es_a: str
    de: str
    de_pl: str
    de_g: str
    de_obl: str
    de_dat_pl: str


@dataclass(frozen=True)
class Verb:
    """A verb in the third person present.

    ``subjects`` and ``objects`` are selectional lists (see :func:`select_nouns`); if both contain
    ``;``, their parts correspond to each other in order. ``object_limit`` restricts the object: sg
    or pl; same (number as the subject, no quantifier); known (definite); made (no possessive: an
    object that is being made has no owner yet). ``bare`` allows a plural object without determiner,
    ``not_adjectives`` are adjectives that the object may not have, and ``adverbs`` lists the kinds
    of adverbial, one letter each. ``es_a`` is ``all`` if known animals take the personal a, and
    ``person`` if only persons do.
    """

    verb: str
    en_sg: str
    subjects: str
    objects: str
    object_limit: str
    bare: str
    not_adjectives: str
    adverbs: str
    fr_sg: str
    fr_pl: str
    fr_tail: str
    fr_prep: str
    es_sg: str
    es_pl: str
    es_prep: str
    es_a: str
    de_sg: str
    de_pl: str
    de_part: str
    de_prep: str
    de_case: str


@dataclass(frozen=True)
class Adjective:
    """An adjective; ``nouns`` lists the nouns it may modify, ``de`` is the stem before endings.

    ``fr_ms_vowel``, ``es_ms_short`` and ``es_fs_short`` are special forms before a noun (bel, buen,
    gran), empty if there are none.
    """

    adjective: str
    nouns: str
    fr_ms: str
    fr_fs: str
    fr_mp: str
    fr_fp: str
    fr_ms_vowel: str
    fr_h: str
    fr_pos: str
    es_ms: str
    es_fs: str
    es_mp: str
    es_fp: str
    es_ms_short: str
    es_fs_short: str
    es_pos: str
    de: str


@dataclass(frozen=True)
class Adverbial:
    """A fixed adverbial phrase: its kind, its restrictions, and its position in each language.

    ``subjects`` is ``person`` if the subject must be a person; ``not_objects`` is a selectional
    list of nouns that may not be the object; ``front`` is 1 if the phrase may be at the start of
    the sentence. ``de_pos`` is ``early`` (always before the object) or ``late`` (after a definite
    object without preposition).
    """

    adverbial: str
    kind: str
    subjects: str
    not_objects: str
    en_pos: str
    front: str
    fr: str
    fr_pos: str
    es: str
    es_pos: str
    de: str
    de_pos: str


def _read(name: str, row_type: type[Row]) -> dict[str, Row]:
    """Read a table into a dictionary from English lemma to row."""
    path = LEXICON_DIR / name
    expected = [field.name for field in fields(row_type)]
    rows: dict[str, Row] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(reader)
        if header != expected:
            raise ValueError(f"{name} has columns {header}; expected {expected}: fix the header")
        for number, cells in enumerate(reader, start=2):
            if len(cells) != len(expected):
                raise ValueError(
                    f"{name}, line {number}: {len(cells)} cells; {len(expected)} expected"
                )
            if cells[0] in rows:
                raise ValueError(f"{name}, line {number}: {cells[0]!r} appears twice; keep one")
            rows[cells[0]] = row_type(*cells)
    return rows


NOUNS = _read("nouns.tsv", Noun)
VERBS = _read("verbs.tsv", Verb)
ADJECTIVES = _read("adjectives.tsv", Adjective)
ADVERBIALS = _read("adverbials.tsv", Adverbial)


@cache
def select_nouns(specification: str) -> tuple[str, ...]:
    """Return the nouns that a selectional list allows.

    Args:
        specification: Comma-separated classes, class groups and single nouns; names after ``-`` are
            excluded, as in ``"animal,house-mouse,-wolf"``.

    Returns:
        Noun keys in the order of the table.

    Raises:
        ValueError: If a name is neither a noun nor a class.
    """
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for entry in specification.replace("-", ",-").split(","):
        if entry:
            (unwanted if entry[0] == "-" else wanted).update(_members(entry.lstrip("-")))
    return tuple(noun for noun in NOUNS if noun in wanted - unwanted)


def _members(name: str) -> set[str]:
    """Return the nouns of one entry of a selectional list."""
    if name in NOUNS:
        return {name}
    if name == "adult":
        return _members("person") - set(CHILDREN)
    classes = CLASS_GROUPS.get(name, (name,))
    members = {key for key, noun in NOUNS.items() if noun.noun_class in classes}
    if not members:
        raise ValueError(f"{name!r} is neither a noun, a class nor a group; check the tables")
    return members


@cache
def frames(verb: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Return the selectional frames of a verb.

    Args:
        verb: Verb key.

    Returns:
        Pairs (subject nouns, object nouns).

    Raises:
        ValueError: If subjects and objects do not have the same number of lists.
    """
    subjects, objects = VERBS[verb].subjects.split(";"), VERBS[verb].objects.split(";")
    if len(subjects) != len(objects):
        raise ValueError(f"{verb!r} has {len(subjects)} subject and {len(objects)} object lists")
    return tuple(
        (select_nouns(subject), select_nouns(object_))
        for subject, object_ in zip(subjects, objects, strict=True)
    )


@cache
def adjectives_of(noun: str) -> tuple[str, ...]:
    """Return the adjectives that may modify a noun.

    Args:
        noun: Noun key.

    Returns:
        Adjective keys in the order of the table.
    """
    return tuple(key for key, row in ADJECTIVES.items() if noun in select_nouns(row.nouns))
