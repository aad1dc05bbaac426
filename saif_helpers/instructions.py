"""Instruction types: a request with wordings in several languages, and its grader.

Paper, latent identification (standing: stated): each instruction is reworded syntactically and
translated, so that the latents found are not tied to one wording. The numbers are not known;
this book uses at least ten wordings in at least six languages (standing: ours).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.paths import DATA
from saif_helpers._internal.types import Corpus
from saif_helpers._internal.wordings import check_held_out, check_wordings
from saif_helpers.graders.exact import GRADERS
from saif_helpers.graders.grader import Grader, OutputCheck
from saif_helpers.graders.natural import NATURAL_GRADERS
from saif_helpers.graders.response import RESPONSE_GRADERS

Wordings = Literal["seen", "unseen", "all"]
GRADERS_OF = {
    "grammar": ("graders.GRADERS", GRADERS),
    "natural": (
        "natural_graders.NATURAL_GRADERS and response_graders.RESPONSE_GRADERS",
        NATURAL_GRADERS | RESPONSE_GRADERS,
    ),
}
FILES_OF = {
    "grammar": ["instructions.json"],
    "natural": ["instructions.json", "natural_instructions.json"],
}


@checked
@dataclass(frozen=True)
class InstructionType:
    """A kind of instruction, for example "translate into French".

    A new one needs a name, at least two wordings and a grader:

    >>> shout = saif.InstructionType(
    ...     name="shout",
    ...     wordings={"en": ["Shout it.", "End with an exclamation mark."]},
    ...     grader=saif.Grader(
    ...         strict=lambda output, item: output == item.content.rstrip(".") + "!",
    ...         loose=lambda output, item: output.endswith("!"),
    ...     ),
    ... )
    >>> shout.select()
    {'en': ['Shout it.', 'End with an exclamation mark.']}

    Attributes:
        name: Short name, the key of this instruction's references in the contents.
        wordings: Language code to the wordings in that language. A wording may contain slots, for
            example ``"Include the word {keyword}."``.
        grader: Strict and loose check of an output, or a single check for both.
        title: Name for tables and figures; `name` by default.
        description: The request in one sentence.
        output_language: Language code of a correct output.
        slots: Names that every wording contains in braces, filled from each content.
        held_out_language: A language whose wordings count as unseen, or None.
        held_out_wordings: Indices of wordings, in every language, that count as unseen.
    """

    name: str
    wordings: Mapping[str, Sequence[str]]
    grader: Grader | OutputCheck = field(repr=False)
    title: str = ""
    description: str = ""
    output_language: str = "en"
    slots: Sequence[str] = ()
    held_out_language: str | None = None
    held_out_wordings: Sequence[int] = ()

    def __post_init__(self) -> None:
        """Raise for too few wordings, duplicates, and invalid slots or hold-outs."""
        if not self.title:
            object.__setattr__(self, "title", self.name)
        if callable(self.grader):  # one check for both grades
            object.__setattr__(self, "grader", Grader(self.grader, self.grader))
        check_wordings(self.name, self.wordings, self.slots)
        check_held_out(self.name, self.wordings, self.held_out_language, self.held_out_wordings)

    @checked
    def select(
        self, wordings: Wordings = "all", languages: Sequence[str] | None = None
    ) -> dict[str, list[str]]:
        """Return the seen, the unseen or all wordings, by language.

        A wording is unseen if its language or index is held out from the organism's training.

        Args:
            wordings: Which wordings.
            languages: Which languages, in this order; by default all that have such wordings.

        Returns:
            Language code to a non-empty list of wordings with unfilled slots.

        Raises:
            ValueError: If a requested language has no such wordings.
        """
        if wordings not in ("seen", "unseen", "all"):
            said = f"wordings={wordings!r} given; give 'seen', 'unseen' or 'all'"
            raise ArgumentError(said, "wordings")
        chosen = {}
        for language, texts in self.wordings.items():
            kept = [
                text
                for index, text in enumerate(texts)
                if wordings == "all" or self._is_held_out(language, index) == (wordings == "unseen")
            ]
            if kept:
                chosen[language] = kept
        if languages is not None and not languages:
            raise ArgumentError("no languages given; give some, or None for all", "languages")
        if not chosen:
            raise ArgumentError(
                f"instruction {self.name!r} has no {wordings} wordings: set held_out_language and "
                "held_out_wordings, or select other wordings",
                "wordings",
            )
        missing = [language for language in languages or () if language not in chosen]
        if missing:
            raise ArgumentError(
                f"instruction {self.name!r} has no {wordings} wordings in {', '.join(missing)}; "
                f"it has them in {', '.join(chosen)}",
                "languages",
            )
        return chosen if languages is None else {key: chosen[key] for key in languages}

    @checked
    def fill(self, wording: str, slots: Mapping[str, str]) -> str:
        """Fill a wording's slots.

        Args:
            wording: A wording, for example ``"Include the word {keyword}."``.
            slots: Slot name to the word, for example ``{"keyword": "garden"}``.

        Returns:
            The wording with all slots filled.

        Raises:
            ValueError: If a slot of this instruction is missing or empty.
        """
        missing = [slot for slot in self.slots if not slots.get(slot, "").strip()]
        if missing:
            raise ArgumentError(
                f"instruction {self.name!r} needs the slots {', '.join(self.slots)}; "
                f"the content has no {', '.join(missing)}",
                "slots",
            )
        return wording.format(**{slot: slots[slot] for slot in self.slots})

    def _is_held_out(self, language: str, index: int) -> bool:
        return language == self.held_out_language or index in self.held_out_wordings


@checked
def load_instructions(
    corpus: Corpus = "grammar", path: Path | None = None
) -> dict[str, InstructionType]:
    """Load the shipped instruction types with their graders.

    Instructions that both corpora have share their wordings but not their graders. Response
    language ("answer in French") and response format (Python code, a poem) are for real models.

    >>> saif.load_instructions()["french"].title
    'Translate into French'

    Args:
        corpus: The sentences that the instructions apply to (see `load_contents`).
            ``"grammar"`` compares with exact references, ``"natural"`` needs none.
        path: A JSON file with the same layout; by default the shipped one.

    Returns:
        Instruction name to instruction type.

    Raises:
        ValueError: If the corpus is unknown, or there is no grader for an instruction.
    """
    if corpus not in GRADERS_OF:
        raise ArgumentError(f"corpus {corpus!r} given; give 'grammar' or 'natural'", "corpus")
    place, graders = GRADERS_OF[corpus]
    files = [path] if path else [DATA / name for name in FILES_OF[corpus]]
    entries = {}
    for file in files:
        entries |= json.loads(file.read_text(encoding="utf-8"))
    unknown = [name for name in entries if name not in graders]
    if unknown:
        raise ArgumentError(
            f"no grader for the instructions {', '.join(unknown)}; {place} has "
            f"{', '.join(graders)}; create an InstructionType with your own grader instead",
            "path",
        )
    return {
        name: InstructionType(name=name, grader=graders[name], **entry)
        for name, entry in entries.items()
    }
