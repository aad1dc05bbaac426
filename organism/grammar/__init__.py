"""A grammar in four languages: sentences as content, and their rendering in each language.

Example:
    >>> import random
    >>> from organism.grammar import render, sample_sentence
    >>> sentence = sample_sentence(random.Random(0))
    >>> english, french = render(sentence, "en"), render(sentence, "fr")
"""

from organism.grammar import english, french, german, spanish
from organism.grammar.english import question
from organism.grammar.sentence import (
    NounPhrase,
    Sentence,
    base_form,
    sample_sentence,
    summarise,
)

LANGUAGES = ("en", "fr", "es", "de")
_RENDERERS = {
    "en": english.render,
    "fr": french.render,
    "es": spanish.render,
    "de": german.render,
}


def render(sentence: Sentence, language: str) -> str:
    """Render a sentence.

    Args:
        sentence: The sentence; its words must be in the lexicon.
        language: One of ``LANGUAGES``.

    Returns:
        Text with initial capital and full stop.

    Raises:
        ValueError: If the language is unknown.
    """
    if language not in _RENDERERS:
        raise ValueError(f"language {language!r} given; give one of {', '.join(LANGUAGES)}")
    text = _RENDERERS[language](sentence)
    return text[0].upper() + text[1:] + "."


__all__ = [
    "LANGUAGES",
    "NounPhrase",
    "Sentence",
    "base_form",
    "question",
    "render",
    "sample_sentence",
    "summarise",
]
