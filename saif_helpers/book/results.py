"""Results of the chapters on every model: the organism's record, and a file per real model.

The book ships only results that were run. ``make verdicts`` makes the record of the organism,
``make results MODEL=gemma-2-2b-it`` the file of a real model, with provenance.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from saif_helpers._internal.errors import FileContentError
from saif_helpers._internal.paths import DATA
from saif_helpers.study.claims import Criterion, verdict

MARKS = {"C1": "layer", "C2": "layer", "C3": "shares"}
"""The field that a row of a claim has only if the present rules made it."""
Names = Annotated[dict[str, str], Field(min_length=1)]


class Provenance(BaseModel):
    """Provenance of a result, see `provenance.provenance`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str
    commit: str | None
    dtype: str
    saes: Names
    versions: Names
    hardware: str
    seed: int
    date: str


class Row(BaseModel):
    """Result of a chapter on one model and instruction.

    Attributes:
        size: Size of the organism, or width of the SAEs.
        instruction: Name of the instruction.
        name: What was recorded: a claim's id, or ``"rules"``.
        code: Hash of the cells that were run.
        checks: The checks.
        layer: The layer that was judged, for C1 and C2.
        setting: The setting that the search chose, for C3.
        shares: Method to strict, loose and broken shares with their bounds, for C3, and ``"decided
            by"``, the grade by which settings were chosen.
        also: Other checks of the chapter by name, such as ``"C3-opponents"``.
        minutes: How long the chapter ran; a run that was interrupted counts from its last start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: str
    instruction: str
    name: str
    code: str
    checks: Annotated[list[Criterion], Field(min_length=1)]
    layer: int | None = None
    setting: dict | None = None
    shares: dict | None = None
    also: dict[str, list[Criterion]] = {}
    minutes: float | None = None

    @property
    def model(self) -> str:
        """The organism's size, such as ``"M"``."""
        return self.size


class Result(Row):
    """Result of a chapter on one real model.

    Attributes:
        provenance: Its provenance. Results of one file may come from different days, machines or
            versions.
    """

    provenance: Provenance

    @property
    def model(self) -> str:
        """The model and the width of its SAEs, such as ``"gemma-2-2b-it 65k"``."""
        return f"{self.provenance.model} {self.size}"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: list[Result]


def read_record(file: Path = DATA / "verdicts.json") -> list[Row]:
    """Read the record of the organism's models.

    Rows of C1 to C3 that were made before the rules of 30 November 2026 are left out: their checks
    were others.

    Args:
        file: The record, as ``make verdicts`` wrote it.

    Returns:
        The rows.
    """
    rows = TypeAdapter(list[Row]).validate_json(file.read_bytes())
    return [row for row in rows if getattr(row, MARKS.get(row.name, "checks")) is not None]


def read_all(folder: Path) -> list[Row]:
    """Read the results on real models, and then the record of the organism's.

    Args:
        folder: Where the result files are; it need not exist.

    Returns:
        The results.

    Raises:
        ValueError: If a file cannot be read.
    """
    files = sorted(folder.glob("*.json"))
    return [*(result for file in files for result in read_results(file)), *read_record()]


def checks_by_claim(rows: Iterable[Row]) -> dict[tuple[str, str, str], list[Criterion]]:
    """Arrange the checks of results by model, instruction and name.

    Args:
        rows: The results.

    Returns:
        Model, instruction and name to checks. The name is a claim's id, ``"C3-opponents"`` for the
        third line of C3, or ``"rules"``.
    """
    return {
        (row.model, row.instruction, name): checks
        for row in rows
        for name, checks in [(row.name, row.checks), *row.also.items()]
    }


def read_results(file: Path) -> list[Result]:
    """Read a result file.

    Args:
        file: A file written by ``make results``.

    Returns:
        The results.

    Raises:
        ValueError: If the file does not have that layout, or lacks a result's provenance.
    """
    try:
        return _File.model_validate_json(file.read_bytes()).rows
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, part['loc'])) or 'the file'}: {part['msg']}"
            for part in error.errors(include_url=False)
        ]
        raise FileContentError(
            f"{file} is not a result file, and a result that does not say what it was made with is "
            f"not shown ({'; '.join(problems[:3])}); make one with: make results MODEL=...",
            file,
        ) from error


def results_table(folder: Path) -> pd.DataFrame:
    """Tabulate the verdicts on real models with their provenance.

    Args:
        folder: Where the result files are; it need not exist.

    Returns:
        A row for each model, instruction and provenance: a column for each claim, then the
        last layer's SAE, dtype, hardware, seed, dates and versions. Empty if there are no files.

    Raises:
        ValueError: If a file cannot be read.
    """
    found: dict[str, list[Result]] = {}
    for file in sorted(folder.glob("*.json")):
        for result in read_results(file):
            alike = result.provenance.model_dump_json(exclude={"date"})
            found.setdefault(f"{file} {result.instruction} {alike}", []).append(result)
    return pd.DataFrame([_row(results) for results in found.values()])


def _row(results: list[Result]) -> dict:
    """Return a row for the results of one instruction with the same provenance."""
    made = results[0].provenance
    row = {"model": made.model, "instruction": results[0].instruction}
    for result in sorted(results, key=lambda result: result.name):
        if result.name != "rules":
            row[result.name] = verdict(result.checks)
    days = sorted({result.provenance.date for result in results})
    return row | {
        "SAE": list(made.saes.values())[-1],
        "dtype": made.dtype,
        "hardware": made.hardware,
        "seed": made.seed,
        "date": " to ".join(dict.fromkeys([days[0], days[-1]])),
        "versions": ", ".join(f"{name} {version}" for name, version in made.versions.items()),
    }
