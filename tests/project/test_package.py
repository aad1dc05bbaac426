"""The package from outside: public names, sizes of files and functions, tests that mirror it."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import saif_helpers
from saif_helpers._internal.progress import progress, watched

PACKAGE = Path(saif_helpers.__file__).parent
TESTS = PACKAGE.parent / "tests"
SUBPACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FILES = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in (".py", ".pyi"))
OTHER_TESTS = {  # what is tested there is no sub-package
    "benchmarks", "chapters", "guarantees", "organism", "project", "support", "tools"
}  # fmt: skip

MOST_NAMES = 70
MOST_LINES = 250
MOST_BODY_LINES = 40
MOST_TOP_LEVEL_LINES = 2600


def n_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def long_bodies(path: Path) -> list[str]:
    """Name the functions of a file whose body, docstring left out, is too long."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if lines > MOST_BODY_LINES:
                found.append(f"{path.relative_to(PACKAGE)}: {node.name} has {lines} lines")
    return found


@pytest.mark.parametrize("name", saif_helpers.__all__)
def test_every_public_name_can_be_imported_and_says_what_it_is(name):
    value = getattr(saif_helpers, name)
    assert value.__name__ == name
    assert value.__module__.startswith("saif_helpers.")
    assert value.__doc__.strip()


def test_the_public_names_are_listed_once_and_are_not_too_many():
    assert set(dir(saif_helpers)) == set(saif_helpers.__all__)
    assert len(set(saif_helpers.__all__)) == len(saif_helpers.__all__) <= MOST_NAMES


def test_an_unknown_name_is_named_in_the_error_with_those_that_there_are():
    with pytest.raises(AttributeError, match=r"side_by_side.*generate"):
        _ = saif_helpers.side_by_side


def test_importing_the_package_imports_no_heavy_library():
    code = (
        "import sys, saif_helpers; "
        "print({'torch', 'nnsight', 'sae_lens', 'transformers', 'pandas', 'matplotlib', 'scipy'}"
        " & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_a_subpackage_says_what_it_is_for_in_a_paragraph(name):
    package = importlib.import_module(f"saif_helpers.{name}")
    doc = (package.__doc__ or "").strip()
    assert doc
    assert doc.splitlines()[0].endswith((".", ":"))


def test_no_file_is_too_long():
    found = [f"{p.relative_to(PACKAGE)}: {n_lines(p)}" for p in FILES if n_lines(p) > MOST_LINES]
    assert not found, f"over {MOST_LINES} lines:\n" + "\n".join(found)


def test_no_function_is_too_long():
    found = [line for path in FILES for line in long_bodies(path)]
    assert not found, f"bodies over {MOST_BODY_LINES} lines:\n" + "\n".join(found)


def test_a_long_function_is_found(tmp_path, monkeypatch):
    path = tmp_path / "long.py"
    body = "    x = 1\n" * MOST_BODY_LINES
    path.write_text(f'def short():\n    """Say.\n\n    More.\n    """\n{body}\ndef long():\n{body}')
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert long_bodies(path) == []
    path.write_text(path.read_text() + "    return x\n")
    assert long_bodies(path) == ["long.py: long has 41 lines"]


def test_the_method_fits_into_few_lines():
    lines = {path.name: n_lines(path) for path in PACKAGE.glob("*.py")}
    assert sum(lines.values()) <= MOST_TOP_LEVEL_LINES, lines


def test_tests_mirror_the_package():
    folders = {path.parent.name for path in TESTS.glob("*/*.py")} - OTHER_TESTS
    assert folders == set(SUBPACKAGES) - {"_internal"}


@pytest.mark.parametrize("name", sorted(set(SUBPACKAGES) - {"_internal"}))
def test_a_subpackages_tests_import_it(name):
    texts = [path.read_text(encoding="utf-8") for path in (TESTS / name).glob("test_*.py")]
    assert any(f"saif_helpers.{name}" in text for text in texts)


def test_bars_are_off_in_the_books_build(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("SAIF_BOOK_BUILD", "1")
    items = [1, 2]
    assert progress(items, "x") is items
    monkeypatch.delenv("SAIF_BOOK_BUILD")
    assert watched()
    assert list(progress(items, "x")) == items
