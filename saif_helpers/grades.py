"""Grades of generated outputs: strict and loose proportions with their intervals.

The paper's strict and loose accuracy are not known in its own words; see `graders` for this book's.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from saif_helpers.arguments import share
from saif_helpers.asking import GraderError, ask_check
from saif_helpers.broken import is_broken
from saif_helpers.graders import Item, exact_match, without_thought
from saif_helpers.instructions import InstructionType
from saif_helpers.prompts import Content

Kind = Literal["strict", "loose", "broken"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        n: Number of outputs that it rests on; several for one content count once.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Write it as ``0.52 [0.38, 0.66]``."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def wilson(count: int | float, n: int, confidence: float = 0.95) -> Interval:
    """Return a share with its Wilson interval.

    Over all true shares, a 95 % interval misses 5 % of the time; at single ones up to 7 % where at
    least 5 of 40 to 400 trials are expected to pass and to fail, up to 15 % nearer to 0 or 1.

    Args:
        count: How many of the n; not a whole number where a trial is itself a share.
        n: Number of trials.
        confidence: Coverage of the interval.

    Returns:
        The share and its interval.

    Raises:
        ValueError: If `count` is not between 0 and n, or n is 0; if the confidence is no share.
    """
    if not 0 <= count <= n or n < 1:
        raise ValueError(f"{count} of {n} given; give a count from 0 to n and an n of at least 1")
    z, p = norm.ppf((1 + share("confidence", confidence)) / 2), count / n
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return Interval(p, float(low) if count else 0.0, float(high) if count < n else 1.0, n)


@dataclass(frozen=True)
class Grades:
    """The grades of a list of outputs.

    Attributes:
        instruction: Name of the instruction that was asked for.
        items: What each output was graded against.
        outputs: The outputs.
        strict: Whether each output passes strictly.
        loose: Whether each output passes loosely.
        broken: Whether each output is broken (`broken.is_broken`), and so passes neither; by
            default none is.
    """

    instruction: str
    items: tuple[Item, ...]
    outputs: tuple[str, ...]
    strict: tuple[bool, ...]
    loose: tuple[bool, ...]
    broken: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the default."""
        if not self.broken:
            object.__setattr__(self, "broken", (False,) * len(self.outputs))

    def proportion(self, kind: Kind, confidence: float = 0.95) -> Interval:
        """Return the share of outputs that pass, with its Wilson interval.

        Several outputs for one content (see `pool`) are no independent trials. So the trials are
        the contents, each the share of its outputs that pass. The interval is right where the
        outputs for a content all pass or all fail, and too wide otherwise.

        Args:
            kind: ``"strict"`` or ``"loose"``; or ``"broken"``, for the share that is broken.
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


def grade(outputs: Sequence[str], items: Sequence[Item], instruction: InstructionType) -> Grades:
    """Grade outputs of one instruction; a broken output passes nothing, whatever its checks say.

    What a reasoning model thinks before it answers (`graders.without_thought`) is not graded.

    Args:
        outputs: Generated texts.
        items: What each is graded against (`prompts.Content.item`), in the same order.
        instruction: The instruction, for its grader.

    Returns:
        The grades.

    Raises:
        GraderError: If a check fails on an output, answers with something else than True or False,
            or does not come back (`asking.TIME_LIMIT`); it has the outputs.
        ValueError: If there is nothing to grade, or not one item for each output.
    """
    check_lengths(outputs, items)
    broken = broken_outputs(outputs, items)
    answers = {"broken": broken}
    try:
        for kind in ("strict", "loose"):
            answers[kind] = tuple(
                ask_check(instruction, kind, without_thought(output), item) and not lost
                for output, item, lost in zip(outputs, items, broken, strict=True)
            )
    except GraderError as error:
        error.outputs = tuple(outputs)
        raise
    return Grades(instruction.name, tuple(items), tuple(outputs), **answers)


def broken_outputs(outputs: Sequence[str], items: Sequence[Item]) -> tuple[bool, ...]:
    """Return which outputs are broken; one that equals its reference is not.

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
    """Refuse outputs that cannot be graded.

    Args:
        outputs: Generated texts.
        items: What each is graded against.

    Raises:
        ValueError: If there is nothing to grade, or not one item for each output.
    """
    if isinstance(outputs, str):
        raise ValueError(f"the text {outputs[:40]!r} given; give a list of outputs")
    if len(outputs) != len(items) or not outputs:
        raise ValueError(
            f"{len(outputs)} outputs and {len(items)} items given; give at least one output, and "
            "one item for each"
        )


def check_distinct(contents: Iterable[str]) -> None:
    """Refuse a content that comes twice where outputs are counted as independent of one another.

    Args:
        contents: The contents.

    Raises:
        ValueError: If one of them comes twice.
    """
    for text, times in Counter(contents).items():
        if times > 1:
            raise ValueError(
                f"the content {text!r} comes {times} times, and outputs for one content are not "
                "independent; give each content that is reported on once"
            )


def check_grader(instruction: InstructionType, content: Content) -> None:
    """Try an instruction's grader on a content, so that a bad one fails before anything runs.

    Args:
        instruction: The instruction.
        content: A content.

    Raises:
        ValueError: If a check of the grader fails on an output, does not come back, answers with
            something else than True or False, or strict passes where loose does not.
    """
    item = content.item(instruction)
    samples = [item.content, item.content.upper(), "", "?", "{}"]
    samples += [item.reference] if item.reference else []
    for output in samples:
        answers = {kind: ask_check(instruction, kind, output, item) for kind in ("strict", "loose")}
        if answers["strict"] and not answers["loose"]:
            raise ValueError(
                f"the grader of instruction {instruction.name!r} passes {output!r} strictly and "
                "not loosely; what passes strictly must pass loosely too"
            )


def pool(several: Sequence[Grades]) -> Grades:
    """Put the grades of several runs together, for example of one control with several seeds.

    Runs on the same contents are not independent, so `Grades.proportion` counts contents.

    Args:
        several: Grades for one instruction.

    Returns:
        Grades of all their outputs.

    Raises:
        ValueError: If there are none, or they are for different instructions.
    """
    names = sorted({grades.instruction for grades in several})
    if len(names) != 1:
        raise ValueError(f"pool was given grades for {names or 'nothing'}; give one instruction's")
    fields = ("items", "outputs", "strict", "loose", "broken")
    joined = {name: sum((getattr(grades, name) for grades in several), ()) for name in fields}
    return Grades(names[0], **joined)


def paired_difference(
    first: Grades, second: Grades, kind: Kind, confidence: float = 0.95
) -> Interval:
    """Return how much more often `first` passes than `second` on the same contents.

    The interval is Tango's for paired proportions (doi
    10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B): it holds the differences that
    a score test does not reject. A 95 % interval misses 4.7 % of the time on average, at worst
    6.6 % (60 to 200 contents).

    Args:
        first: Grades of one method.
        second: Grades of another on the same items.
        kind: ``"strict"`` or ``"loose"``.
        confidence: Coverage of the interval.

    Returns:
        The difference of the two shares and its interval.

    Raises:
        ValueError: If the two were not graded on the same contents, or on one more than once.
    """
    if first.instruction != second.instruction:
        raise ValueError(
            f"grades for {first.instruction!r} and for {second.instruction!r} given; compare "
            "methods on one instruction"
        )
    share("confidence", confidence)
    if [item.content for item in first.items] != [item.content for item in second.items]:
        raise ValueError("the two grades are of different contents; grade both on the same ones")
    check_distinct(item.content for item in first.items)
    pairs = list(zip(passed(first, kind), passed(second, kind), strict=True))
    n = len(pairs)
    first_alone = sum(a and not b for a, b in pairs)
    second_alone = sum(b and not a for a, b in pairs)
    value = (first_alone - second_alone) / n
    high = _highest(first_alone, second_alone, n, confidence)
    low = -_highest(second_alone, first_alone, n, confidence)
    return Interval(value, min(low, value), max(high, value), n)


def _highest(first_alone: int, second_alone: int, n: int, confidence: float) -> float:
    """Return the highest difference that Tango's score test does not reject."""

    def rejected_by(difference: float) -> float:  # how far the score is below its lowest allowed
        middle = (2 * n - first_alone + second_alone) * difference - first_alone - second_alone
        last = 8 * n * second_alone * difference * (1 - difference)
        alone = (math.sqrt(max(middle**2 + last, 0.0)) - middle) / (4 * n)  # likeliest, of second's
        variance = n * (2 * alone + difference * (1 - difference))
        score = first_alone - second_alone - n * difference
        return -z - score / math.sqrt(variance) if variance > 0 else -z

    z, value = norm.ppf((1 + confidence) / 2), (first_alone - second_alone) / n
    nearly = math.nextafter(1.0, 0.0)
    return float(brentq(rejected_by, value, nearly)) if rejected_by(nearly) > 0 else 1.0


def passed(grades: Grades, kind: Kind) -> tuple[bool, ...]:
    """Return which outputs pass, in order, or refuse a kind that there is none of."""
    if kind not in ("strict", "loose", "broken"):
        raise ValueError(
            f"grades of the kind {kind!r} asked for; give 'strict', 'loose' or 'broken'"
        )
    return getattr(grades, kind)
