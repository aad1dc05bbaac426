"""Check that the record of all models still says what the chapters find: run by ``make book``.

The record (``make verdicts``) is made once and shipped. Its rows for the model and the instruction
that the chapters have in their configuration cells must give the verdicts that this build found.
"""

import json
import sys
from pathlib import Path

from judge_models import AT_THE_STEERED_LAYER, CHAPTERS, RECORD, ROOT

from saif_helpers.intervals import Interval
from saif_helpers.study.claims import Criterion, verdict

BUILT = {"size": "M", "instruction": "french"}
"""What the chapters' configuration cells say."""


def differences(rows: list[dict], executed: Path) -> list[str]:
    """Compare the verdicts of the record with those of this build's chapters.

    Args:
        rows: The record.
        executed: Folder where MyST-NB keeps what each chapter has left (its glue).

    Returns:
        One line for each claim whose verdict differs or is missing.
    """
    kept = {row["name"]: row["checks"] for row in rows if BUILT.items() <= row.items()}
    problems = []
    for claim, chapter in CHAPTERS.items():
        if claim.startswith("C"):
            found = _verdict(_left(executed, chapter, claim))
            record = _verdict(kept[claim]) if claim in kept else "nothing"
            if found != record:
                problems.append(
                    f"{claim}: {chapter} finds {found!r}, the record says {record!r}; "
                    "run make verdicts"
                )
    chosen = _left(executed, CHAPTERS["C3"], "C3-setting")["layer"]
    for claim in AT_THE_STEERED_LAYER:
        judged = _left(executed, CHAPTERS[claim], f"{claim}-judged")["layer"]
        if judged != chosen:
            problems.append(
                f"{claim} is judged at layer {judged}, but C3's search chose layer {chosen}: set "
                f"LAYER in {CHAPTERS[claim]}"
            )
    return problems


def _left(executed: Path, chapter: str, name: str) -> dict:
    left = json.loads((executed / f"{chapter}.glue.json").read_text(encoding="utf-8"))
    (text,) = left[f"{name}-data"]["data"].values()
    return json.loads(text)


def _verdict(rows: list[dict]) -> str:
    return verdict([Criterion(**row | {"interval": Interval(**row["interval"])}) for row in rows])


def main() -> int:
    """Compare and print what differs.

    Returns:
        0 if nothing differs, else 1.
    """
    rows = json.loads(RECORD.read_text(encoding="utf-8"))
    problems = differences(rows, ROOT / "_build" / "jupyter_execute" / "book")
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("the record of all models agrees with this build")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
