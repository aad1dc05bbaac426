"""Agreement of two graders on the same outputs: raw agreement and Cohen's kappa.

Raw agreement is high by chance if nearly all outputs pass, or nearly none. Kappa is the agreement
beyond chance, relative to the maximum (doi 10.1177/001316446002000104).
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.stats import norm

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.grading import Grades, Kind, passed
from saif_helpers.intervals import Interval, wilson


@dataclass(frozen=True)
class Agreement:
    """The agreement of two graders on the same outputs.

    Attributes:
        table: Counts of outputs: rows for the first grader (fails, passes), columns for the
            second.
        raw: Share of outputs on which they agree, with its Wilson interval.
        kappa: Cohen's kappa with its large-sample interval; NaN if undefined. With 60 outputs, a
            95 % interval misses the true value 7 to 8 % of the time, and 19 % if one output in
            thirty fails; with 200 outputs 6 % and 10 %.
        note: The reason if kappa or its interval is NaN, otherwise empty.
    """

    table: pd.DataFrame
    raw: Interval
    kappa: Interval
    note: str = ""

    def __str__(self) -> str:
        """Write it as ``agree 70% [56, 81], kappa 0.40 [0.15, 0.65], n = 50``."""
        note = f" ({self.note})" if self.note else ""
        kappa = f"{self.kappa.value:.2f} [{self.kappa.low:.2f}, {self.kappa.high:.2f}]"
        return f"agree {self.raw}, kappa {kappa}, n = {self.raw.n}{note}"


def agreement(a: Grades, b: Grades, kind: Kind, confidence: float = 0.95) -> Agreement:
    """Measure the agreement of two graders, for example the rules and a judge.

    Args:
        a: Grades by one grader.
        b: Grades by the other, of the same outputs.
        kind: ``"strict"`` or ``"loose"``.
        confidence: Coverage of the intervals.

    Returns:
        The agreement.

    Raises:
        ValueError: If they did not grade the same outputs for the same contents.
    """
    if a.outputs != b.outputs or [i.content for i in a.items] != [i.content for i in b.items]:
        raise ArgumentError(
            "the two grades are of different outputs; grade the same ones with both", "b"
        )
    pairs = list(zip(passed(a, kind), passed(b, kind), strict=True))
    labels = {False: "fails", True: "passes"}
    counts = [[pairs.count((first, second)) for second in labels] for first in labels]
    table = pd.DataFrame(
        counts,
        index=pd.Index(labels.values(), name="first"),
        columns=pd.Index(labels.values(), name="second"),
    )
    raw = wilson(counts[0][0] + counts[1][1], len(pairs), confidence)
    kappa, note = _kappa(np.array(counts), confidence)
    return Agreement(table, raw, kappa, note)


def _kappa(counts: Int[np.ndarray, "2 2"], confidence: float) -> tuple[Interval, str]:
    """Return kappa with the interval of Fleiss, Cohen and Everitt (doi 10.1037/h0028106)."""
    n = int(counts.sum())
    p = counts / n
    rows, columns = p.sum(1), p.sum(0)
    observed, chance = np.trace(p), rows @ columns
    if chance == 1:
        verdict = "passes" if rows[1] else "fails"
        note = f"kappa is undefined: both say of every output that it {verdict}"
        return Interval(math.nan, math.nan, math.nan, n), note
    kappa = (observed - chance) / (1 - chance)
    both = rows[:, None] + columns  # for row i and column j
    agree = np.diag(p) @ (1 - np.diag(both) * (1 - kappa)) ** 2
    crossed = (columns[:, None] + rows) ** 2  # for cell i, j: the shares of column i and row j
    differ = (1 - kappa) ** 2 * (p * crossed)[~np.eye(2, dtype=bool)].sum()
    variance = (agree + differ - (kappa - chance * (1 - kappa)) ** 2) / n / (1 - chance) ** 2
    if variance < 1e-12:
        note = "kappa has no interval here: they agree or differ on all, or one never changes"
        return Interval(float(kappa), math.nan, math.nan, n), note
    half = norm.ppf((1 + confidence) / 2) * math.sqrt(variance)
    low, high = max(-1.0, kappa - half), min(1.0, kappa + half)
    return Interval(float(kappa), float(low), float(high), n), ""
