"""Grades of generated outputs: strict and loose proportions with their intervals.

The abstract does not define strict and loose accuracy; see `graders` for this book's definitions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from saif_helpers._internal.arguments import ArgumentError, check_same_lengths
from saif_helpers._internal.checked import checked
from saif_helpers.contents import Content
from saif_helpers.graders.broken import is_broken
from saif_helpers.graders.grader import Item
from saif_helpers.graders.run_check import GraderError, run_check
from saif_helpers.graders.text import exact_match, without_thought
from saif_helpers.instructions import InstructionType
from saif_helpers.intervals import Interval, wilson

Kind = Literal["strict", "loose", "broken"]
PER_OUTPUT = ("items", "outputs", "strict", "loose", "broken")  # fields with one entry per output
GradeOutputs = Callable[[Sequence[str], Sequence[Item], InstructionType], "Grades"]
"""A function that grades outputs: `grade`, by rules, or the ``grade`` method of a `Judge`."""


@checked
@dataclass(frozen=True)
class Grades:
    """The grades of a list of outputs.

    >>> print(grades.proportion("loose"))
    100% [51, 100]

    Attributes:
        instruction: Name of the instruction.
        items: What each output was graded against.
        outputs: The outputs.
        strict: Whether each output passes strictly.
        loose: Whether each output passes loosely.
        broken: Whether each output is broken (`is_broken`), and so passes neither.
    """

    instruction: str
    items: tuple[Item, ...]
    outputs: tuple[str, ...]
    strict: tuple[bool, ...]
    loose: tuple[bool, ...]
    broken: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """Set the default, and raise if the fields differ in length."""
        if not self.broken:
            object.__setattr__(self, "broken", (False,) * len(self.outputs))
        check_same_lengths(**{name: getattr(self, name) for name in PER_OUTPUT})

    @checked
    def proportion(self, kind: Kind, confidence: float = 0.95) -> Interval:
        """Return the share of outputs that pass, with its Wilson interval.

        Outputs for the same content (see `pool_grades`) are not independent, so the content is the
        unit: each contributes the share of its outputs that pass. The interval is exact if the
        outputs for a content all pass or all fail, and conservative otherwise.

        Args:
            kind: ``"strict"``, ``"loose"`` or ``"broken"``.
            confidence: Coverage of the interval.

        Returns:
            The share and its interval.
        """
        answers: dict[str, list[bool]] = {}
        for item, answer in zip(self.items, passed(self, kind), strict=True):
            answers.setdefault(item.content, []).append(answer)
        shares = [sum(each) / len(each) for each in answers.values()]
        return wilson(math.fsum(shares), len(shares), confidence)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each output: content, reference, output and grades."""
        return pd.DataFrame(
            {
                "content": [item.content for item in self.items],
                "reference": [item.reference for item in self.items],
                "output": self.outputs,
                "strict": self.strict,
                "loose": self.loose,
                "broken": self.broken,
            }
        )


@checked
def grade(outputs: Sequence[str], items: Sequence[Item], instruction: InstructionType) -> Grades:
    """Grade outputs of one instruction; a broken output always fails.

    The reasoning block of a reasoning model (`text.without_thought`) is not graded.

    >>> item = saif.Item("The cat sleeps.", reference="Le chat dort.")
    >>> saif.grade(["Le chat dort.", "Le chat mange."], [item, item], french).strict
    (True, False)

    Args:
        outputs: Generated texts.
        items: What each is graded against (`Content.item`), in the same order.
        instruction: The instruction, for its grader.

    Returns:
        The grades.

    Raises:
        GraderError: If a check raises, does not return a bool, or times out
            (`run_check.TIME_LIMIT`); the error holds the outputs.
        ValueError: If there is nothing to grade, or not one item for each output.
    """
    check_lengths(outputs, items)
    broken = broken_outputs(outputs, items)
    answers = {"broken": broken}
    try:
        for kind in ("strict", "loose"):
            answers[kind] = tuple(
                run_check(instruction.grader, instruction.name, kind, without_thought(output), item)
                and not lost
                for output, item, lost in zip(outputs, items, broken, strict=True)
            )
    except GraderError as error:
        error.outputs = tuple(outputs)
        raise
    return Grades(instruction.name, tuple(items), tuple(outputs), **answers)


def broken_outputs(outputs: Sequence[str], items: Sequence[Item]) -> tuple[bool, ...]:
    """Return which outputs are broken; outputs equal to their reference are not.

    Args:
        outputs: Generated texts.
        items: What each is graded against.

    Returns:
        True for a broken output.
    """
    return tuple(
        is_broken(without_thought(output) or output)
        and not (item.reference and exact_match(output, item.reference))
        for output, item in zip(outputs, items, strict=True)
    )


def check_lengths(outputs: Sequence[str], items: Sequence[Item]) -> None:
    """Raise if outputs cannot be graded.

    Args:
        outputs: Generated texts.
        items: What each is graded against.

    Raises:
        ValueError: If there is nothing to grade, or not one item for each output.
    """
    if isinstance(outputs, str):
        raise ArgumentError(f"the string {outputs[:40]!r} given; give a list of outputs", "outputs")
    if len(outputs) != len(items) or not outputs:
        raise ArgumentError(
            f"{len(outputs)} outputs and {len(items)} items given; give equally many, at least one",
            "items" if outputs else "outputs",
        )


@checked
def check_grader(instruction: InstructionType, content: Content) -> None:
    """Try an instruction's grader on a content, to catch errors before anything is generated.

    >>> saif.check_grader(french, validation[0])  # no error: the grader works

    Args:
        instruction: The instruction.
        content: A content.

    Raises:
        ValueError: If a check fails as in `grade`, or strict passes where loose does not.
    """
    item = content.item(instruction)
    samples = [item.content, item.content.upper(), "", "?", "{}"]
    samples += [item.reference] if item.reference else []
    for output in samples:
        answers = {
            kind: run_check(instruction.grader, instruction.name, kind, output, item)
            for kind in ("strict", "loose")
        }
        if answers["strict"] and not answers["loose"]:
            said = f"the grader of instruction {instruction.name!r} passes {output!r} strictly"
            raise ArgumentError(f"{said} and not loosely; strict must imply loose", "instruction")


@checked
def pool_grades(several: Sequence[Grades]) -> Grades:
    """Concatenate the grades of several runs, for example of one control with several seeds.

    Runs on the same contents are not independent, so `Grades.proportion` counts contents.

    >>> len(saif.pool_grades([grades, grades]).outputs)
    8

    Args:
        several: Grades for one instruction.

    Returns:
        Grades of all their outputs.

    Raises:
        ValueError: If there are none, or they are for different instructions.
    """
    names = sorted({grades.instruction for grades in several})
    if len(names) != 1:
        said = f"pool_grades was given grades for {names or 'nothing'}; give one instruction's"
        raise ArgumentError(said, "several")
    joined = {name: sum((getattr(grades, name) for grades in several), ()) for name in PER_OUTPUT}
    return Grades(names[0], **joined)


def passed(grades: Grades, kind: Kind) -> tuple[bool, ...]:
    """Return which outputs pass, in order; raise if there is no such kind."""
    if kind not in ("strict", "loose", "broken"):
        raise ArgumentError(f"kind={kind!r} given; give 'strict', 'loose' or 'broken'", "kind")
    return getattr(grades, kind)
