"""An instruction and contents for the tiny models, and grades that are looked up."""

from collections.abc import Callable, Sequence

import torch

from saif_helpers.contents import Content
from saif_helpers.graders.grader import Grader
from saif_helpers.grading import Grades
from saif_helpers.instructions import InstructionType
from saif_helpers.study.settings import SteeringSetting
from saif_helpers.vectors import SteeringVector

CONTENTS = [Content(text, split="validation") for text in ("A cat sleeps.", "Two dogs ran.", "Hm.")]
TEST = [Content(text, split="test") for text in ("A hen eats.", "Rain fell.", "Two men.", "We go.")]
MANY = [Content(f"Sentence {i}.", split="validation") for i in range(60)]
LETTER = InstructionType(
    name="letter",
    wordings={"en": ["Write an e.", "Use the letter e."]},
    grader=Grader(
        strict=lambda output, item: output.startswith("e"),
        loose=lambda output, item: "e" in output,
    ),
)


def failing(output, item):
    raise AssertionError("the instruction's own rules were asked")


RULELESS = InstructionType("ruleless", LETTER.wordings, Grader(failing, failing))


def vectors(layers: Sequence[int]) -> dict[int, SteeringVector]:
    """Return a vector of norm 1 for each layer."""
    direction = torch.eye(32)[0]
    return {layer: SteeringVector(layer, direction) for layer in layers}


def grades_of(
    strict: Sequence[bool], loose: Sequence[bool] | None = None, contents: Sequence[Content] = MANY
) -> Grades:
    """Return made-up grades, loose as strict if not given."""
    chosen = contents[: len(strict)]
    items = tuple(content.item(LETTER) for content in chosen)
    outputs = tuple(content.text for content in chosen)
    strict = tuple(map(bool, strict))
    loose = strict if loose is None else tuple(map(bool, loose))
    return Grades("letter", items, outputs, strict, loose)


def looked_up(
    passes: Callable[[SteeringSetting, Content], bool | tuple[bool, bool]],
    calls: list | None = None,
) -> Callable:
    """Return a `grade_settings` that steers nothing, and asks `passes` for strict (and loose)."""

    def graded(model, instruction, contents, sources, settings, **_):
        if calls is not None:
            calls.append((list(contents), list(settings)))
        found = []
        for setting in settings:
            answers = [passes(setting, content) for content in contents]
            pairs = [one if isinstance(one, tuple) else (one, one) for one in answers]
            found.append(grades_of(*zip(*pairs, strict=True), contents=contents))
        return found

    return graded
