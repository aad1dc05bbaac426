"""The files around the package agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from check_pages import toc_files
from make_environment import environment_yml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(text("pyproject.toml"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
RANGES = [Requirement(line) for line in sum(EXTRAS.values(), start=list(PROJECT["dependencies"]))]
LOCKED = [
    Requirement(line) for line in text("requirements.lock").splitlines() if line[:1] not in "#"
]
TARGETS = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))


def test_environment_yml_is_what_pyproject_makes_of_it():
    assert text("environment.yml") == environment_yml(text("pyproject.toml"))


def test_environment_yml_has_pyprojects_python_and_all_its_extras():
    dependencies = yaml.safe_load(text("environment.yml"))["dependencies"]
    pythons = [d for d in dependencies if isinstance(d, str) and d.split()[0] == "python"]
    assert [SpecifierSet(p.removeprefix("python").strip()) for p in pythons] == [
        SpecifierSet(PROJECT["requires-python"])
    ]
    (pip,) = [d["pip"] for d in dependencies if isinstance(d, dict)]
    (editable,) = [line for line in pip if line.startswith("--editable")]
    assert set(re.search(r"\[(.*)]", editable)[1].split(",")) == set(EXTRAS)
    assert "--requirement requirements.lock" in pip


@pytest.mark.parametrize("wanted", RANGES, ids=lambda r: r.name)
def test_lock_satisfies_every_range(wanted):
    name = canonicalize_name(wanted.name)
    pins = [r for r in LOCKED if canonicalize_name(r.name) == name]
    assert pins, f"{wanted.name} is not in requirements.lock: run make lock"
    for pin in pins:
        (version,) = [spec.version for spec in pin.specifier]
        assert wanted.specifier.contains(version), f"{pin} is outside {wanted}: run make lock"


def test_lock_pins_everything_and_names_no_place():
    for pin in LOCKED:
        assert [spec.operator for spec in pin.specifier] == ["=="], f"{pin} is not pinned"
        assert not pin.url
    assert not re.search(r"://|^-|\+|^/|file:", text("requirements.lock"), re.MULTILINE)


def test_lock_has_the_torch_that_pyproject_asks_for():
    tool = tomllib.loads(text("pyproject.toml"))["tool"]
    (pin,) = [r for r in LOCKED if r.name == "torch"]
    assert tool["uv"]["constraint-dependencies"] == [str(pin)]


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_colab_keeps_its_own(name):
    (wanted,) = [Requirement(line) for line in PROJECT["dependencies"] if line.startswith(name)]
    assert [spec.operator for spec in wanted.specifier] == [">="], "an upper bound may downgrade"


def test_versions_are_told_once():
    """Only pyproject.toml gives ranges, only the lock gives pins."""
    names = {canonicalize_name(r.name) for r in RANGES}
    pinned = re.compile(r"\b([A-Za-z][\w.-]*?)(?:\[[\w,]*])?\s?(?:==|~=|>=|<=)\s?\d")
    # In a notebook too: its set-up cell must not repeat a range.
    files = ["Makefile", "README.md", "environment.yml", ".ci/run", "_config.yml"]
    files += [p.relative_to(ROOT).as_posix() for p in (ROOT / "book").glob("*.ipynb")]
    files += [p.relative_to(ROOT).as_posix() for p in (ROOT / "tools").iterdir() if p.is_file()]
    repeated = {
        (file, found)
        for file in files
        for found in pinned.findall(text(file))
        if canonicalize_name(found) in names
    }
    assert not repeated


def test_readme_names_only_commands_that_exist():
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text("README.md"), re.MULTILINE))
    assert {"book", "test"} <= named <= TARGETS


def test_ci_runs_the_two_commands():
    assert {"book", "test"} <= set(re.findall(r"make ([a-z]+)", text(".ci/run"))) <= TARGETS


def test_readme_explains_every_folder():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and p.name[0] not in "._"}
    folders -= {p for p in folders if p.endswith(".egg-info") or p in {"build", "dist", "shared"}}
    explained = set(re.findall(r"^\| `(\w+)/`", text("README.md"), re.MULTILINE))
    assert explained == folders


def test_readme_pictures_exist():
    for target in re.findall(r"!\[[^]]*]\(([^)]+)\)", text("README.md")):
        assert (ROOT / target).is_file(), f"README.md shows {target}, which does not exist"


def test_toc_files_exist():
    pages = toc_files(yaml.safe_load(text("_toc.yml")))
    assert pages[0] == "book/index"
    for page in pages:
        assert any((ROOT / f"{page}{ending}").is_file() for ending in (".md", ".ipynb")), page


def test_book_keeps_to_jupyter_book_1():
    (book,) = [r for r in RANGES if r.name == "jupyter-book"]
    assert not book.specifier.contains("2.0.0")


def test_package_data_are_listed():
    """What an install would copy is saif_helpers/data, and what type checkers read."""
    setuptools = tomllib.loads(text("pyproject.toml"))["tool"]["setuptools"]
    package = ROOT / "saif_helpers"
    listed = {
        file
        for pattern in setuptools["package-data"]["saif_helpers"]
        for file in package.glob(pattern.replace("**", "**/*"))
        if file.is_file()
    }
    data = {file for file in (package / "data").rglob("*") if file.is_file()}
    assert data
    assert listed == data | {package / "py.typed", package / "__init__.pyi"}


def test_citation_and_licence_agree_with_the_project():
    from saif_helpers import __version__

    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert citation["version"] == __version__
    assert citation["references"][0]["doi"] == "10.48550/arXiv.2502.11356"
    assert PROJECT["authors"][0]["name"] in text("LICENSE")
