"""Verdicts on claims, by a rule that is stated before the result and applied by code.

A claim is broken up into checks, each of which asks whether a measured share lies above or below a
threshold. The whole confidence interval has to lie on the right side; an interval that holds the
threshold decides nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from saif_helpers.grades import Interval
from saif_helpers.instructions import DATA

GLUE = "application/papermill.record/"  # before a mime type: kept in the notebook, not shown
Verdict = Literal["supported", "not supported", "undecided"]


@dataclass(frozen=True)
class Check:
    """One measurable part of a claim.

    Attributes:
        what: What is measured, for example ``"strict, steered"``.
        interval: The measurement.
        side: Whether the claim says ``"above"`` or ``"below"`` the threshold.
        threshold: The threshold, fixed before the measurement.
    """

    what: str
    interval: Interval
    side: Literal["above", "below"]
    threshold: float

    def __post_init__(self) -> None:
        """Refuse a side that there is not."""
        if self.side not in ("above", "below"):
            raise ValueError(f"side={self.side!r} given; give 'above' or 'below'")

    @property
    def holds(self) -> bool | None:
        """Whether the claim's side holds; None where the interval holds the threshold or is nan."""
        above = self.interval.low > self.threshold
        if above == (self.interval.high < self.threshold):
            return None
        return above == (self.side == "above")


def verdict(checks: Sequence[Check]) -> Verdict:
    """Judge a claim: supported if every check holds, not supported if one fails, else undecided.

    Args:
        checks: The claim's checks.

    Returns:
        The verdict.

    Raises:
        ValueError: If there is no check.
    """
    if not checks:
        raise ValueError("verdict was given no checks; a claim that nothing checks has no verdict")
    outcomes = [check.holds for check in checks]
    if False in outcomes:
        return "not supported"
    return "undecided" if None in outcomes else "supported"


def share_between(surely: int, possibly: int, n: int) -> Interval:
    """Write how many of n things count, known only between two bounds, as a share with an interval.

    Args:
        surely: How many count for certain.
        possibly: How many may count, the certain ones included.
        n: Number of things.

    Returns:
        The share that counts for certain, as the value and the lower end, and the share that may.

    Raises:
        ValueError: If not 0 <= surely <= possibly <= n, or n is 0.
    """
    if not 0 <= surely <= possibly <= n or n < 1:
        raise ValueError(
            f"{surely} surely and {possibly} possibly of {n} given; give 0 <= surely <= possibly "
            "<= n, and at least one thing"
        )
    return Interval(surely / n, surely / n, possibly / n, n)


def checks_table(checks: Sequence[Check]) -> pd.DataFrame:
    """Show the checks of a claim, a row for each."""
    words = {True: "holds", False: "fails", None: "undecided"}
    return pd.DataFrame(
        {
            "check": [check.what for check in checks],
            "measured": [str(check.interval) for check in checks],
            "asked for": [f"{check.side} {check.threshold:.2f}" for check in checks],
            "outcome": [words[check.holds] for check in checks],
        }
    )


def record_text(name: str, text: str) -> None:
    """Leave a text in the notebook for other pages of the book (MyST-NB's glue).

    Args:
        name: What to leave it under.
        text: The text.
    """
    _leave(name, {"text/plain": repr(text)})


def record_table(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Leave a table in the notebook for other pages of the book (MyST-NB's glue).

    Args:
        name: What to leave it under.
        table: The table.

    Returns:
        The table, to be shown.
    """
    # A wide table scrolls by itself on a narrow page, by keyboard too.
    page = f'<div class="wide-table" tabindex="0">{table.to_html()}</div>'
    _leave(name, {"text/plain": table.to_string(), "text/html": page})
    return table


def record_data(name: str, data: list | dict) -> None:
    """Leave plain data in the notebook for the tools that read it (MyST-NB's glue).

    Args:
        name: What to leave them under, as ``<name>-data``.
        data: Whatever JSON can hold.
    """
    _leave(f"{name}-data", {"text/plain": json.dumps(data)})


def record_checks(name: str, checks: Sequence[Check]) -> pd.DataFrame:
    """Show some checks, and leave them in the notebook for other pages and for `make verdicts`.

    In a notebook that the book executes, other pages read what is left here (MyST-NB's glue, whose
    format this writes): ``<name>-checks`` as a table and ``<name>-data`` as numbers.

    Args:
        name: What to leave them under, such as a claim's id.
        checks: The checks.

    Returns:
        The checks, a row for each.
    """
    table = record_table(f"{name}-checks", checks_table(checks).set_index("check"))
    record_data(name, [asdict(check) for check in checks])
    return table


def record_verdict(claim: str, checks: Sequence[Check]) -> pd.DataFrame:
    """Show the checks of a claim as `record_checks` does, and leave ``<claim>-verdict`` too.

    Args:
        claim: The claim's id, such as ``"C3"``.
        checks: Its checks.

    Returns:
        The checks, a row for each.

    Raises:
        ValueError: If there is no check.
    """
    record_text(f"{claim}-verdict", verdict(checks))
    return record_checks(claim, checks)


def recorded_checks(file: Path = DATA / "verdicts.json") -> dict[tuple[str, str, str], list[Check]]:
    """Read what the chapters found on every shipped model (`make verdicts` writes it).

    Args:
        file: The record.

    Returns:
        Size, instruction and what was recorded (a claim's id, or ``"rules"``) to the checks.
    """
    rows = json.loads(file.read_text(encoding="utf-8"))
    return {
        (row["size"], row["instruction"], row["name"]): [
            Check(**check | {"interval": Interval(**check["interval"])}) for check in row["checks"]
        ]
        for row in rows
    }


def _leave(name: str, bundle: dict[str, str]) -> None:
    from IPython.display import display

    hidden = {GLUE + mime: content for mime, content in bundle.items()}
    display(hidden, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": GLUE}})
