"""Stress-test the book's guarantees by repeated fault injection, and record the figures.

``make soak`` takes about ten minutes on two cores. It writes ``book/soak.json``, which the page on
guarantees shows, atomically and only if every round succeeded. A sweep on the smallest model
(`soak_sweep`) is killed at random moments and restarted, its disk is filled, two sweeps run at once
on one store, and the entries of the store are damaged. Each time, the final table must be identical
to that of an undisturbed run. The property-based tests then run with many more examples than usual,
followed by the simulations of error rates. ``--quick`` does a little of each in about a minute and
only prints the figures.
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
HIGHER = "higher than nominal:"  # prefix of the names of such rates
QUICK = Amounts(4, 4, disks=1, at_once=1, cases=20, damaged_stores=1, damaged_alike=1)
SMALL = Sizes(pairs=8, contents=2, ks=(3,), strengths=(8.0,), max_new_tokens=6)


def about() -> dict:
    """Describe the machine without naming the host or its location.

    Returns:
        Commit, date, versions and machine.
    """
    told = machine.about()
    cores, memory = f"{told['cores']} cores", f"{told['memory_gib']:.0f} GiB of memory"
    kept = {key: told[key] for key in ("commit", "date", "versions")}
    return kept | {"machine": f"{told['machine']}, {cores}, {memory}"}


def examples(report: str) -> int:
    """Return the number of passing examples in Hypothesis' statistics.

    Args:
        report: The output of pytest with ``--hypothesis-show-statistics``.

    Returns:
        The number of passing examples in the generate phase, which excludes replayed examples.
    """
    return sum(map(int, re.findall(r"generate phase.*?(\d+) passing", report, re.DOTALL)))


def properties(quick: bool) -> dict[str, dict]:
    """Run the property-based tests, with many examples unless `quick`.

    Args:
        quick: Whether to use the default number of examples.

    Returns:
        The figures; empty if there are no such tests.

    Raises:
        BrokenError: If a test fails.
    """
    if not PROPERTIES.exists():
        print("skipped: there are no property-based tests")
        return {}
    command = ["-m", "pytest", "-q", "--hypothesis-show-statistics", "-p", "no:cacheprovider"]
    report = _run([*command, str(PROPERTIES)], {} if quick else {"HYPOTHESIS_PROFILE": "soak"})
    passed = int(re.findall(r"(\d+) passed", report)[-1])
    return {
        "property-based tests": {"value": passed, "unit": "tests"},
        "examples of property-based tests": {"value": examples(report), "unit": "examples"},
    }


def simulations(quick: bool) -> dict[str, dict]:
    """Run the simulations of error rates of intervals and verdicts.

    Args:
        quick: Whether to use only a few draws.

    Returns:
        The figures; empty if there are no simulations.

    Raises:
        BrokenError: If a rate is higher than stated.
    """
    if not SIMULATIONS.exists():
        print("skipped: there are no simulations")
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
    """Run a Python program and return its output; raise if it fails."""
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
    """Run all rounds.

    Args:
        amounts: Numbers of rounds and faults.
        sizes: Sizes of the sweep.
        seed: Seed of all random choices; timing still varies with the speed of the machine.
        folder: Folder for stores and logs.
        quick: Whether this is a quick trial.

    Returns:
        The record: ``about`` and ``figures``.

    Raises:
        BrokenError: If a guarantee is violated.
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
    """Run the command-line program, and write the figures if all guarantees held.

    Args:
        arguments: Command-line arguments; by default those of this process.

    Returns:
        0 if all guarantees held, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument(
        "--kills", type=int, default=Amounts().kills, help="minimum number of kills"
    )
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
        print(f"guarantee violated, with seed {given.seed}: {error}", file=sys.stderr)
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
    signal(SIGTERM, lambda *_: sys.exit("stopped"))  # so that a mounted disk is unmounted
    sys.exit(main())
