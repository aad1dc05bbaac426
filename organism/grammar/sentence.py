"""Language-independent sentences: the dataclasses, and the sampling of sentences."""

import random
from dataclasses import dataclass, replace
from functools import cache

from organism.grammar.lexicon import (
    ADVERBIALS,
    NOUNS,
    VERBS,
    Verb,
    adjectives_of,
    frames,
    select_nouns,
)

Nouns = tuple[str, ...]

#: Weights of (determiner, plural) in a subject and in an object; "" is a plural without determiner.
DETERMINERS: dict[tuple[str, bool], tuple[float, float]] = {
    ("the", False): (9, 18),
    ("the", True): (6, 12),
    ("a", False): (13, 18),
    ("this", False): (6, 6),
    ("this", True): (5, 5),
    ("that", False): (5, 4),
    ("that", True): (4, 4),
    ("my", False): (7, 6),
    ("my", True): (5, 4),
    ("our", False): (6, 4),
    ("our", True): (4, 4),
    ("his", False): (4, 5),
    ("his", True): (3, 3),
    ("her", False): (4, 5),
    ("her", True): (3, 3),
    ("every", False): (5, 0),
    ("many", True): (4, 4),
    ("several", True): (4, 4),
    ("some", True): (4, 4),
    ("two", True): (3, 4),
    ("three", True): (3, 3),
    ("four", True): (2, 2),
    ("five", True): (2, 2),
    ("all", True): (3, 1),
    ("both", True): (2, 1),
    ("few", True): (2, 0),
    ("", True): (0, 8),
}
POSSESSIVES = ("my", "our", "his", "her")
DEFINITE = ("the", "this", "that", *POSSESSIVES)
#: Classes and nouns that never take a possessive.
UNOWNED = (
    "wild,nature,thief,tourist,man,woman,boy,girl,king,queen,prince,princess,hero,street,city,"
    "tower,bridge,park,museum,church,hospital,theater"
)
ADJECTIVE_SHARE = 0.5
ADVERBIAL_SHARE = 0.7
FRONTED_SHARE = 0.7


@dataclass(frozen=True)
class NounPhrase:
    """A noun phrase, named by English lemmas.

    Attributes:
        determiner: Singular form of the determiner ("this" also for "these"); "" for none.
        noun: Noun key.
        plural: Whether the phrase is plural.
        adjective: Adjective key, or None.
    """

    determiner: str
    noun: str
    plural: bool
    adjective: str | None = None


@dataclass(frozen=True)
class Sentence:
    """A declarative sentence in the present tense, named by English lemmas.

    Attributes:
        subject: Subject.
        verb: Verb key (base form, with its English particle or preposition).
        object: Object.
        adverbial: Adverbial key, or None.
        fronted: Whether the adverbial is at the start of the sentence.
    """

    subject: NounPhrase
    verb: str
    object: NounPhrase
    adverbial: str | None = None
    fronted: bool = False


def summarise(sentence: Sentence) -> Sentence:
    """Return who does what to whom: the sentence without adjectives and adverbial.

    Args:
        sentence: Any sentence.

    Returns:
        The same sentence with determiners, nouns and verb only.
    """
    return Sentence(
        subject=replace(sentence.subject, adjective=None),
        verb=sentence.verb,
        object=replace(sentence.object, adjective=None),
    )


def base_form(verb: str) -> str:
    """Return the base form of a verb.

    Args:
        verb: Verb key.

    Returns:
        The English base form with its particle or preposition, as in "look for".

    Raises:
        KeyError: If the lexicon has no such verb.
    """
    return VERBS[verb].verb


def sample_sentence(rng: random.Random, subject: NounPhrase | None = None) -> Sentence:
    """Draw a sentence that respects the selectional classes of the lexicon.

    Args:
        rng: Random generator; the same state gives the same sentence.
        subject: If given, the new sentence has the same subject noun in the same number, mentioned
            again as known ("a cow" becomes "the cow" or "this cow").

    Returns:
        A sentence whose object noun differs from its subject noun.

    Raises:
        ValueError: If no verb takes the given subject.
    """
    if subject is None:
        verb = rng.choice(tuple(VERBS))
        subjects, objects = _pick_frame(rng, frames(verb))
        new_subject = _sample_noun_phrase(rng, rng.choice(subjects))
    else:
        verbs = verbs_of(subject.noun)
        if not verbs:
            raise ValueError(f"no verb takes {subject.noun!r} as its subject; see verbs.tsv")
        verb = rng.choice(verbs)
        fitting = [frame for frame in frames(verb) if subject.noun in frame[0]]
        _, objects = rng.choice(fitting)
        new_subject = _take_up(rng, subject)
    noun = rng.choice([noun for noun in objects if noun != new_subject.noun])
    new_object = _sample_noun_phrase(rng, noun, VERBS[verb], new_subject)
    adverbial = _sample_adverbial(rng, verb, new_subject, noun)
    fronted = bool(adverbial and ADVERBIALS[adverbial].front) and rng.random() < FRONTED_SHARE
    return Sentence(new_subject, verb, new_object, adverbial, fronted)


@cache
def verbs_of(noun: str) -> tuple[str, ...]:
    """Return the verbs that take a noun as their subject.

    Args:
        noun: Noun key.

    Returns:
        Verb keys in the order of the table.
    """
    return tuple(verb for verb in VERBS if any(noun in frame[0] for frame in frames(verb)))


def _pick_frame(
    rng: random.Random, options: tuple[tuple[Nouns, Nouns], ...]
) -> tuple[Nouns, Nouns]:
    """Draw a frame with a weight that increases with its number of subjects."""
    return rng.choices(options, weights=[len(frame[0]) for frame in options])[0]


def _take_up(rng: random.Random, subject: NounPhrase) -> NounPhrase:
    """Return the same subject for a second mention."""
    determiner = subject.determiner
    if determiner not in (*DEFINITE, "every", "all", "both"):
        determiner = rng.choice(("the", "this"))
    adjective = subject.adjective if rng.random() < 0.5 else None
    return NounPhrase(determiner, subject.noun, subject.plural, adjective)


def _sample_noun_phrase(
    rng: random.Random, noun: str, verb: Verb | None = None, subject: NounPhrase | None = None
) -> NounPhrase:
    """Draw determiner, number and adjective; pass verb and subject if the noun is the object."""
    weights = {key: pair[verb is not None] for key, pair in DETERMINERS.items()}
    if noun in select_nouns(UNOWNED):
        weights = {key: w for key, w in weights.items() if key[0] not in POSSESSIVES}
    adjectives = adjectives_of(noun)
    if verb is not None and subject is not None:
        allowed = (key for key in weights if _object_allows(verb, subject, noun, *key))
        weights = {key: weights[key] for key in allowed}
        taken = {subject.adjective, *verb.not_adjectives.split(",")}
        adjectives = tuple(name for name in adjectives if name not in taken)
    determiner, plural = rng.choices(tuple(weights), weights=tuple(weights.values()))[0]
    use = bool(adjectives) and rng.random() < ADJECTIVE_SHARE
    return NounPhrase(determiner, noun, plural, rng.choice(adjectives) if use else None)


def _object_allows(
    verb: Verb, subject: NounPhrase, noun: str, determiner: str, plural: bool
) -> bool:
    """Return whether a verb's object may have this determiner and number."""
    if not determiner and (not verb.bare or NOUNS[noun].noun_class == "person"):
        return False
    allowed = {
        "sg": not plural,
        "pl": plural,
        "same": plural == subject.plural and determiner in (*DEFINITE, "a", ""),
        "known": determiner in DEFINITE,
        "made": determiner not in POSSESSIVES,
    }
    return allowed.get(verb.object_limit, True)


def _sample_adverbial(
    rng: random.Random, verb: str, subject: NounPhrase, object_: str
) -> str | None:
    """Draw an adverbial that fits verb, subject and object, or return None."""
    if rng.random() >= ADVERBIAL_SHARE:
        return None
    by_kind: dict[str, list[str]] = {}
    for key, row in ADVERBIALS.items():
        fits = row.kind in VERBS[verb].adverbs and object_ not in select_nouns(row.not_objects)
        if row.subjects and subject.noun not in select_nouns(row.subjects):
            fits = False
        if subject.determiner in ("every", "few") and (row.kind == "f" or key == "again"):
            fits = False  # a quantifier does not combine with a frequency
        if fits:
            by_kind.setdefault(row.kind, []).append(key)
    return rng.choice(by_kind[rng.choice(sorted(by_kind))]) if by_kind else None
