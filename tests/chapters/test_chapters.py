"""Every chapter of the book runs from its first cell to its last, in a fresh kernel, offline.

Here with small sizes, as a reader in a hurry would set them in the configuration cell; building the
book runs the same chapters as they stand.
"""

import re
import socket
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
import yaml
from check_pages import toc_files
from judge_models import config_cell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[2]

TIME_LIMIT = 300  # seconds for one cell; a chapter is to take less than 90 altogether
SMALL = 12  # no number of samples is larger than this
SMALL_SIZES = f"""
for name, value in list(globals().items()):
    if name.startswith("N_"):
        globals()[name] = min(value, {SMALL})
    elif name == "ROUNDS":
        ROUNDS = (1, 2, 3)
    elif name in ("BETAS", "STRENGTHS", "DECAYS"):
        globals()[name] = value[:2]
"""
TOC = toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
CHAPTERS = [name for name in TOC if (ROOT / f"{name}.ipynb").exists()]
QUICK = ("book/03_finding_the_latents",)
"""Run by ``make test``; the others take a minute each, and ``make book`` runs them all."""


def test_every_notebook_of_the_book_is_a_chapter():
    there = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in (ROOT / "book").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    }
    assert there == set(CHAPTERS), "a notebook is not in _toc.yml, so it is neither built nor run"


def test_the_page_on_this_build_names_versions_and_machine_but_no_place():
    from myst_nb.core.read import read_myst_markdown_notebook

    notebook = read_myst_markdown_notebook((ROOT / "book/build.md").read_text(encoding="utf-8"))
    assert notebook.metadata["mystnb"]["execution_mode"] == "force", "a cached page would be stale"
    where = {"metadata": {"path": str(ROOT / "book")}}
    NotebookClient(notebook, timeout=TIME_LIMIT, kernel_name="python3", resources=where).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = "\n".join(output.data["text/plain"] for cell in cells for output in cell.outputs)
    for name in ("torch", "nnsight", "sae-lens", "transformers", "jupyter-book", "saif-helpers"):
        line = rf"^{name} +{re.escape(version(name))}( +[<>=,.\d]+)? *$"  # and the supported range
        assert re.search(line, shown, re.MULTILINE), shown
    assert re.search(r"^cores +\d+$", shown, re.MULTILINE), shown
    assert re.search(r"^memory +[1-9]\d* GiB$", shown, re.MULTILINE), shown
    for place in (socket.gethostname(), str(ROOT), str(Path.home())):
        assert place not in shown


def run(name, before=""):
    """Execute a chapter at small sizes, some code before it, and return what went wrong."""
    notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
    if before:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    notebook.cells.insert(config_cell(notebook) + 1, nbformat.v4.new_code_cell(SMALL_SIZES))
    client = NotebookClient(
        notebook,
        timeout=TIME_LIMIT,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT / "book")}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        return str(error)
    executed = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    if not executed or not all(cell.execution_count for cell in executed):
        return "a cell was not executed"
    return None


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CHAPTERS],
)
def test_chapter_runs(name):
    assert run(name) is None


def test_the_quick_chapters_are_chapters():
    assert set(QUICK) <= set(CHAPTERS)
