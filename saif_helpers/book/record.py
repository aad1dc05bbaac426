"""Numbers, tables and verdicts that a chapter glues for other pages (MyST-NB's glue)."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from saif_helpers.study.claims import Criterion, verdict

GLUE = "application/papermill.record/"  # prefix of a MIME type: stored in the notebook, hidden


def checks_table(checks: Sequence[Criterion]) -> pd.DataFrame:
    """Tabulate the checks of a claim, a row for each."""
    words = {True: "holds", False: "fails", None: "undecided"}
    return pd.DataFrame(
        {
            "check": [check.what for check in checks],
            "measured": [str(check.interval) for check in checks],
            "required": [f"{check.side} {check.threshold:.0%}" for check in checks],
            "outcome": [words[check.holds] for check in checks],
        }
    )


def glue_text(name: str, text: str) -> None:
    """Store a text in the notebook for other pages of the book (MyST-NB's glue).

    Args:
        name: Key to store it under.
        text: The text.
    """
    _leave(name, {"text/plain": repr(text)})


def glue_table(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Store a table in the notebook for other pages of the book (MyST-NB's glue).

    Args:
        name: Key to store it under.
        table: The table.

    Returns:
        The table, to be shown.
    """
    # On a narrow page, a wide table scrolls on its own, by keyboard too.
    page = f'<div class="wide-table" tabindex="0">{table.to_html()}</div>'
    _leave(name, {"text/plain": table.to_string(), "text/html": page})
    return table


def glue_data(name: str, data: list | dict) -> None:
    """Store plain data in the notebook for the tools that read it (MyST-NB's glue).

    Args:
        name: Key to store them under, as ``<name>-data``.
        data: JSON-serializable data.
    """
    _leave(f"{name}-data", {"text/plain": json.dumps(data)})


def record_checks(name: str, checks: Sequence[Criterion]) -> pd.DataFrame:
    """Show checks, and store them in the notebook for other pages and for `make verdicts`.

    Other pages read them through MyST-NB's glue, whose format this writes: ``<name>-checks`` is a
    table, ``<name>-data`` holds the numbers.

    Args:
        name: Key to store them under, such as a claim's id.
        checks: The checks.

    Returns:
        The checks, a row for each.
    """
    table = glue_table(f"{name}-checks", checks_table(checks).set_index("check"))
    glue_data(name, [asdict(check) for check in checks])
    return table


def record_verdict(claim: str, checks: Sequence[Criterion]) -> pd.DataFrame:
    """Show and store the checks of a claim as `record_checks` does, and store ``<claim>-verdict``.

    Args:
        claim: The claim's id, such as ``"C3"``.
        checks: Its checks.

    Returns:
        The checks, a row for each.

    Raises:
        ValueError: If there are no checks.
    """
    glue_text(f"{claim}-verdict", verdict(checks))
    return record_checks(claim, checks)


def _leave(name: str, bundle: dict[str, str]) -> None:
    from IPython.display import display

    hidden = {GLUE + mime: content for mime, content in bundle.items()}
    display(hidden, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": GLUE}})
