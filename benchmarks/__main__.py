"""Measure the speed of this package and of its alternatives.

Prints a table and writes the rows (see benchmarks.timing) and a description of the machine to
book/benchmarks.json. Parts that are not selected keep their rows.
"""

import argparse
import importlib
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

os.environ["SAIF_BOOK_BUILD"] = "1"  # no progress bars

import pandas as pd

from benchmarks.machine import about
from benchmarks.timing import Options, grouped_notes
from saif_helpers.cache.entry import write

RESULTS = Path(__file__).parents[1] / "book" / "benchmarks.json"
PARTS = {
    "a": "identification",
    "b": "generation",
    "c": "sweep",
    "d": "startup",
    "e": "book_builds",
    "f": "growth",
    "g": "real_model",
    "h": "small_batches",
}


def measured(letter: str, options: Options, kept: dict, here: dict) -> dict:
    """Run a part, and merge its rows with those of earlier parts.

    Args:
        letter: The part to run.
        options: Sizes and repeats.
        kept: The earlier record, or an empty one.
        here: The result of `about` at the start of the run, which itself changes a tracked file.

    Returns:
        The new record: ``about`` with the machine and the date and commit of each part, and
        ``rows``.
    """
    when = {key: here[key] for key in ("machine", "date", "commit")} | {"quick": options.quick}
    told = kept.get("about", {}).get("parts", {}) | {letter: when}
    rows = [one for one in kept.get("rows", []) if one["part"] != letter]
    rows += importlib.import_module(f"benchmarks.{PARTS[letter]}").measure(options)
    rows.sort(key=lambda one: one["part"])  # stable: preserves the order within a part
    return {"about": here | {"parts": dict(sorted(told.items()))}, "rows": rows}


def table(rows: Sequence[dict]) -> pd.DataFrame:
    """Return a table of rows: medians with their ranges.

    Args:
        rows: The rows.

    Returns:
        The table, with columns that fit on a page.
    """
    lines = []
    for one in rows:
        values, ratio = one["values"], one["ratio"]
        line = {"part": one["part"], "work": one["work"], "way": one["way"], "unit": one["unit"]}
        if values:
            line |= {"median": f"{statistics.median(values):.4g}"}
            line |= {"least": f"{min(values):.4g}", "most": f"{max(values):.4g}"}
        if ratio:
            line["ratio"] = "{median:.2f} ({least:.2f} to {most:.2f})".format(**ratio)
        lines.append(line)
    columns = ["part", "work", "way", "unit", "median", "least", "most", "ratio"]
    return pd.DataFrame([dict.fromkeys(columns, "") | line for line in lines], columns=columns)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurements, print a table and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--repeats", type=int, default=5, help="rounds; by default 5")
    quick = "small sizes for a trial: the figures are not meaningful and are only printed"
    parser.add_argument("--quick", action="store_true", help=f"{quick} unless --out is given")
    parser.add_argument("--out", type=Path, help=f"file to write; by default {RESULTS.name}")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"--repeats {given.repeats} given; give at least 1")
    path = given.out or (None if given.quick else RESULTS)
    exists = path is not None and path.exists()
    found = json.loads(path.read_text(encoding="utf-8")) if exists else {}
    here = about()
    for letter in given.parts:
        print(f"part {letter}: {PARTS[letter]}", flush=True)
        found = measured(letter, Options(given.quick, given.repeats), found, here)
        rows = [one for one in found["rows"] if one["part"] == letter]
        print(table(rows).to_string(index=False), sep="\n")
        for way, works, note in grouped_notes(rows):
            print(f"{way} ({'; '.join(works)}): {note}")
        if path is not None:
            write(path, (json.dumps(found, indent=1) + "\n").encode())
            print(f"written: {path}")


if __name__ == "__main__":
    main()
