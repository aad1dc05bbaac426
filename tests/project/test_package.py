import ast
import subprocess
import sys
from pathlib import Path

import pytest

import saif_helpers
from saif_helpers._internal.progress import progress, watched

PACKAGE = Path(saif_helpers.__file__).parent
STATIONS = [
    "versions", "arguments", "progress", "gguf_files", "smollm2", "graders", "broken",
    "translations",
    "natural_graders", "response_graders", "ifeval", "instructions", "tokens", "prompts",
    "parallel", "zoo", "needs", "untrusted", "hub", "entries", "store", "saes", "remote", "models",
    "loading", "batching", "kept", "activations",
    "latents", "ranking", "vectors", "interventions", "steering", "references", "asking", "grades",
    "settings", "rules", "answers", "rubric", "endpoint", "judge", "kappa", "selection", "controls",
    "verdicts", "made_with", "results", "specificity", "proximity", "influence", "contexts",
    "cards", "effects", "figures", "frames", "study", "dry_run", "memory", "playground",
]  # fmt: skip


def test_every_public_name_is_there():
    for name in saif_helpers.__all__:
        assert getattr(saif_helpers, name) is not None
    assert set(dir(saif_helpers)) == set(saif_helpers.__all__)


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(AttributeError, match=r"no name 'steer'; it has .*generate"):
        _ = saif_helpers.steer


def test_importing_the_package_imports_no_heavy_library():
    code = "import sys, saif_helpers; print({'torch', 'nnsight', 'sae_lens'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert result.stdout.strip() == "set()"


def test_a_module_imports_only_stations_before_it():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *STATIONS}
    for index, station in enumerate(STATIONS):
        tree = ast.parse((PACKAGE / f"{station}.py").read_text(encoding="utf-8"))
        imported = {
            node.module.removeprefix("saif_helpers.")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module.startswith("saif_helpers")
        }
        assert imported <= set(STATIONS[:index]), station


def test_bars_are_off_in_the_books_build(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("SAIF_BOOK_BUILD", "1")
    items = [1, 2]
    assert progress(items, "x") is items
    monkeypatch.delenv("SAIF_BOOK_BUILD")
    assert watched()
    assert list(progress(items, "x")) == items
