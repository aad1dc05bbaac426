"""English: a/an, these/those, adverbs before the verb, questions with do."""

from organism.grammar.lexicon import ADVERBIALS, NOUNS, VERBS
from organism.grammar.sentence import NounPhrase, Sentence

PLURAL_DETERMINERS = {"this": "these", "that": "those", "all": "all the"}
#: Words whose first letter does not match their first sound.
VOWEL_SOUND = ("honest", "hour", "heir")
CONSONANT_SOUND = ("useful", "uni", "european", "one")


def indefinite_article(word: str) -> str:
    """Return the article a or an, by the first sound of the next word.

    Args:
        word: The word that follows the article.

    Returns:
        "a" or "an".
    """
    if word.startswith(VOWEL_SOUND):
        return "an"
    return "an" if word[0] in "aeiou" and not word.startswith(CONSONANT_SOUND) else "a"


def noun_phrase(phrase: NounPhrase) -> str:
    """Render a noun phrase.

    Args:
        phrase: The noun phrase.

    Returns:
        English text in lower case.
    """
    noun = NOUNS[phrase.noun].en_pl if phrase.plural else phrase.noun
    words = [phrase.adjective, noun] if phrase.adjective else [noun]
    determiner = phrase.determiner
    if phrase.plural:
        determiner = PLURAL_DETERMINERS.get(determiner, determiner)
    elif determiner == "a":
        determiner = indefinite_article(words[0])
    return " ".join([determiner, *words] if determiner else words)


def _clause(sentence: Sentence, before: list[str], verb: str, fronted: bool) -> str:
    """Return subject, verb, object and adverbial in order; ``before`` opens the clause."""
    middle, end = [], []
    if sentence.adverbial and not fronted:
        (middle if ADVERBIALS[sentence.adverbial].en_pos == "mid" else end).append(
            sentence.adverbial
        )
    subject, object_ = noun_phrase(sentence.subject), noun_phrase(sentence.object)
    return " ".join([*before, subject, *middle, verb, object_, *end])


def render(sentence: Sentence) -> str:
    """Render a sentence without initial capital and full stop.

    Args:
        sentence: The sentence.

    Returns:
        English text.
    """
    verb = VERBS[sentence.verb]
    form = verb.verb if sentence.subject.plural else verb.en_sg
    clause = _clause(sentence, [], form, sentence.fronted)
    return f"{sentence.adverbial}, {clause}" if sentence.fronted else clause


def question(sentence: Sentence) -> str:
    """Return the sentence as a yes/no question; a fronted adverbial moves to its usual place.

    Args:
        sentence: The sentence.

    Returns:
        An English question with initial capital and question mark.
    """
    auxiliary = "do" if sentence.subject.plural else "does"
    text = _clause(sentence, [auxiliary], VERBS[sentence.verb].verb, fronted=False)
    return text[0].upper() + text[1:] + "?"
