"""Results on real models: one file per model, made by running the chapters, with provenance.

The book ships only results that were run. ``make results MODEL=gemma-2-2b-it`` makes one.
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saif_helpers._internal.errors import FileContentError
from saif_helpers.study.claims import Criterion, verdict

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


class Result(BaseModel):
    """Result of a chapter on one model.

    Attributes:
        size: Width of the SAEs.
        instruction: Name of the instruction.
        name: What was recorded: a claim's id, or ``"rules"``.
        code: Hash of the cells that were run.
        checks: The checks.
        provenance: Its provenance. Results of one file may come from different days, machines or
            versions.
        layer: The layer that was judged, for C1 and C2.
        setting: The setting that the search chose, for C3.
        shares: Method to strict, loose and broken shares with their bounds, for C3.
        also: Other checks of the chapter by name, such as ``"C3-opponents"``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: str
    instruction: str
    name: str
    code: str
    checks: Annotated[list[Criterion], Field(min_length=1)]
    provenance: Provenance
    layer: int | None = None
    setting: dict | None = None
    shares: dict | None = None
    also: dict[str, list[Criterion]] = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: list[Result]


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


def recorded_results(folder: Path) -> dict[tuple[str, str, str], list[Criterion]]:
    """Read the checks of all result files, as `record.recorded_checks` does for the organism.

    Args:
        folder: Where the result files are; it need not exist.

    Returns:
        Model, instruction and name to the checks.

    Raises:
        ValueError: If a file cannot be read.
    """
    return {
        (result.provenance.model, result.instruction, name): checks
        for file in sorted(folder.glob("*.json"))
        for result in read_results(file)
        for name, checks in [(result.name, result.checks), *result.also.items()]
    }


def result_shares(folder: Path) -> dict[tuple[str, str], dict]:
    """Read the shares behind C3 of all result files, as `record.recorded_shares` does.

    Args:
        folder: Where the result files are; it need not exist.

    Returns:
        Model and instruction to the shares.

    Raises:
        ValueError: If a file cannot be read.
    """
    return {
        (result.provenance.model, result.instruction): result.shares
        for file in sorted(folder.glob("*.json"))
        for result in read_results(file)
        if result.shares
    }


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
