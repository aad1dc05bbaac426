"""The repository's address has one place; all others agree with it, and one command changes all."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from set_repository import (
    FROM_WHEEL,
    ROOT,
    WHEEL,
    current,
    files,
    main,
    owner_and_name,
    pages,
    published,
    set_repository,
)

import saif_helpers

NEW = "/".join(("https://github.com", "another-1", "book.of_SAIF"))  # joined: no file has it
# A link to the repository where it is meant as ours: badges open it, install lines fetch it.
OURS = re.compile(
    r"(?:colab\.research\.google\.com/github|git\+https://github\.com)/([\w.-]+/[\w-]+(?:\.\w+)*)"
)


def links(root: Path) -> dict[str, list[str]]:
    """Return the repositories that the files' badges and install lines name."""
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in files(root)}
    return {name: OURS.findall(text) for name, text in texts.items() if OURS.search(text)}


def assert_all_places_agree(root: Path, *, published: bool) -> None:
    url, found = current(root), links(root)
    notebooks = {path.relative_to(root).as_posix() for path in (root / "book").glob("*.ipynb")}
    assert notebooks
    for name in notebooks | {"README.md"}:
        text = (root / name).read_text(encoding="utf-8")
        expected = 2 if published or name == "README.md" else 1
        assert len(found.get(name, [])) == expected, f"{name}: a badge, and an install line"
        assert ("<!-- published:" in text) != published
        if name in notebooks:
            assert len(FROM_WHEEL.findall(text)) == 1 - published
    assert {name for names in found.values() for name in names} == {owner_and_name(url)}
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == citation["repository-code"] == url
    assert bool(config["launch_buttons"]["colab_url"]) == published
    assert config["html"]["baseurl"] == (pages(url) if published else "")


@pytest.fixture
def copied(tmp_path) -> Path:
    for path in files(ROOT):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


def test_all_places_agree():
    assert_all_places_agree(ROOT, published=False)


def test_the_wheel_has_the_name_that_set_up_cells_install():
    assert f"saif_helpers-{saif_helpers.__version__}-py3-none-any.whl" == WHEEL


def test_one_command_changes_all_places_and_nothing_else(copied):
    old = current(copied)
    before = {path: path.read_bytes() for path in files(copied)}
    changed = set_repository(copied, NEW)
    assert current(copied) == NEW
    assert_all_places_agree(copied, published=True)
    assert not any(old.encode() in path.read_bytes() for path in files(copied))
    there = owner_and_name(old).encode(), owner_and_name(NEW).encode()
    for path, text in before.items():
        assert (path.read_bytes() != text) == (path in changed)
        opened = published(text.decode(), path.suffix, old).encode()
        back = path.read_bytes().replace(pages(NEW).encode(), pages(old).encode())
        assert back.replace(there[1], there[0]) == opened
        if path.suffix == ".ipynb":
            json.loads(path.read_bytes())
    assert set_repository(copied, NEW) == [], "a second run changes nothing"


def test_an_address_that_begins_with_ours_is_another(copied):
    other = copied / "book" / "other.md"
    text = f"{current(copied)}-2 {current(copied)}.js {current(copied)}."
    other.write_bytes((text + "\r\n").encode())
    assert other in set_repository(copied, NEW)
    first, second, third = other.read_bytes().decode().split(" ")
    assert text.startswith(f"{first} {second}")
    assert third == f"{NEW}.\r\n"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "owner/name",
        "https://github.com/owner",
        "https://github.com/owner/name/",
        "https://github.com/owner/name.git",
        "https://github.com/owner/..",
        "https://github.com/-owner/name",
        "https://github.com/owner/name other",
        "https://gitlab.com/owner/name",
        "http://github.com/owner/name",
        'https://github.com/owner/name"',
    ],
)
def test_what_is_no_address_changes_nothing(copied, url, monkeypatch, capsys):
    monkeypatch.setattr("set_repository.ROOT", copied)
    before = {path: path.read_bytes() for path in files(copied)}
    assert main(url.split(" ")) == 1
    assert "expected https://github.com/owner/name" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in files(copied)} == before


def test_made_files_and_environments_are_left_alone(tmp_path):
    for folder in (".venv", "_build/html", ".github/workflows", "book"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "page.md").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in files(tmp_path)]
    assert found == [".github/workflows/page.md", "book/page.md"]
