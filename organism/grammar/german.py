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
    """The determiner, and the ending that an adjective after it takes."""
    strong, weak = STRONG[case][column], WEAK[case][column]
    if name == "the":
        return ARTICLE[case][column], weak
    if name in DER_WORDS:
        return DER_WORDS[name] + strong, weak
    if name in EIN_WORDS:
        # masculine nominative, neuter nominative and accusative have no ending: ein alter Mann
        endless = (case, column) in (("nom", 0), ("nom", 2), ("acc", 2))
        adjective = weak if column == 3 or not endless else strong
        return EIN_WORDS[name] + ("" if endless else strong), adjective
    if name in QUANTIFIERS:
        return QUANTIFIERS[name] + strong, strong
    return NUMERALS.get(name, ""), strong


def noun_phrase(phrase: NounPhrase, case: str, preposition: str = "") -> str:
    """Renders a noun phrase in a case, with an optional preposition.

    Args:
        phrase: Noun phrase.
        case: "nom", "acc" or "dat".
        preposition: Preposition; "von dem" contracts to "vom", and so on.

    Returns:
        German text, lower case but for the nouns.
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
    """Renders a sentence without capital and full stop.

    Time and frequency stand before the object, manner and place after an object that is definite
    and has no preposition, otherwise before it too; the separable particle closes the sentence.

    Args:
        sentence: Sentence.

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
