"""Every chapter runs on the models of the paper and on newer ones, one line of it changed.

The line is the one that names the model. The models of the Hub are tiny here and their weights
random, their files of the real layout and formats (`fake_hub`), and nothing is fetched; the real
model is itself. So this says that the chapters fit the models, and nothing about what they find.
"""

import re

import fake_hub
import nbformat
import pytest
from judge_models import config_cell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from test_chapters import CHAPTERS, ROOT, SMALL, SMALL_SIZES, TIME_LIMIT

MODELS = {"gemma-2-2b-it": 2, "llama-3.1-8b": 2, "gemma-3-270m-it": 3}
WIDTHS = {"gemma-2-2b-it": "16k", "llama-3.1-8b": "32k", "gemma-3-270m-it": "16k"}
REAL = "smollm2-135m-instruct"
WIDTHS[REAL] = "2304"
QUICK = ("gemma-2-2b-it", "book/04_steering")  # the one that is not slow
SMALLER = SMALL_SIZES.replace(f", {SMALL})", ", 6)") + 'MAX_NEW_TOKENS = {"natural": 6}\n'
# A model of random weights follows no instruction, and may answer all of them in the same words.
SAID_BY_CHANCE = {
    "12_adapt": "does not follow the instruction",
    "06_semantic_proximity": "0 tokens of own vocabulary",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    fake_hub.build(folder, MODELS)
    return folder


def on_model(name, chapter):
    """Return the chapter with its model changed: one line."""
    notebook = nbformat.read(ROOT / f"{chapter}.ipynb", as_version=4)
    cell = notebook.cells[config_cell(notebook)]
    width = WIDTHS[name]
    for line, value in (("MODEL, SIZE", f'"{width}"'), ("MODEL, SIZES", f'("{width}",)')):
        changed = f'{line} = "{name}", {value}'
        cell.source, n = re.subn(rf"^{line} = .*$", changed, cell.source, flags=re.MULTILINE)
        if n:
            break
    assert n == 1, f"{chapter} does not name its model in one line"
    # With more answers of random weights it is likelier that they have words of their own.
    more = "06_" in chapter and name != REAL
    smaller = SMALLER.replace(", 6)", ", 12)") if more else SMALLER
    notebook.cells.insert(config_cell(notebook) + 1, nbformat.v4.new_code_cell(smaller))
    return notebook


def run(name, chapter):
    notebook = on_model(name, chapter)
    where = {"metadata": {"path": str(ROOT / "book")}}
    client = NotebookClient(notebook, timeout=TIME_LIMIT, kernel_name="python3", resources=where)
    try:
        client.execute()
    except CellExecutionError as error:
        said = SAID_BY_CHANCE.get(chapter.rsplit("/")[-1])
        if said is None or said not in str(error):
            return f"{chapter}: {error}"
    return None


def cases():
    for name in WIDTHS:
        for chapter in CHAPTERS:
            marks = [] if (name, chapter) == QUICK else [pytest.mark.slow]
            yield pytest.param(name, chapter, marks=marks)


@pytest.mark.parametrize(("name", "chapter"), [*cases()])
def test_every_chapter_runs_with_one_line_changed(cache, name, chapter, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    assert run(name, chapter) is None
