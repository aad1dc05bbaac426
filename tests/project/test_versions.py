import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from saif_helpers._internal import versions
from saif_helpers._internal.versions import LIBRARIES, in_range, supported, warn_if_unsupported

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = {wanted.name: wanted.specifier for wanted in map(Requirement, PROJECT["dependencies"])}


@pytest.fixture
def installed(monkeypatch):
    """Return a function that says which versions are installed, as far as metadata go."""

    def pretend(**changed):
        there = {name: version(name) for name in LIBRARIES} | changed

        def look_up(name):
            if there[name] is None:
                raise PackageNotFoundError(name)
            return there[name]

        monkeypatch.setattr(versions, "requires", lambda _: PROJECT["dependencies"])
        monkeypatch.setattr(versions, "version", look_up)

    return pretend


def test_the_ranges_are_pyprojects(installed):
    installed()
    assert list(supported()) == list(LIBRARIES)
    assert {name: SpecifierSet(bounds) for name, bounds in supported().items()} == {
        name: WANTED[name] for name in LIBRARIES
    }
    assert all(bounds.startswith(">=") for bounds in supported().values())
    assert {bound.operator for name in LIBRARIES for bound in WANTED[name]} <= {">=", "<"}


def test_the_ranges_are_read_as_the_metadata_write_them(monkeypatch):
    lines = ["torch>=2.6", "nnsight<0.9,>=0.8", 'torchx>=1; extra == "book"', "pandas>=2.2"]
    monkeypatch.setattr(versions, "requires", lambda _: lines)
    assert supported() == {"nnsight": ">=0.8,<0.9", "torch": ">=2.6"}
    monkeypatch.setattr(versions, "requires", lambda _: None)
    assert supported() == {}


@pytest.mark.parametrize("bounds", [">=0.8,<0.9", ">=5.9,<6", ">=2.6", "<7,>=6.54"])
@pytest.mark.parametrize(
    "release",
    ["0.7.99", "0.8", "0.8.0", "0.8.1", "0.9", "0.10.1", "5.8.9", "5.9", "5.23.0", "6", "6.0.0.1"],
)
@pytest.mark.parametrize("local", ["", ".0", "+cpu", "+cu124", ".post1"])
def test_a_range_holds_what_pip_says_it_holds(release, local, bounds):
    wanted = SpecifierSet(bounds).contains(release + local, prereleases=True)
    assert in_range(release + local, bounds) == wanted


def test_a_candidate_for_the_next_release_counts_as_the_release():
    assert not in_range("0.9.0rc1", ">=0.8,<0.9")


def test_supported_versions_are_not_mentioned(installed):
    installed()
    warn_if_unsupported()  # a warning would be an error
    installed(torch=None)
    warn_if_unsupported()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"nnsight": "0.9.2"},
            'installed: nnsight 0.9.2; .* Run: pip install "nnsight>=0.8.1,<0.9"',
        ),
        ({"torch": "2.5.1+cu121"}, r"installed: torch 2.5.1\+cu121; .* supports torch >=2.6\."),
        (
            {"transformers": "4.57.1", "sae-lens": "7.0.0"},
            'installed: sae-lens 7.0.0, transformers 4.57.1; .*"sae-lens>=.* "transformers>=5',
        ),
    ],
)
def test_an_unsupported_version_gets_one_line_that_says_what_to_do(installed, changed, said):
    installed(**changed)
    with pytest.warns(UserWarning, match=said) as caught:
        warn_if_unsupported()
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)


IMPORT = """
import importlib.metadata, sys
there = importlib.metadata.version
importlib.metadata.version = lambda name: "0.9.9" if name == "nnsight" else there(name)
importlib.metadata.requires = lambda name: ["nnsight>=0.8,<0.9", "torch>=2.6"]
import saif_helpers
import saif_helpers.graders
print({"torch", "nnsight", "packaging"} & set(sys.modules))
"""


def test_importing_the_package_says_it_once_on_the_importing_line(tmp_path):
    (tmp_path / "mine.py").write_text(IMPORT)
    ran = subprocess.run(
        [sys.executable, "mine.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr.count("installed: nnsight 0.9.9;") == 1
    assert "mine.py:6: UserWarning" in ran.stderr
    assert ran.stdout == "set()\n"


def test_a_copy_that_is_not_installed_is_used_without_a_word(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "requires", missing)
    warn_if_unsupported()
    assert supported() == {}
