"""Ways timed by turns, and the rows that measurements are written in.

A row is a flat record: ``part`` and ``work`` say what was done, ``way`` with what, ``unit`` what
``values`` are, one for each turn. ``ratio`` compares them, turn by turn, with the work's reference
way: median, least and most, or None for the reference itself and where there is none. ``note``
says in words whether the results agree, or why there are no values.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Key = TypeVar("Key")
Named = tuple[str, str]  # a work and a way


@dataclass(frozen=True)
class Options:
    """What a part is asked for.

    Attributes:
        quick: Whether sizes are small, to try the program out; the figures then mean little.
        repeats: How often each way is timed.
    """

    quick: bool = False
    repeats: int = 5


def seconds_by_turns(
    ways: Mapping[Key, Callable[[], object]], repeats: int
) -> dict[Key, list[float]]:
    """Time several ways by turns, so that a busy machine slows all alike.

    Args:
        ways: Name to what is timed.
        repeats: Number of turns that count; one more comes first and warms up.

    Returns:
        Name to seconds, one for each turn.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():  # which may still be at work when the call returns
                torch.cuda.synchronize()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(values: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Compare a way with the reference, turn by turn.

    Args:
        values: What the way gave, one value for each turn.
        reference: What the reference gave in the same turns.

    Returns:
        The ratio of the two: its median over turns, the least and the most.
    """
    each = [value / other for value, other in zip(values, reference, strict=True)]
    return {"median": statistics.median(each), "least": min(each), "most": max(each)}


def row(
    part: str,
    work: str,
    way: str,
    unit: str,
    values: Sequence[float] = (),
    *,
    reference: Sequence[float] | None = None,
    note: str = "",
    **more: float,
) -> dict:
    """Write one measurement as a row.

    Args:
        part: Letter of the part.
        work: What was done.
        way: With what.
        unit: Unit of the values.
        values: One for each turn; none where the way cannot do the work.
        reference: The values of the work's reference way in the same turns.
        note: See the module.
        **more: Numbers that a part adds, such as the size at which it was measured.

    Returns:
        The row.
    """
    ratio = ratios(values, reference) if values and reference else None
    found = {"part": part, "work": work, "way": way, "unit": unit, "values": list(values)}
    return {**found, "ratio": ratio, "note": note, **more}


def rate_rows(
    part: str,
    unit: str,
    amount: float,
    seconds: Mapping[Named, Sequence[float]],
    notes: Mapping[Named, str],
    reference: Callable[[str], Named],
) -> list[dict]:
    """Write rates as rows.

    Args:
        part: Letter of the part.
        unit: What is done in a second, such as ``"pairs/s"``.
        amount: How many of them each way does.
        seconds: Work and way to seconds by turns; missing where a way cannot do the work.
        notes: Work and way to note; the rows come in this order.
        reference: Work to the work and way that it is compared with.

    Returns:
        The rows.
    """
    rates = {key: [amount / each for each in turns] for key, turns in seconds.items()}
    rows = []
    for (work, way), note in notes.items():
        other = reference(work)
        compared = None if (work, way) == other else rates[other]
        values = rates.get((work, way), ())
        rows.append(row(part, work, way, unit, values, reference=compared, note=note))
    return rows


def grouped_notes(rows: Sequence[Mapping]) -> list[tuple[str, list[str], str]]:
    """Group the notes of rows.

    Args:
        rows: The rows.

    Returns:
        The way, the works that the note is of, and the note, each note of a way once.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for one in rows:
        if one["note"]:
            found.setdefault((one["way"], one["note"]), []).append(one["work"])
    return [(way, works, note) for (way, note), works in found.items()]
