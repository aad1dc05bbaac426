"""The corpus: a sentence, an instruction and the correct answer.

Training examples are an unlimited stream drawn from a seed. The sentences that the package ships,
with their references, are drawn from subject-verb-object triples that are not in the training data.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from organism.grammar import (
    NounPhrase,
    Sentence,
    base_form,
    question,
    render,
    sample_sentence,
    summarise,
)
from organism.grammar.lexicon import NOUNS
from saif_helpers.instructions import InstructionType, load_instructions

TASK_WEIGHTS = {
    "french": 3.0,
    "spanish": 3.0,
    "german": 4.0,
    "summarise": 1.5,
    "uppercase": 2.0,
    "keyword": 1.5,
    "question": 1.5,
    "json": 1.5,
    "none": 1.5,
}
"""Weights of the tasks; the answer of ``none`` is another sentence on the same subject."""

KEYWORD_CLASSES = ("building", "site", "nature", "vehicle", "furniture")
"""Nouns that something can happen near; a keyword is inserted as in ``near the beach``."""

CHAT_SHARE, ENGLISH_SHARE = 0.6, 0.5
SPLITS = {"identification": 400, "validation": 150, "test": 300}
SPLIT_OF_BUCKET = {0: "identification", 1: "validation", 2: "test", 3: "test"}
N_BUCKETS = 40


@dataclass(frozen=True)
class Example:
    """A prompt and its answer, including special tokens.

    Attributes:
        task: Name of the instruction, or ``none``.
        prompt: The prompt.
        answer: The correct answer, with the end token.
    """

    task: str
    prompt: str
    answer: str


def split_of(sentence: Sentence) -> str:
    """Return the split of a sentence, determined by the hash of its subject, verb and object.

    Args:
        sentence: The sentence.

    Returns:
        ``"training"``, ``"identification"``, ``"validation"`` or ``"test"``.
    """
    triple = f"{sentence.subject.noun}|{sentence.verb}|{sentence.object.noun}"
    bucket = int.from_bytes(hashlib.sha256(triple.encode()).digest()[:4]) % N_BUCKETS
    return SPLIT_OF_BUCKET.get(bucket, "training")


def draw_sentence(
    rng: random.Random, split: str = "training", subject: NounPhrase | None = None
) -> Sentence:
    """Draw a sentence of one split.

    Args:
        rng: Random generator.
        split: The split.
        subject: Subject to reuse, or None for any.

    Returns:
        The sentence.
    """
    while True:
        sentence = sample_sentence(rng, subject)
        if split_of(sentence) == split:
            return sentence


def draw_keyword(rng: random.Random, sentence: Sentence) -> str:
    """Draw a keyword that the sentence does not contain."""
    taken = (sentence.subject.noun, sentence.object.noun)
    return rng.choice([noun for noun in _keyword_nouns() if noun not in taken])


@cache
def _keyword_nouns() -> tuple[str, ...]:
    return tuple(noun for noun, row in NOUNS.items() if row.noun_class in KEYWORD_CLASSES)


def references(sentence: Sentence, keyword: str) -> dict[str, str]:
    """Return the correct answer to every instruction.

    Args:
        sentence: The content.
        keyword: Value of the keyword instruction's slot.

    Returns:
        Answers by name of the instruction.
    """
    english = render(sentence, "en")
    parts = {
        "subject": sentence.subject.noun,
        "verb": base_form(sentence.verb),
        "object": sentence.object.noun,
    }
    return {
        "french": render(sentence, "fr"),
        "spanish": render(sentence, "es"),
        "german": render(sentence, "de"),
        "summarise": render(summarise(sentence), "en"),
        "uppercase": english.upper(),
        "keyword": f"{english[:-1]} near the {keyword}.",
        "question": question(sentence),
        "json": json.dumps(parts),
    }


def continuation(rng: random.Random, sentence: Sentence) -> str:
    """Return another English sentence about the same subject."""
    subject = NounPhrase("the", sentence.subject.noun, sentence.subject.plural)
    return render(draw_sentence(rng, "training", subject), "en")


@cache
def _seen_wordings() -> dict[str, tuple[list[str], list[str], InstructionType]]:
    """Return each instruction's English and other wordings that are allowed in training."""
    found = {}
    for name, instruction in load_instructions().items():
        wordings = dict(instruction.select("seen"))
        english = wordings.pop("en")
        others = [text for texts in wordings.values() for text in texts]
        found[name] = (english, others, instruction)
    return found


def draw_example(rng: random.Random) -> Example:
    """Draw one training example: task, sentence, wording, position and style."""
    task = rng.choices(list(TASK_WEIGHTS), TASK_WEIGHTS.values())[0]
    sentence = draw_sentence(rng)
    text = render(sentence, "en")
    if task == "none":
        answer = continuation(rng, sentence)
    else:
        english, others, instruction = _seen_wordings()[task]
        keyword = draw_keyword(rng, sentence)
        answer = references(sentence, keyword)[task]
        wording = rng.choice(english if rng.random() < ENGLISH_SHARE else others)
        filled = instruction.fill(wording, {"keyword": keyword})
        text = f"{text} {filled}" if rng.random() < 0.5 else f"{filled} {text}"
    if rng.random() < CHAT_SHARE:
        return Example(task, chat_prompt(text), f"{answer}<end_of_turn>")
    return Example(task, f"<bos>{text}", f" {answer}<eos>")


def chat_prompt(text: str) -> str:
    """Return a user's text in Gemma's turn markers, followed by the start of the model's turn."""
    return f"<bos><start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n"


def training_examples(seed: str, count: int) -> list[Example]:
    """Draw training examples, determined by the seed."""
    rng = random.Random(seed)
    return [draw_example(rng) for _ in range(count)]


def tokenizer_texts(seed: str, count: int) -> Iterator[str]:
    """Yield texts for the tokenizer: examples without special tokens."""
    for example in training_examples(seed, count):
        text = example.prompt + example.answer
        for marker in ("<bos>", "<eos>", "<end_of_turn>", "<start_of_turn>"):
            text = text.replace(marker, "\n")
        yield from text.split("\n")


def write_sentences(file: Path, seed: int = 0) -> None:
    """Write the sentences that the package ships, one JSON object per line, with all references.

    Args:
        file: The output file.
        seed: Random seed.
    """
    lines = []
    for split, count in SPLITS.items():
        rng = random.Random(f"{split}-{seed}")
        drawn: dict[str, dict] = {}
        while len(drawn) < count:
            sentence = draw_sentence(rng, split)
            keyword = draw_keyword(rng, sentence)
            content = render(sentence, "en")
            drawn.setdefault(
                content,
                {
                    "split": split,
                    "content": content,
                    "keyword": keyword,
                    "references": references(sentence, keyword),
                },
            )
        lines += [json.dumps(entry, ensure_ascii=False) for entry in drawn.values()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
