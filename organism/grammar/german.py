"""German: cases, strong, weak and mixed adjective endings, verb second, separable particles."""

from organism.grammar.lexicon import ADJECTIVES, ADVERBIALS, NOUNS, VERBS
from organism.grammar.sentence import DEFINITE, NounPhrase, Sentence

#: Endings of der-words by case, in the order masculine, feminine, neuter, plural.
STRONG = {
    "nom": ("er", "e", "es", "e"),
    "acc": ("en", "e", "es", "e"),
    "dat": ("em", "er", "em", "en"),
}
ARTICLE = {
    "nom": ("der", "die", "das", "die"),
    "acc": ("den", "die", "das", "die"),
    "dat": ("dem", "der", "dem", "den"),
}
#: Endings of an adjective after a der-word.
WEAK = {
    "nom": ("e", "e", "e", "en"),
    "acc": ("en", "e", "e", "en"),
    "dat": ("en", "en", "en", "en"),
}
EIN_WORDS = {"a": "ein", "my": "mein", "our": "unser", "his": "sein", "her": "ihr"}
DER_WORDS = {"this": "dies", "that": "jen", "every": "jed", "all": "all", "both": "beid"}
QUANTIFIERS = {"many": "viel", "several": "mehrer", "some": "einig", "few": "wenig"}
CONTRACTIONS = {("von", "dem"): "vom", ("zu", "dem"): "zum", ("zu", "der"): "zur"}
NUMERALS = {"two": "zwei", "three": "drei", "four": "vier", "five": "fünf"}


def _determiner(name: str, case: str, column: int) -> tuple[str, str]:
    """Return the determiner, and the ending of an adjective after it."""
    strong, weak = STRONG[case][column], WEAK[case][column]
    if name == "the":
        return ARTICLE[case][column], weak
    if name in DER_WORDS:
        return DER_WORDS[name] + strong, weak
    if name in EIN_WORDS:
        # The masculine nominative and the neuter nominative and accusative have no ending.
        endless = (case, column) in (("nom", 0), ("nom", 2), ("acc", 2))
        adjective = weak if column == 3 or not endless else strong
        return EIN_WORDS[name] + ("" if endless else strong), adjective
    if name in QUANTIFIERS:
        return QUANTIFIERS[name] + strong, strong
    return NUMERALS.get(name, ""), strong


def noun_phrase(phrase: NounPhrase, case: str, preposition: str = "") -> str:
    """Render a noun phrase in a case, with an optional preposition.

    Args:
        phrase: The noun phrase.
        case: "nom", "acc" or "dat".
        preposition: The preposition; contracted with the article, as in "vom" for "von dem".

    Returns:
        German text, with only the nouns capitalized.
    """
    noun = NOUNS[phrase.noun]
    if phrase.plural:
        form = noun.de_dat_pl if case == "dat" and noun.de_dat_pl else noun.de_pl
    else:
        form = noun.de_obl if case != "nom" and noun.de_obl else noun.de
    column = 3 if phrase.plural else "mfn".index(noun.de_g)
    determiner, ending = _determiner(phrase.determiner, case, column)
    adjective = ADJECTIVES[phrase.adjective].de + ending if phrase.adjective else ""
    if (preposition, determiner) in CONTRACTIONS:
        preposition, determiner = "", CONTRACTIONS[preposition, determiner]
    return " ".join(word for word in (preposition, determiner, adjective, form) if word)


def render(sentence: Sentence) -> str:
    """Render a sentence without initial capital and full stop.

    Adverbials of time and frequency precede the object. Those of manner and place follow a definite
    object without preposition, and precede any other object. A separable particle comes last.

    Args:
        sentence: The sentence.

    Returns:
        German text.
    """
    verb = VERBS[sentence.verb]
    form = verb.de_pl if sentence.subject.plural else verb.de_sg
    subject = noun_phrase(sentence.subject, "nom")
    object_ = noun_phrase(sentence.object, verb.de_case, verb.de_prep)
    adverbial = ADVERBIALS[sentence.adverbial] if sentence.adverbial else None
    words = [subject, form]
    if adverbial is None:
        words.append(object_)
    elif sentence.fronted:
        words = [adverbial.de, form, subject, object_]
    else:
        definite = sentence.object.determiner in DEFINITE and not verb.de_prep
        late = adverbial.de_pos == "late" and definite
        words += [object_, adverbial.de] if late else [adverbial.de, object_]
    return " ".join([*words, verb.de_part] if verb.de_part else words)
