"""The chapters that are said to run on NDIF do so in rehearsal, on the smallest organism."""

import re
from pathlib import Path

import nbformat
import pytest
from test_chapters import CHAPTERS, run

ROOT = Path(__file__).parents[2]
REHEARSE = """
import saif_helpers as saif
load = saif.load
saif.load = lambda name, size, **options: load(name, "S", **options, remote="local")
"""


def numbers_said() -> list[str]:
    """Read there which chapters run there."""
    notebook = nbformat.read(ROOT / "book" / "14_real_models.ipynb", as_version=4)
    (text,) = (cell.source for cell in notebook.cells if cell.id == "real-remote-text")
    return re.findall(r"\d+", re.search(r"So the chapters ([\d, and]+) run there", text)[1])


NAMES = [name for name in CHAPTERS if name[5:7].lstrip("0") in numbers_said()]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_chapter_runs_there(name):
    assert run(name, REHEARSE) is None


def test_the_chapter_names_some():
    assert len(NAMES) == len(numbers_said()) > 3
