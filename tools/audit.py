"""Look the packages of requirements.lock up among the known vulnerabilities, with pip-audit.

Run by ``make audit``. pip-audit has an environment of its own; it asks PyPI for the advisories on
names and versions, and installs nothing of the lock. Where it cannot ask, this says ``NOT AUDITED``
and ends without an error; it ends with one where a package has a known vulnerability. Arguments are
handed to pip-audit, such as ``--ignore-vuln ID``.
"""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-audit"
TOOL = "pip-audit>=2.9,<3"
OPTIONS = ("--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off", "--timeout=20")


def judge(report: str, problem: str, pinned: set[str]) -> tuple[int, list[str]]:
    """Read what pip-audit found.

    pip-audit itself reports no vulnerability where the service knows none of the packages.

    Args:
        report: What it wrote: JSON, or nothing if it failed.
        problem: The last line of what it said beside it.
        pinned: The names in the lock, canonical.

    Returns:
        The exit status, 1 if a package is vulnerable, and the lines to print.
    """
    try:
        rows = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, [f"NOT AUDITED, no package was looked up: {problem or 'pip-audit said nothing'}"]
    audited = {canonical(row["name"]): row for row in rows if "vulns" in row}
    lines = [
        f"VULNERABLE: {name} {row['version']}: {found['id']}, fixed in "
        f"{', '.join(found['fix_versions']) or 'no version yet'}"
        for name, row in sorted(audited.items())
        for found in row["vulns"]
    ]
    status = int(bool(lines))
    if not audited:
        return 0, ["NOT AUDITED, the service knows none of the packages; is PyPI itself asked?"]
    left_out = sorted(pinned - audited.keys())
    if left_out:
        lines.append(f"NOT AUDITED, {len(left_out)} of {len(pinned)}: {', '.join(left_out)}")
    if not status:
        lines.append(f"audited {len(audited)} packages: no known vulnerability")
    return status, lines


def canonical(name: str) -> str:
    """Return a package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(lock: str) -> set[str]:
    """Return the names that a lock pins, canonical."""
    return {canonical(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}


def said(run: subprocess.CompletedProcess) -> str:
    """Return the last line that a failed command wrote to its error output."""
    return (run.stderr.strip().splitlines() or [""])[-1]


def run_tool(lock: Path, options: list[str]) -> tuple[str, str]:
    """Install pip-audit where it is missing, and run it.

    Args:
        lock: The lock.
        options: More options for it.

    Returns:
        Its report, empty if there is none, and the last line of what it said beside it.
    """
    python = FOLDER / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(FOLDER, with_pip=True)
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "-qq", TOOL]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        return "", f"pip-audit cannot be installed: {said(installed)}"
    audit = [python, "-m", "pip_audit", "--requirement", lock, *OPTIONS, *options]
    audited = subprocess.run(audit, capture_output=True, text=True, check=False)
    return audited.stdout, said(audited)


def main() -> int:
    """Audit, and print what was found."""
    lock = ROOT / "requirements.lock"
    status, lines = judge(*run_tool(lock, sys.argv[1:]), names(lock.read_text(encoding="utf-8")))
    # GitHub shows lines that begin so above the run's log.
    marks = {"VULNERABLE": "::error::", "NOT": "::warning::"}
    for line in lines:
        mark = marks.get(re.match(r"\w+", line)[0], "") if "GITHUB_ACTIONS" in os.environ else ""
        print(mark + line)
    return status


if __name__ == "__main__":
    sys.exit(main())
