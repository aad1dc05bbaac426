"""The workflows on GitHub are well-formed, may do no more than they need, and only call make."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from check_colab_install import SNAPSHOTS
from differences_from_lock import differences

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
MAKE = re.compile(r'make ([a-z-]+)((?: [A-Z]+=(?:"[^"]*"|[\w.-]+))*)')

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def jobs(path: Path) -> dict[str, dict]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def commands(path: Path) -> list[str]:
    """Return the lines that a workflow's steps run."""
    runs = [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]
    return [line for run in runs for line in run.splitlines()]


def schema_check(*paths: Path) -> subprocess.CompletedProcess:
    """Hold workflows against GitHub's schema, which comes with check-jsonschema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    command += ["vendor.github-workflows", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_are_three():
    assert [path.stem for path in WORKFLOWS] == ["book", "tests", "weekly"]


def test_workflows_fit_githubs_schema():
    checked = schema_check(*WORKFLOWS)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_schema_finds_a_wrong_key(tmp_path):
    wrong = tmp_path / "wrong.yml"
    text = WORKFLOWS[0].read_text(encoding="utf-8").replace("timeout-minutes", "time-limit", 1)
    wrong.write_text(text, encoding="utf-8")
    assert "time-limit" in schema_check(wrong).stdout


@each_workflow
def test_a_workflow_only_calls_make_and_only_what_there_is(path):
    for line in commands(path):
        called = MAKE.fullmatch(line)
        assert called, f"{line!r}: what is to be done belongs into the Makefile"
        assert called[1] in TARGETS, f"{line!r}: the Makefile has no such target"


@each_workflow
def test_a_job_ends_in_time_and_may_do_no_more_than_it_needs(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets" not in text
    for name, job in jobs(path).items():
        assert job["timeout-minutes"] <= (180 if name == "slow" else 90)
        rights = {"pages": "write", "id-token": "write"} if name == "deploy" else None
        assert job.get("permissions") == rights
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v0"))


def test_every_push_is_tested_and_main_is_published():
    by_name = {path.stem: path for path in WORKFLOWS}
    assert {MAKE.match(line)[1] for line in commands(by_name["tests"])} == {"test", "check"}
    assert jobs(by_name["tests"])["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    assert [MAKE.match(line)[1] for line in commands(by_name["book"])] == ["book"]
    deploy = jobs(by_name["book"])["deploy"]
    assert deploy["if"].startswith("github.ref == 'refs/heads/main' &&")
    assert deploy["needs"] == "build"


def test_weekly_tries_every_runtime_of_colab_on_its_python():
    (weekly,) = [path for path in WORKFLOWS if path.stem == "weekly"]
    targets = {MAKE.match(line)[1] for line in commands(weekly)}
    assert targets == {"test-all", "newest", "oldest", "colab", "audit"}
    tried = jobs(weekly)["colab"]["strategy"]["matrix"]["include"]
    of_runtime = {
        path.stem: re.search(r"^# Python (3\.\d+)", path.read_text("utf-8"), re.MULTILINE)[1]
        for path in SNAPSHOTS.glob("*.txt")
    }
    assert {row["runtime"]: row["python"] for row in tried} == of_runtime


def test_other_versions_are_tried_with_all_extras():
    """tools/test_versions.sh takes the extras from environment.yml."""
    (extras,) = re.findall(r"\[.*\]", (ROOT / "environment.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.strip("[]").split(",")) == set(project["optional-dependencies"])


def test_what_differs_from_the_lock_is_named():
    lock = "# made\nnumpy==2.4.6\nruamel-yaml==0.19.1 ; sys_platform != 'win32'\ntorch==2.13.0\n"
    here = {"numpy": "2.5.0", "ruamel-yaml": "0.19.1", "torch": "2.13.0+cpu", "pip": "23.0"}
    assert differences(lock, here) == ["numpy: 2.4.6 in the lock, 2.5.0 here"]
