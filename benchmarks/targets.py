"""Performance targets as data, and whether the rows of a run meet them.

A target is compared with one figure from the rows: the worst, if several rows are relevant. The
verdict depends on the median over rounds; minimum and maximum are shown as well.
"""

import operator
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from benchmarks.timing import ratios
from saif_helpers._internal.paths import GIB

OURS, LOOP = "saif_helpers", "one prompt at a time"
ALL, LAST = "identify, all layers", "identify, last layer"
MEMORY = "chapter, peak memory"
PEAK = "rise of memory during a capture, each further pair"
COPY = "a copy of all tokens held"
FURTHER_PAIR = "identify, each further pair"
READ_OUT = "encoding and ranking the read-out rows alone"
Rows = Sequence[dict]


def short(value: float) -> str:
    """Return a number with three significant digits, and thousands separators as in 3,370."""
    digits = f"{value:.3g}"
    return f"{float(digits):,.0f}" if "e+" in digits else digits


@dataclass(frozen=True)
class Spread:
    """A figure over rounds.

    Attributes:
        median: The median.
        least: The minimum.
        most: The maximum.
    """

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        """Return the median, followed by the range if there is one."""
        median, least, most = map(short, (self.median, self.least, self.most))
        return median if self.least == self.most else f"{median} ({least} to {most})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median, minimum and maximum of values."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Target:
    """A performance target.

    Attributes:
        part: Letter of the part.
        what: Description of the figure.
        relation: Required side of the bar.
        bar: The bar.
        unit: Unit of the bar and of the figure.
        measured: Function from rows to the figure, or to None if it was not measured.
    """

    part: str
    what: str
    relation: Literal["at least", "at most", "under"]
    bar: float
    unit: str
    measured: Callable[[Rows], Spread | None]

    def verdict(self, rows: Rows) -> str:
        """Return whether rows meet the target.

        Args:
            rows: The rows of a run.

        Returns:
            ``"met"``, ``"not met"`` or ``"not measured"``.
        """
        found = self.measured(rows)
        if found is None:
            return "not measured"
        met = {"at least": operator.ge, "at most": operator.le, "under": operator.lt}
        return "met" if met[self.relation](found.median, self.bar) else "not met"


def of(rows: Rows, part: str, work: str = "", way: str = OURS) -> Iterator[dict]:
    """Yield a part's rows that have values, by prefixes of their work and way."""
    for row in rows:
        named = row["work"].startswith(work) and row["way"].startswith(way)
        if named and row["part"] == part and row["values"]:
            yield row


def one(rows: Rows, part: str, work: str, way: str = OURS) -> dict | None:
    """Return the row with exactly this work and way, if it has values."""
    found = [row for row in of(rows, part, work, way) if (row["work"], row["way"]) == (work, way)]
    return found[0] if found else None


def worst_ratio(rows: Rows, part: str, work: str = "", without: str = "") -> Spread | None:
    """Return the minimum of the package's ratios to the limit over all works but one."""
    found = [
        Spread(**row["ratio"])
        for row in of(rows, part, work)
        if row["ratio"] and row["work"] != without
    ]
    return min(found, key=lambda ratio: ratio.median, default=None)


def between(first: dict | None, second: dict | None) -> Spread | None:
    """Return the ratio of two rows, round by round."""
    if first is None or second is None:
        return None
    return Spread(**ratios(first["values"], second["values"]))


def over_the_loop(rows: Rows) -> Spread | None:
    """Return the minimum speed-up of the package over the loop."""
    found = []
    for row in of(rows, "a"):
        times = between(one(rows, "a", row["work"], row["way"]), one(rows, "a", row["work"], LOOP))
        found += [times] if times else []
    return min(found, key=lambda times: times.median, default=None)


def all_layers(rows: Rows) -> Spread | None:
    """Return the time for all layers relative to the last layer alone."""
    return between(one(rows, "a", LAST), one(rows, "a", ALL))


def longest(rows: Rows, part: str, work: str = "") -> Spread | None:
    """Return the package's time in seconds, of the slowest work if there are several."""
    found = [spread(row["values"]) for row in of(rows, part, work) if row["unit"] == "s"]
    return max(found, key=lambda seconds: seconds.median, default=None)


def straightness(rows: Rows) -> Spread | None:
    """Return R squared of the straight line fitted to seconds over the number of pairs."""
    row = one(rows, "f", FURTHER_PAIR)
    return row and spread([row["r_squared"]])


def rest_by_width(rows: Rows) -> Spread | None:
    """Return the time of the widest SAE relative to the narrowest, less that of read-out rows."""
    rest = {}
    for row in of(rows, "f", "identify"):
        alone = one(rows, "f", row["work"], READ_OUT)
        if alone and "at" in row:
            pairs = zip(row["values"], alone["values"], strict=True)
            rest[row["at"]] = [whole - part for whole, part in pairs]
    if len(rest) < 2:
        return None
    return Spread(**ratios(rest[max(rest)], rest[min(rest)]))


def held(rows: Rows) -> Spread | None:
    """Return the memory per additional pair relative to that of a copy of all its tokens."""
    return between(one(rows, "f", PEAK), one(rows, "f", PEAK, COPY))


def imported(rows: Rows) -> Spread | None:
    """Return the import time of the package in seconds."""
    row = one(rows, "d", "import")
    return row and spread(row["values"])


def largest_chapter(rows: Rows) -> Spread | None:
    """Return the largest peak memory of a chapter, in GB."""
    found = [spread([v * GIB / 1e9 for v in row["values"]]) for row in of(rows, "e", MEMORY, "")]
    return max(found, key=lambda memory: memory.median, default=None)


TARGETS = [
    Target(
        "a",
        "identification at one layer, relative to the limit",
        "at least",
        0.95,
        "times",
        lambda rows: worst_ratio(rows, "a", without=ALL),
    ),
    Target("a", "time for all layers relative to one layer", "at most", 1.25, "times", all_layers),
    Target(
        "a",
        "identification relative to one prompt at a time",
        "at least",
        3,
        "times",
        over_the_loop,
    ),
    Target(
        "b",
        "generation steered at any placement, relative to plain generate",
        "at least",
        0.95,
        "times",
        lambda rows: worst_ratio(rows, "b", "generate, steered at"),
    ),
    Target("c", "the full sweep", "under", 240, "s", lambda rows: longest(rows, "c")),
    Target("d", "import, before a model is loaded", "under", 1.5, "s", imported),
    Target("d", "peak memory of the largest chapter", "under", 2, "GB", largest_chapter),
    Target("f", "linearity (R²) of time over pairs", "at least", 0.99, "", straightness),
    Target(
        "f",
        "time without the read-out tokens' own, widest SAE relative to narrowest",
        "at most",
        1.25,
        "times",
        rest_by_width,
    ),
    Target(
        "f",
        "memory per additional pair relative to a copy of all its tokens",
        "at most",
        0.1,
        "times",
        held,
    ),
    Target(
        "g",
        "SmolLM2: identification, relative to the limit",
        "at least",
        0.95,
        "times",
        lambda rows: worst_ratio(rows, "g", "identify"),
    ),
    Target(
        "g",
        "SmolLM2: generation steered at any placement, relative to plain generate",
        "at least",
        0.95,
        "times",
        lambda rows: worst_ratio(rows, "g", "generate, steered at"),
    ),
    Target(
        "g",
        "SmolLM2: a sweep's batch, relative to plain generate",
        "at least",
        1.3,
        "times",
        lambda rows: worst_ratio(rows, "g", "generate, a sweep's batch"),
    ),
    Target(
        "h",
        "generation steered in batches of 8 prompts or more, relative to plain generate",
        "at least",
        0.95,
        "times",
        lambda rows: worst_ratio([row for row in rows if ", 1 row," not in row["work"]], "h"),
    ),
]
"""The targets, on two cores with the organism and, where they say so, SmolLM2.

The bars of part f are ours. They quantify three requirements: the cost is linear in the number of
pairs, it does not depend on the SAE's width, and the streams of all tokens are never held.
"""


def targets_table(rows: Rows) -> pd.DataFrame:
    """Return a table of the targets.

    Args:
        rows: The rows of a run.

    Returns:
        A row for each target: part, description, bar, measured figure and verdict.
    """
    found = []
    for target in TARGETS:
        measured = target.measured(rows)
        found.append(
            {
                "part": target.part,
                "what": target.what,
                "target": f"{target.relation} {target.bar:g} {target.unit}".strip(),
                "measured": f"{measured} {target.unit}".strip() if measured else "",
                "verdict": target.verdict(rows),
            }
        )
    return pd.DataFrame(found)
