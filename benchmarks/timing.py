"""Interleaved timing of several methods, and the format of recorded measurements.

A row is a flat record. ``part`` and ``work`` name the task and ``way`` the method; ``values`` has
one value for each round, in ``unit``. ``ratio`` compares the values, round by round, with those of
the task's reference method: median, minimum and maximum, or None for the reference itself and if
there is none. ``note`` states whether the results agree, or why there are no values.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Key = TypeVar("Key")
Named = tuple[str, str]  # work (task) and way (method)


@dataclass(frozen=True)
class Options:
    """Sizes and repeats of a part.

    Attributes:
        quick: Whether to use small sizes for a trial; the figures are then not meaningful.
        repeats: How often each method is timed.
    """

    quick: bool = False
    repeats: int = 5


def seconds_by_turns(
    ways: Mapping[Key, Callable[[], object]], repeats: int
) -> dict[Key, list[float]]:
    """Time several functions in interleaved rounds, so that other load affects all of them equally.

    Args:
        ways: Functions to time, by name.
        repeats: Number of rounds that count; a warm-up round comes first.

    Returns:
        Seconds of each round, by name.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():  # GPU work may continue after the call returns
                torch.cuda.synchronize()
            if repeat:  # the first round is a warm-up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(values: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Compare a method with the reference, round by round.

    Args:
        values: Values of the method, one for each round.
        reference: Values of the reference in the same rounds.

    Returns:
        The median, minimum and maximum of the ratio over rounds.
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
    """Return one measurement as a row.

    Args:
        part: Letter of the part.
        work: Name of the task.
        way: Name of the method.
        unit: Unit of the values.
        values: One value for each round; empty if the method cannot do the task.
        reference: Values of the task's reference method in the same rounds.
        note: See the module's docstring.
        **more: Additional numbers, such as the size at which it was measured.

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
    """Return rates as rows.

    Args:
        part: Letter of the part.
        unit: Unit of the rate, for example ``"pairs/s"``.
        amount: Number of processed items, such as pairs.
        seconds: Seconds of each round by task and method; missing if a method cannot do a task.
        notes: Notes by task and method, in the order of the rows.
        reference: Function from a task to its reference task and method.

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
        For each distinct note of a method: the method, its tasks with that note, and the note.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for one in rows:
        if one["note"]:
            found.setdefault((one["way"], one["note"]), []).append(one["work"])
    return [(way, works, note) for (way, note), works in found.items()]
