"""What Colab has fits what the package asks for, and the check of it finds what it is to find."""

import json
import re
import tomllib
from pathlib import Path

import check_colab_install
import pytest
from check_colab_install import KEPT, SNAPSHOTS, check_install, replaced, requirement, snapshot
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}
WHEEL = "%pip install -q saif_helpers-0.1.0-py3-none-any.whl{}\\n"
INSTALL = r"%pip install -q \"saif-helpers{} @ git+https://example.org/book\"\n"

each_runtime = pytest.mark.parametrize(
    "path", sorted(SNAPSHOTS.glob("*.txt")), ids=lambda path: path.stem
)


@each_runtime
def test_pip_accepts_colabs_python_and_what_must_stay(path):
    text = path.read_text(encoding="utf-8")
    python = re.search(r"^# Python (\S+)$", text, re.MULTILINE)[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    pins = snapshot(text)
    for name in KEPT:
        assert RANGES[name].contains(pins[name])


@each_runtime
def test_a_snapshot_says_where_it_is_from_and_when(path):
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^# Known from .*\n#.* of \d{4}-\d\d-\d\d", text, re.MULTILINE)
    assert list(snapshot(text)) == sorted(snapshot(text))


def test_chapters_install_the_package_with_their_extras():
    books = [path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.ipynb")]
    wanted = Requirement(requirement(books))
    assert wanted.name == PROJECT["name"]
    assert wanted.extras <= set(PROJECT["optional-dependencies"])


def test_extras_of_all_chapters_count():
    texts = [INSTALL.format(extras) for extras in ("", "[test]", "[ifeval,test]")]
    assert requirement(texts) == "saif-helpers[ifeval,test]"
    assert requirement(texts[:1]) == "saif-helpers"
    assert requirement([WHEEL.format("[ifeval]"), WHEEL.format("")]) == "saif-helpers[ifeval]"


@pytest.mark.parametrize("text", ["", INSTALL.format("") * 2])
def test_a_chapter_without_one_install_line_is_named_as_such(text):
    with pytest.raises(ValueError, match="expected one line that installs the package"):
        requirement([text])


def report(**versions: str) -> dict:
    return {"install": [{"metadata": {"name": n, "version": v}} for n, v in versions.items()]}


def test_replaced_are_only_other_versions_of_what_was_there():
    before = {"numpy": "2.0.2", "ipython-genutils": "0.2.0", "torch": "2.11.0"}
    changes = replaced(
        before, report(numpy="2.4.6", IPython_genutils="0.3", new="1", torch="2.11.0")
    )
    assert changes == {"ipython-genutils": ("0.2.0", "0.3"), "numpy": ("2.0.2", "2.4.6")}


class FakePip:
    """Answers as pip would; what is planned and what then comes about are given."""

    def __init__(self, folder: Path, plan: dict[str, str], conflict: str = ""):
        self.folder, self.plan, self.conflict = folder, plan, conflict
        self.there = {"numpy": "2.0.2", "torch": "2.11.0", "nltk": "3.9.1"}
        self.installed: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
        if arguments[0] == "list":
            return json.dumps([{"name": n, "version": v} for n, v in self.there.items()])
        if arguments[0] == "check":
            return self.conflict or "No broken requirements found.\n"
        if "--dry-run" in arguments:
            (self.folder / "report.json").write_text(json.dumps(report(**self.plan)), "utf-8")
        else:
            self.installed.append(arguments)
            self.there |= self.plan
        return ""


@pytest.fixture
def fake_pip(monkeypatch, tmp_path):
    def make(plan: dict[str, str], conflict: str = "") -> FakePip:
        pip = FakePip(tmp_path, plan, conflict)
        monkeypatch.setattr(check_colab_install, "VENV", tmp_path)
        monkeypatch.setattr(check_colab_install, "pip", pip)
        return pip

    return make


@pytest.mark.parametrize("name", KEPT)
def test_nothing_is_installed_where_it_would_replace_what_must_stay(name, fake_pip):
    pip = fake_pip({name: "9.0"})
    assert check_install("saif-helpers") == [f"pip would replace Colab's {name}"]
    assert pip.installed == []


def test_what_is_replaced_and_new_is_named(fake_pip, capsys):
    pip = fake_pip({"nltk": "3.10.4", "nnsight": "0.8.1"})
    assert check_install("saif-helpers") == []
    assert [call[-1] for call in pip.installed] == ["saif-helpers"]
    printed = capsys.readouterr().out
    assert "would replace nltk 3.9.1 by 3.10.4" in printed
    assert "new: nnsight" in printed


@pytest.mark.parametrize(
    "conflict",
    ["ipython 7.34.0 requires jedi, which is not installed.", "a 1 has requirement b>2, but 1."],
)
def test_packages_that_do_not_fit_each_other_are_a_problem(conflict, fake_pip):
    fake_pip({"nnsight": "0.8.1"}, f"{conflict}\n")
    assert check_install("saif-helpers") == [conflict]
