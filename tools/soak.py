"""Disturb a run in every way that the book says it survives, many times, and write the figures.

``make soak`` takes some ten minutes on two cores and writes ``book/soak.json``, which the page on
what is guaranteed shows: whole, and only if every round ended as it must. A sweep on the smallest
model (`soak_sweep`) is killed at random moments and started again, its disk is filled, two of them
run at once on one store, and the entries of its store are damaged. Each time the final table has to
be that of an undisturbed run, byte for byte. Then come the property-based tests, with many more
examples than usual, and the simulations of how often verdicts are wrong. ``--quick`` does a little
of each, in about a minute, and only prints it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from shutil import rmtree
from signal import SIGTERM, signal

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)] * (str(ROOT) not in sys.path)

from benchmarks import machine  # noqa: E402
from saif_helpers.cache.entry import write  # noqa: E402
from tools.soak_rounds import damage, full_disks, kills, two_at_once  # noqa: E402
from tools.soak_runs import Amounts, BrokenError, Soak  # noqa: E402
from tools.soak_sweep import Sizes  # noqa: E402

RESULT = ROOT / "book" / "soak.json"
DRAWS = 2000  # for each simulated rate
PROPERTIES = ROOT / "tests" / "guarantees" / "test_properties.py"
SIMULATIONS = ROOT / "tools" / "simulate.py"
RATE = re.compile(r"^([\d.]+)  (.*) \(nominal ([\d.]+), stated ([\d.]+), .*\)", re.MULTILINE)
HIGHER = "higher than nominal:"  # before the names of such rates
QUICK = Amounts(4, 4, disks=1, at_once=1, cases=20, damaged_stores=1, damaged_alike=1)
SMALL = Sizes(pairs=8, contents=2, ks=(3,), strengths=(8.0,), max_new_tokens=6)


def about() -> dict:
    """Say what the soak ran on, in words that name no host and no place.

    Returns:
        Commit, date, versions and machine.
    """
    told = machine.about()
    cores, memory = f"{told['cores']} cores", f"{told['memory_gib']:.0f} GiB of memory"
    kept = {key: told[key] for key in ("commit", "date", "versions")}
    return kept | {"machine": f"{told['machine']}, {cores}, {memory}"}


def examples(report: str) -> int:
    """Add up the examples that Hypothesis' statistics count as passing.

    Args:
        report: What pytest printed with ``--hypothesis-show-statistics``.

    Returns:
        Their number, those of the generate phase: examples tried again do not count.
    """
    return sum(map(int, re.findall(r"generate phase.*?(\d+) passing", report, re.DOTALL)))


def properties(quick: bool) -> dict[str, dict]:
    """Run the property-based tests, at soak size unless `quick`.

    Args:
        quick: Whether to leave them at their usual size.

    Returns:
        Figures; none where there are no such tests.

    Raises:
        BrokenError: If one of them fails.
    """
    if not PROPERTIES.exists():
        print("no property-based tests are there: left out")
        return {}
    command = ["-m", "pytest", "-q", "--hypothesis-show-statistics", "-p", "no:cacheprovider"]
    report = _run([*command, str(PROPERTIES)], {} if quick else {"HYPOTHESIS_PROFILE": "soak"})
    passed = int(re.findall(r"(\d+) passed", report)[-1])
    return {
        "property-based tests": {"value": passed, "unit": "tests"},
        "examples of property-based tests": {"value": examples(report), "unit": "examples"},
    }


def simulations(quick: bool) -> dict[str, dict]:
    """Simulate how often intervals and verdicts are wrong, where the truth is known.

    Args:
        quick: Whether a few draws are enough.

    Returns:
        Figures; none where there are no simulations.

    Raises:
        BrokenError: If a rate is higher than stated.
    """
    if not SIMULATIONS.exists():
        print("no simulations are there: left out")
        return {}
    draws = DRAWS // 10 if quick else DRAWS
    report = _run([str(SIMULATIONS), "--draws", str(draws)], {})
    rates = RATE.findall(report)
    higher = {
        f"{HIGHER} {name.replace(': ', ', ')}": {
            "value": float(f"{100 * float(observed):.3g}"),
            "unit": "%",
            "nominal": 100 * float(nominal),
        }
        for observed, name, nominal, stated in rates
        if float(stated) > float(nominal)
    }
    return {
        "simulated rates of error": {"value": len(rates), "unit": "rates"},
        "simulations for each rate": {"value": draws, "unit": "simulations"},
        **higher,
    }


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    """Run a Python program, return what it prints, and fail as it fails."""
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        said = (run.stdout + run.stderr)[-4000:]
        raise BrokenError(f"{' '.join(arguments)} ended with code {run.returncode}:\n{said}")
    return run.stdout


def soak(amounts: Amounts, sizes: Sizes, seed: int, folder: Path, quick: bool) -> dict:
    """Do all rounds.

    Args:
        amounts: How much is done.
        sizes: Of the sweep.
        seed: Decides all that is random but how fast the machine is.
        folder: For everything that is written on the way.
        quick: Whether it is only tried out.

    Returns:
        What to write down: ``about`` and ``figures``.

    Raises:
        BrokenError: If what is guaranteed did not hold.
    """
    started, said = time.monotonic(), about()
    rounds = Soak(folder, sizes, amounts, Random(seed))
    for part in (kills, full_disks, two_at_once, damage):
        part(rounds)
    figures = rounds.figures | properties(quick) | simulations(quick)
    minutes = round((time.monotonic() - started) / 60, 1)
    figures["time of the soak"] = {"value": minutes, "unit": "minutes"}
    return {"about": said | {"seed": seed}, "figures": figures}


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, soak, and write the figures if all held.

    Args:
        arguments: The command line; by default this process's.

    Returns:
        0 if all held, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=Amounts().kills, help="at least so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a little of each; writes no file")
    parser.add_argument("--out", type=Path, help=f"file to write; by default {RESULT.name}")
    given = parser.parse_args(arguments)
    os.environ |= {"SAIF_BOOK_BUILD": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    amounts = QUICK if given.quick else Amounts(kills=given.kills)
    sizes = SMALL if given.quick else Sizes()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        found = soak(amounts, sizes, given.seed, folder, given.quick)
    except BrokenError as error:
        print(f"NOT as guaranteed, with seed {given.seed}: {error}", file=sys.stderr)
        print(f"the stores and logs are kept in {folder}", file=sys.stderr)
        return 1
    rmtree(folder)
    text = json.dumps(found, indent=1) + "\n"
    print(text)
    path = given.out or (None if given.quick else RESULT)
    if path:
        write(path, text.encode())
    return 0


if __name__ == "__main__":
    signal(SIGTERM, lambda *_: sys.exit("stopped"))  # so that a mounted disk is let go
    sys.exit(main())
