"""Spanish: personal a, contraction, el before stressed a, shortened adjectives."""

from organism.grammar.lexicon import ADJECTIVES, ADVERBIALS, CLASS_GROUPS, NOUNS, VERBS, Verb
from organism.grammar.sentence import DEFINITE, NounPhrase, Sentence

#: Definite determiners.
KNOWN = (*DEFINITE, "every", "all", "both")

#: Determiners as masculine and feminine singular, masculine and feminine plural.
DETERMINERS = {
    "the": ("el", "la", "los", "las"),
    "a": ("un", "una", "", ""),
    "this": ("este", "esta", "estos", "estas"),
    "that": ("ese", "esa", "esos", "esas"),
    "my": ("mi", "mi", "mis", "mis"),
    "our": ("nuestro", "nuestra", "nuestros", "nuestras"),
    "his": ("su", "su", "sus", "sus"),
    "her": ("su", "su", "sus", "sus"),
    "every": ("cada", "cada", "", ""),
    "many": ("", "", "muchos", "muchas"),
    "several": ("", "", "varios", "varias"),
    "some": ("", "", "algunos", "algunas"),
    "two": ("", "", "dos", "dos"),
    "three": ("", "", "tres", "tres"),
    "four": ("", "", "cuatro", "cuatro"),
    "five": ("", "", "cinco", "cinco"),
    "all": ("", "", "todos los", "todas las"),
    "both": ("", "", "ambos", "ambas"),
    "few": ("", "", "pocos", "pocas"),
    "": ("", "", "", ""),
}


def _adjective_form(name: str, feminine: bool, plural: bool) -> str:
    """Return the form of an adjective that agrees with its noun, shortened before the noun."""
    row = ADJECTIVES[name]
    if plural:
        return row.es_fp if feminine else row.es_mp
    short = row.es_fs_short if feminine else row.es_ms_short
    if row.es_pos == "before" and short:
        return short
    return row.es_fs if feminine else row.es_ms


def noun_phrase(phrase: NounPhrase, preposition: str = "") -> str:
    """Render a noun phrase with an optional preposition, contracted with the article.

    Args:
        phrase: The noun phrase.
        preposition: "", "de", "a", or a preposition that does not contract.

    Returns:
        Spanish text in lower case.
    """
    noun = NOUNS[phrase.noun]
    feminine = noun.es_g == "f"
    words = [noun.es_pl if phrase.plural else noun.es]
    adjective_first = False
    if phrase.adjective:
        adjective_first = ADJECTIVES[phrase.adjective].es_pos == "before"
        words.insert(
            0 if adjective_first else 1, _adjective_form(phrase.adjective, feminine, phrase.plural)
        )
    # el águila, un águila, but la gran águila, esta águila
    like_masculine = bool(noun.es_a) and not adjective_first and phrase.determiner in ("the", "a")
    column = 2 * phrase.plural + (feminine and (phrase.plural or not like_masculine))
    determiner = DETERMINERS[phrase.determiner][column]
    if determiner == "el" and preposition in ("a", "de"):
        return " ".join([preposition + "l", *words])
    return " ".join(word for word in (preposition, determiner, *words) if word)


def _object_preposition(verb: Verb, phrase: NounPhrase) -> str:
    """Return the governed preposition, or the personal a.

    Persons always take the personal a; animals take it with some verbs and a definite determiner:
    "alimenta a las vacas", but "alimenta dos vacas" and "vende las vacas".
    """
    if verb.es_prep or not phrase.determiner:
        return verb.es_prep
    noun_class = NOUNS[phrase.noun].noun_class
    known_animal = noun_class in CLASS_GROUPS["animal"] and phrase.determiner in KNOWN
    return "a" if noun_class == "person" or (known_animal and verb.es_a == "all") else ""


def render(sentence: Sentence) -> str:
    """Render a sentence without initial capital and full stop.

    Args:
        sentence: The sentence.

    Returns:
        Spanish text.
    """
    verb = VERBS[sentence.verb]
    adverbial = ADVERBIALS[sentence.adverbial] if sentence.adverbial else None
    placed = None if adverbial is None or sentence.fronted else adverbial.es_pos
    words = [noun_phrase(sentence.subject)]
    if placed == "mid":
        words.append(adverbial.es)
    words.append(verb.es_pl if sentence.subject.plural else verb.es_sg)
    words.append(noun_phrase(sentence.object, _object_preposition(verb, sentence.object)))
    if placed == "end":
        words.append(adverbial.es)
    clause = " ".join(words)
    return f"{adverbial.es}, {clause}" if sentence.fronted else clause
