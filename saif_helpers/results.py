"""Results on real models: one file a model, made by running the chapters, with its provenance.

The book ships none that was not run. ``make results MODEL=gemma-2-2b-it`` makes one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field, TypeAdapter

from saif_helpers.verdicts import Check, verdict

PROVENANCE = {"model", "commit", "dtype", "saes", "versions", "hardware", "seed", "date"}
ROW = {"size", "instruction", "name", "code", "checks"}
CHECKS = TypeAdapter(Annotated[list[Check], Field(min_length=1)])
NAMES = TypeAdapter(Annotated[dict[str, str], Field(min_length=1)])


@dataclass(frozen=True)
class Results:
    """What the chapters found on one model.

    Attributes:
        file: Where it was read from.
        provenance: What it was made with, see `provenance.provenance`.
        checks: Instruction and what was recorded (a claim's id, or ``"rules"``) to the checks.
    """

    file: Path
    provenance: dict
    checks: dict[tuple[str, str], list[Check]]


def read_results(file: Path) -> Results:
    """Read a result file.

    Args:
        file: What `make results` wrote.

    Returns:
        The results.

    Raises:
        ValueError: If the file is not JSON of that layout, or says not what it was made with.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        made, rows = data["provenance"], data["rows"]
        missing = sorted(PROVENANCE - set(made))
        missing += sorted({key for row in rows for key in ROW - set(row)})
        if not missing:
            for name in ("saes", "versions"):
                NAMES.validate_python(made[name])
        checks = {
            (row["instruction"], row["name"]): CHECKS.validate_python(row["checks"])
            for row in ([] if missing else rows)
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a result file ({error}); make one with: make results MODEL=..."
        ) from error
    if missing:
        raise ValueError(
            f"{file} lacks {', '.join(missing)}; a result without them cannot be checked, so it is "
            "not shown. Make the file with: make results MODEL=..."
        )
    return Results(file, made, checks)


def results_table(folder: Path) -> pd.DataFrame:
    """Set the verdicts on real models side by side, each with what it was made with.

    Args:
        folder: Where the result files are; it need not exist.

    Returns:
        A row for each model and instruction: a column for each claim, then the last layer's SAE,
        number format, hardware, versions, seed and date. Empty if there is no file.

    Raises:
        ValueError: If a file cannot be read.
    """
    rows = []
    for file in sorted(folder.glob("*.json")):
        results = read_results(file)
        made = results.provenance
        for instruction in dict.fromkeys(name for name, _ in results.checks):
            row = {"model": made["model"], "instruction": instruction}
            row |= {
                claim: verdict(checks)
                for (name, claim), checks in sorted(results.checks.items())
                if name == instruction and claim != "rules"
            }
            row |= {"SAE": list(made["saes"].values())[-1], "number format": made["dtype"]}
            row |= {key: made[key] for key in ("hardware", "seed", "date")}
            row["versions"] = ", ".join(f"{name} {v}" for name, v in made["versions"].items())
            rows.append(row)
    return pd.DataFrame(rows)
