"""The sentences that instructions apply to, in three splits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError, FileContentError
from saif_helpers._internal.paths import DATA
from saif_helpers._internal.types import Corpus
from saif_helpers.graders.grader import Item
from saif_helpers.instructions import InstructionType

SENTENCES = {"grammar": "sentences.jsonl", "natural": "natural.jsonl"}


@checked
@dataclass(frozen=True)
class Content:
    """A sentence that an instruction can be applied to.

    >>> one = saif.Content("The cat sleeps.", references={"french": "Le chat dort."})
    >>> one.item(french).reference
    'Le chat dort.'

    Attributes:
        text: The sentence.
        references: Instruction name to the correct answer.
        slots: Values of an instruction's slots, for example ``{"keyword": "garden"}``.
        split: ``"identification"``, ``"validation"`` or ``"test"``, if shipped.
    """

    text: str
    references: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)
    split: str = ""

    def __post_init__(self) -> None:
        """Raise if a reference or slot is not a string."""
        for name, texts in (("reference", self.references), ("slot", self.slots)):
            for key, text in texts.items():
                if not isinstance(text, str):
                    raise ArgumentError(
                        f"{name} {key!r} of {self.text!r} is {text!r}; give a text", f"{name}s"
                    )

    @checked
    def item(self, instruction: InstructionType) -> Item:
        """Return what an output for this content under `instruction` is graded against."""
        return Item(self.text, self.references.get(instruction.name), self.slots)


@checked
def load_contents(
    split: str, corpus: Corpus = "grammar", path: Path | None = None
) -> list[Content]:
    """Load the shipped sentences of one split.

    >>> contents = saif.load_contents("test", "natural")
    >>> contents[0].split
    'test'

    Args:
        split: ``"identification"``, ``"validation"`` or ``"test"``.
        corpus: ``"grammar"``, the organism's sentences, with exact references; or ``"natural"``,
            English sentences written for this book, for real models, without references.
        path: A file with the same layout (one JSON object per line) to read instead.

    Returns:
        The contents, in the file's order.

    Raises:
        ValueError: If the corpus or split is unknown, or a line of the file is not valid.
    """
    if corpus not in SENTENCES:
        raise ArgumentError(f"corpus {corpus!r} given; give 'grammar' or 'natural'", "corpus")
    path = path or DATA / SENTENCES[corpus]
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    entries = [_entry(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    found = [_content(entry) for entry in entries if entry["split"] == split]
    if not found:
        splits = sorted({entry["split"] for entry in entries})
        raise ArgumentError(f"split {split!r} given; the file has {', '.join(splits)}", "split")
    return found


def _entry(line: str, where: str) -> dict:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise FileContentError(f"{where} is not JSON: {error}", where) from error
    needed = ("split", "content")
    if not (isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in needed)):
        raise FileContentError(
            f'{where} needs "split" and "content", both text; it is {line[:80]!r}. Other texts in '
            'it fill slots; "references" may hold right answers by the name of the instruction',
            where,
        )
    return entry


def _content(entry: dict) -> Content:
    known = ("split", "content", "references")
    slots = {key: value for key, value in entry.items() if key not in known}
    return Content(entry["content"], entry.get("references", {}), slots, entry["split"])
