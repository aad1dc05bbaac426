"""French: elision, contraction, agreement, adjectives before and after the noun."""

import unicodedata

from organism.grammar.lexicon import ADJECTIVES, ADVERBIALS, NOUNS, VERBS
from organism.grammar.sentence import NounPhrase, Sentence

NUMERALS = {"two": "deux", "three": "trois", "four": "quatre", "five": "cinq"}
POSSESSIVES = {"my": ("mon", "ma", "mes"), "his": ("son", "sa", "ses"), "her": ("son", "sa", "ses")}


def starts_with_vowel(word: str, aspirated: bool = False) -> bool:
    """Return whether a word requires elision.

    Args:
        word: The French word.
        aspirated: Whether its h is aspiré.

    Returns:
        True if the word starts with a vowel or a mute h.
    """
    first = unicodedata.normalize("NFD", word.lower().replace("œ", "oe"))[0]
    return first in "aeiou" or (first == "h" and not aspirated)


def _adjective_form(name: str, gender: str, plural: bool, before_vowel: bool) -> str:
    """Return the form of an adjective that agrees with its noun."""
    row = ADJECTIVES[name]
    if plural:
        return row.fr_mp if gender == "m" else row.fr_fp
    if gender == "f":
        return row.fr_fs
    return row.fr_ms_vowel if before_vowel and row.fr_ms_vowel else row.fr_ms


def _words(phrase: NounPhrase) -> tuple[list[str], bool, bool]:
    """Return noun and adjective in order, and whether they start with a vowel or the adjective."""
    noun = NOUNS[phrase.noun]
    form = noun.fr_pl if phrase.plural else noun.fr
    vowel = starts_with_vowel(form, bool(noun.fr_h))
    if phrase.adjective is None:
        return [form], vowel, False
    row = ADJECTIVES[phrase.adjective]
    adjective = _adjective_form(
        phrase.adjective, noun.fr_g, phrase.plural, vowel and row.fr_pos == "before"
    )
    if row.fr_pos == "before":
        return [adjective, form], starts_with_vowel(adjective, bool(row.fr_h)), True
    return [form, adjective], vowel, False


def _determiner(phrase: NounPhrase, vowel: bool, adjective_first: bool) -> str:
    """Return the determiner, elided before a vowel (then without a trailing space)."""
    masculine, plural = NOUNS[phrase.noun].fr_g == "m", phrase.plural
    name = phrase.determiner
    elided_de = "d'" if vowel else "de "
    if name == "the":
        return "les " if plural else "l'" if vowel else "le " if masculine else "la "
    if name == "a":
        return "un " if masculine else "une "
    if name in ("this", "that"):
        singular = ("cet " if vowel else "ce ") if masculine else "cette "
        return "ces " if plural else singular
    if name in POSSESSIVES:
        mon, ma, mes = POSSESSIVES[name]
        return (mes if plural else mon if masculine or vowel else ma) + " "
    if name == "":
        return elided_de if adjective_first else "des "
    if name == "all":
        return "tous les " if masculine else "toutes les "
    fixed = {
        "our": "nos " if plural else "notre ",
        "every": "chaque ",
        "several": "plusieurs ",
        "some": "quelques ",
        "both": "les deux ",
        "many": "beaucoup " + elided_de,
        "few": "peu " + elided_de,
    }
    return fixed[name] if name in fixed else NUMERALS[name] + " "


def noun_phrase(phrase: NounPhrase, preposition: str = "") -> str:
    """Render a noun phrase with an optional preposition, contracted with the article.

    Args:
        phrase: The noun phrase.
        preposition: "", "de", "à", or a preposition that does not contract.

    Returns:
        French text in lower case.
    """
    words, vowel, adjective_first = _words(phrase)
    determiner = _determiner(phrase, vowel, adjective_first)
    text = " ".join(words)
    if not preposition:
        return determiner + text
    if preposition == "de" and phrase.determiner == "":
        return ("d'" if vowel else "de ") + text
    if preposition == "de" and phrase.determiner == "a":
        return "d'" + determiner + text
    contracted = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}
    head, space, tail = determiner.partition(" ")
    if (preposition, head) in contracted:
        return contracted[preposition, head] + space + tail + text
    return f"{preposition} {determiner}{text}"


def render(sentence: Sentence) -> str:
    """Render a sentence without initial capital and full stop.

    Args:
        sentence: The sentence.

    Returns:
        French text.
    """
    verb = VERBS[sentence.verb]
    words = [noun_phrase(sentence.subject), verb.fr_pl if sentence.subject.plural else verb.fr_sg]
    adverbial = ADVERBIALS[sentence.adverbial] if sentence.adverbial else None
    placed = None if adverbial is None or sentence.fronted else adverbial.fr_pos
    if placed == "mid":
        words.append(adverbial.fr)
    if verb.fr_tail:
        words.append(verb.fr_tail)
    words.append(noun_phrase(sentence.object, verb.fr_prep))
    if placed == "end":
        words.append(adverbial.fr)
    clause = " ".join(words)
    return f"{adverbial.fr}, {clause}" if sentence.fronted else clause
