"""What the README shows must run as it is shown."""

import re
from pathlib import Path

import pytest
import readme_picture

import saif_helpers
from saif_helpers.book.in_short import sentences
from saif_helpers.book.results import read_all

TEXT = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHOWN = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
PACKAGE = Path(saif_helpers.__file__).parent


def run(code, names=None):
    names = {} if names is None else names
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_every_block_is_one_of_those_that_run_here():
    assert len(BLOCKS) == 4
    assert len(SHOWN) == 2


def test_the_shortest_recipe_comes_first_and_says_what_is_shown(capsys):
    first = TEXT.index("```")
    assert TEXT[first:].startswith(f"```python\n{BLOCKS[0]}")
    assert TEXT[:first].strip() == "# The SAIF book"
    assert len(BLOCKS[0].splitlines()) <= 5
    names = run(BLOCKS[0])
    assert capsys.readouterr().out == SHOWN[0]
    run(BLOCKS[1], names)
    assert capsys.readouterr().out == SHOWN[1]


def test_the_real_model_loads_as_shown():
    assert run(BLOCKS[2])["model"].saes.layers


@pytest.mark.slow
def test_the_example_of_an_own_instruction_runs(capsys):
    code = BLOCKS[3]
    assert len(code.splitlines()) <= 25
    found = run(code)["found"]
    assert found.grades["prompting"].proportion("strict").value > 0.8
    assert found.grades["random latents"].proportion("loose").value < 0.1
    assert "signed latents" in capsys.readouterr().out


def test_the_packages_folders_and_files_are_explained():
    after = TEXT[TEXT.index("top level of `saif_helpers/`") :]
    table = "".join(re.findall(r"^\| (`.*?) \|", after, re.MULTILINE))
    named = set(re.findall(r"`saif_helpers\.(\w+)`", table))
    assert named == {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"_internal"}
    steps = set(re.findall(r"`(\w+)`", after[: after.index("| sub-package")]))
    assert steps <= {path.stem for path in PACKAGE.glob("*.py")}


def test_whether_it_works_is_what_the_record_says():
    told = sentences(read_all(readme_picture.ROOT / "book" / "results"))
    assert list(told) == ["SmolLM2", "small networks"], "the real model comes first"
    assert readme_picture.with_sentences(TEXT, told.values()) == TEXT, "run make picture"
