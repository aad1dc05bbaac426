"""What the audit of the lock says, on what pip-audit answers: a pass must be one."""

import json
import re
import subprocess
from pathlib import Path

import audit
import pytest

LOCK = "# made\nnumpy==2.4.6\nruamel.yaml==0.19.1 ; sys_platform != 'win32'\ntorch==2.13.0\n"
PINNED = {"numpy", "ruamel-yaml", "torch"}
FOUND = {"id": "PYSEC-1", "fix_versions": ["2.13.1"], "aliases": [], "description": "bad"}


def row(name, *vulns):
    return {"name": name, "version": "2.13.0", "vulns": list(vulns)}


def skipped(name):
    return {"name": name, "skip_reason": "Dependency not found on PyPI and could not be audited"}


def report(*rows):
    return json.dumps({"dependencies": rows, "fixes": []})


ALL = [row(name) for name in ("numpy", "ruamel.yaml", "torch")]


def test_the_names_are_those_of_the_lock():
    assert audit.names(LOCK) == PINNED
    lock = (Path(audit.ROOT) / "requirements.lock").read_text(encoding="utf-8")
    assert len(audit.names(lock)) == len(set(re.findall(r"^\w.*==", lock, re.MULTILINE)))


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (report(*ALL), 0, ["audited 3 packages: no known vulnerability"]),
        (
            report(*ALL[:2], row("torch", FOUND, FOUND | {"id": "GHSA-2", "fix_versions": []})),
            1,
            [
                "VULNERABLE: torch 2.13.0: PYSEC-1, fixed in 2.13.1",
                "VULNERABLE: torch 2.13.0: GHSA-2, fixed in no version yet",
            ],
        ),
        (
            report(*ALL[:2], skipped("torch")),
            0,
            ["NOT AUDITED, 1 of 3: torch", "audited 2 packages: no known vulnerability"],
        ),
        (
            report(row("torch", FOUND)),
            1,
            [
                "VULNERABLE: torch 2.13.0: PYSEC-1, fixed in 2.13.1",
                "NOT AUDITED, 2 of 3: numpy, ruamel-yaml",
            ],
        ),
        # pip-audit calls this "No known vulnerabilities found"
        (
            report(*map(skipped, PINNED)),
            0,
            ["NOT AUDITED, the service knows none of the packages; is PyPI itself asked?"],
        ),
        ("", 0, ["NOT AUDITED, no package was looked up: ConnectionError: no route"]),
        (
            "<html>sign in</html>",
            0,
            ["NOT AUDITED, no package was looked up: ConnectionError: no route"],
        ),
    ],
)
def test_only_what_was_looked_up_counts_as_audited(answer, status, said):
    assert audit.judge(answer, "ConnectionError: no route", PINNED) == (status, said)


@pytest.mark.parametrize("on_github", [True, False])
@pytest.mark.parametrize(
    ("answers", "status", "begins"),
    [
        (
            [(1, "", "ERROR: no index")],
            0,
            "NOT AUDITED, no package was looked up: pip-audit cannot",
        ),
        ([(0, "", ""), (1, "", "trace\nConnectionError")], 0, "NOT AUDITED, no package"),
        ([(0, "", ""), (1, report(row("torch", FOUND)), "Found 1")], 1, "VULNERABLE: torch"),
        ([(0, "", ""), (0, report(*ALL), "none")], 0, "NOT AUDITED, "),
    ],
)
def test_the_command_fails_on_findings_alone(
    monkeypatch, tmp_path, capsys, on_github, answers, status, begins
):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, *answers[len(commands) - 1])

    monkeypatch.setattr(audit, "FOLDER", tmp_path / "venv")
    monkeypatch.setattr(audit.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(audit.subprocess, "run", run)
    monkeypatch.setattr(audit.sys, "argv", ["audit.py", "--ignore-vuln", "PYSEC-1"])
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    if on_github:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert audit.main() == status
    mark = ("::error::" if status else "::warning::") if on_github else ""
    assert capsys.readouterr().out.startswith(mark + begins)
    assert len(commands) == len(answers)
    if len(commands) == 2:
        assert commands[1][-2:] == ["--ignore-vuln", "PYSEC-1"]
        assert {"--no-deps", "--disable-pip"} <= set(commands[1])  # or it would install the lock
