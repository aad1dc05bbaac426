"""Check the packages in requirements.lock for known vulnerabilities with pip-audit.

Run by ``make audit``. pip-audit runs in a separate environment; it queries PyPI for advisories by
name and version and does not install the locked packages. If the query fails, this script prints
``NOT AUDITED`` and exits with 0. It exits with 1 if a package has a known vulnerability. Arguments
are passed on to pip-audit, for example ``--ignore-vuln ID``.
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
    """Evaluate the report of pip-audit.

    pip-audit itself reports no vulnerabilities if the service knows none of the packages.

    Args:
        report: The JSON report, empty if pip-audit failed.
        problem: The last line of its error output.
        pinned: The canonical package names in the lock.

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
    """Return the canonical form of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(lock: str) -> set[str]:
    """Return the canonical names of the packages that a lock pins."""
    return {canonical(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}


def said(run: subprocess.CompletedProcess) -> str:
    """Return the last line of a failed command's error output."""
    return (run.stderr.strip().splitlines() or [""])[-1]


def run_tool(lock: Path, options: list[str]) -> tuple[str, str]:
    """Install pip-audit if it is missing, and run it.

    Args:
        lock: The lock.
        options: Additional options for pip-audit.

    Returns:
        Its report, empty if there is none, and the last line of its error output.
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
    """Run the audit, print the result and return the exit status."""
    lock = ROOT / "requirements.lock"
    status, lines = judge(*run_tool(lock, sys.argv[1:]), names(lock.read_text(encoding="utf-8")))
    # GitHub shows lines with these prefixes as annotations above the log.
    marks = {"VULNERABLE": "::error::", "NOT": "::warning::"}
    for line in lines:
        mark = marks.get(re.match(r"\w+", line)[0], "") if "GITHUB_ACTIONS" in os.environ else ""
        print(mark + line)
    return status


if __name__ == "__main__":
    sys.exit(main())
