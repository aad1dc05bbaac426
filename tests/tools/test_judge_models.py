import json
import subprocess

import nbformat
import pytest
from judge_models import (
    CHAPTERS,
    EARLIER,
    INSTRUCTIONS,
    RECORD,
    ROOT,
    SIZES,
    code_hash,
    put,
    recorded,
    shortened,
    to_make,
)
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from organism.recipe import RECIPES
from saif_helpers.contents import load_contents
from saif_helpers.hub.loading import load
from saif_helpers.instructions import load_instructions

CONFIG = 'MODEL, SIZE = "organism", "M"\nINSTRUCTION = "french"\nMAX_NEW_TOKENS = {}'
VERDICT = """
from saif_helpers.intervals import Interval
from saif_helpers.study.claims import Criterion
from saif_helpers.book.record import record_verdict
high = MAX_NEW_TOKENS["grammar"] / 100
checks = [Criterion(f"{SIZE} {INSTRUCTION}", Interval(0.5, 0.4, high, 9), "above", 0.3)]
record_verdict("C1", checks)
"""


@pytest.fixture
def chapter():
    return new_notebook(
        cells=[
            new_code_cell("before = 1"),
            new_code_cell(CONFIG, metadata={"tags": ["config"]}),
            new_markdown_cell("What we saw"),
            new_code_cell(VERDICT),
            new_code_cell("raise RuntimeError('an exercise')"),
        ]
    )


def test_a_chapter_is_run_to_its_verdict_with_another_model_and_instruction(chapter):
    short = shortened(chapter, "C1", "L", "uppercase")
    assert [cell.cell_type for cell in short.cells] == ["code"] * 4
    NotebookClient(short, kernel_name="python3").execute()
    (check,) = recorded(short, "C1")
    assert check["what"] == "L uppercase"
    assert check["interval"]["high"] == INSTRUCTIONS["uppercase"] / 100
    with pytest.raises(ValueError, match="recorded nothing under 'C2'"):
        recorded(short, "C2")


def test_a_chapter_that_cannot_be_run_so_is_refused(chapter):
    with pytest.raises(ValueError, match="no cell of the chapter records 'C4'"):
        shortened(chapter, "C4", "L", "french")
    chapter.cells[1].source = 'INSTRUCTION = "french"'
    with pytest.raises(ValueError, match="configuration cell lacks SIZE"):
        shortened(chapter, "C1", "L", "french")


def test_other_code_or_another_model_makes_another_hash(chapter):
    first = code_hash(shortened(chapter, "C1", "L", "french"))
    assert first != code_hash(shortened(chapter, "C1", "S", "french"))
    assert first == code_hash(shortened(chapter, "C1", "L", "french"))
    chapter.cells[4].source = "raise ValueError('behind the verdict')"
    assert first == code_hash(shortened(chapter, "C1", "L", "french"))
    needs = nbformat.v4.new_code_cell("show()", metadata={"tags": ["needs"]})
    chapter.cells.insert(1, needs)  # what only informs the reader
    assert first == code_hash(shortened(chapter, "C1", "L", "french"))
    chapter.cells[0].source += "\n    %pip install -q somewhere"
    elsewhere = code_hash(shortened(chapter, "C1", "L", "french"))
    chapter.cells[0].source = chapter.cells[0].source.replace("somewhere", "elsewhere")
    assert elsewhere == code_hash(shortened(chapter, "C1", "L", "french"))
    chapter.cells[0].source = "before = 2"
    assert first != code_hash(shortened(chapter, "C1", "L", "french"))


@pytest.fixture
def record(tmp_path):
    """A record, and a function that writes rows into it."""
    path = tmp_path / "record.json"

    def write(*rows):
        path.write_text(json.dumps(rows), encoding="utf-8")

    return path, write


def test_what_is_recorded_by_the_same_cells_is_not_made_again(record):
    path, write = record
    (made,) = to_make(["S"], ["french"], ["C5"], path)
    row = made[0] | {"checks": []}
    write(row)
    assert list(to_make(["S"], ["french"], ["C5"], path)) == []
    write(row | {"code": "older"})
    assert len(list(to_make(["S"], ["french"], ["C5"], path))) == 1


def test_latents_are_judged_at_the_layer_that_steers(record):
    """So C3 comes first, and another layer makes another row."""
    path, write = record
    with pytest.raises(ValueError, match="make C3 first"):
        list(to_make(["S"], ["french"], ["C1"], path))
    codes = set()
    for layer in (0, 2):
        write()
        making = to_make(["S"], ["french"], ["C1", "C2", "C3"], path)
        steered, _ = next(making)
        assert steered["name"] == "C3"
        write(steered | {"checks": [], "setting": {"layer": layer}})
        for (row, notebook), name in zip(making, ("C1", "C2"), strict=True):
            assert (row["name"], row["layer"]) == (name, layer)
            assert any(f"LAYER = {layer}" in cell.source for cell in notebook.cells)
            codes.add(row["code"])
    assert len(codes) == 4


def test_a_small_real_model_gets_fewer_sentences_in_the_search():
    values = shortened(chapter_of(None, "C3"), "C3", "2304", "python", "smollm2-135m-instruct")
    (config,) = (c.source for c in values.cells if c.source.startswith("MODEL = 'smollm2"))
    assert "ROUNDS = (4, 8, 16, 32)" in config
    assert "N_TEST = 100" in config


def test_a_row_takes_the_place_of_the_older_one():
    old = {"size": "S", "instruction": "french", "name": "C2", "code": "a", "checks": []}
    first = {"size": "M", "instruction": "uppercase", "name": "C1", "code": "b", "checks": []}
    assert put(old | {"code": "c"}, [first, old]) == [old | {"code": "c"}, first]


def test_every_shipped_size_is_judged_and_no_reference_is_cut_off():
    assert set(SIZES) == set(RECIPES)
    assert set(INSTRUCTIONS) <= set(load_instructions())
    tokenizer = load("organism", "S").tokenizer
    for name, most in INSTRUCTIONS.items():
        texts = [c.references[name] for s in ("validation", "test") for c in load_contents(s)]
        assert max(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])) < most


def chapter_of(commit: str | None, name: str) -> nbformat.NotebookNode:
    """Return a chapter as it is, or as it was at a commit."""
    if commit is None:
        return nbformat.read(ROOT / "book" / f"{CHAPTERS[name]}.ipynb", as_version=4)
    _, title = CHAPTERS[name].split("_", 1)  # its number was another one
    there = git("ls-tree", "--name-only", commit, "book/").split()
    (path,) = (path for path in there if path.endswith(f"_{title}.ipynb"))
    return nbformat.reads(git("show", f"{commit}:{path}"), as_version=4)


def git(*command: str) -> str:
    """Return what git says; skip the test where the history is not here."""
    said = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if said.returncode:
        pytest.skip("the history that holds the earlier chapters is not here")
    return said.stdout


def test_every_row_of_the_shipped_record_was_made_by_cells_that_are_known():
    """By the chapters as they are, or as they were at the one commit that the tool names."""
    rows = json.loads(RECORD.read_text(encoding="utf-8"))
    sizes, instructions = ({row[key]: 0 for row in rows} for key in ("size", "instruction"))
    assert set(sizes) == set(SIZES)
    assert len(instructions) >= 3
    for row in rows:
        made_by = [row["name"], row["size"], row["instruction"]]
        here = shortened(chapter_of(None, row["name"]), *made_by, layer=row.get("layer"))
        now = code_hash(here)
        if row["code"] != now:
            then = code_hash(shortened(chapter_of(EARLIER, row["name"]), *made_by))
            assert row["code"] == then, "the chapter has changed: run make verdicts"


def test_the_vector_that_was_tested_on_a_real_model_is_kept():
    made = shortened(chapter_of(None, "C3"), "C3", "16k", "french", "owner/name")
    assert 'vector.save("results/owner--name-16k-french.safetensors"' in made.cells[-1].source
    assert "save" not in shortened(chapter_of(None, "C3"), "C3", "S", "french").cells[-1].source
