import json
import re
import socket
from pathlib import Path

import pytest
import torch
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient

import saif_helpers as saif
from saif_helpers.cache import entry as entries
from saif_helpers.cache.store import Store
from tools import soak
from tools.disturb import DAMAGES
from tools.soak_rounds import looked_up
from tools.soak_runs import Amounts, BrokenError, Soak

PAGE = Path(__file__).parents[2] / "book" / "guarantees.md"
SCORECARD = PAGE.with_name("scorecard.md")
REPORT = """
tests/guarantees/test_properties.py::test_a:
  - during generate phase (0.3 seconds):
    - Typical runtimes: ~ 1ms
    - 2000 passing examples, 0 failing examples, 17 invalid examples

tests/guarantees/test_properties.py::test_b:
  - during reuse phase (0.0 seconds):
    - 5 passing examples, 0 failing examples, 0 invalid examples
  - during generate phase (0.3 seconds):
    - 40 passing, 0 failing, and 0 invalid test cases
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What a small soak finds, and the file that it writes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PROPERTIES", "SIMULATIONS"):  # which have tests of their own
            patch.setattr(soak, name, Path("not there"))
        file = tmp_path_factory.mktemp("soak") / "soak.json"
        assert soak.main(["--quick", "--out", str(file)]) == 0
    return json.loads(file.read_text())


def value(found, name):
    return found["figures"][name]["value"]


def test_a_small_soak_ends_as_guaranteed_and_counts_what_it_did(figures):
    assert value(figures, "kills") == soak.QUICK.kills
    moments = [name for name in figures["figures"] if name.startswith("kills while")]
    assert 0 <= value(figures, "batches lost") <= soak.QUICK.kills
    assert len(moments) == 2
    assert value(figures, "full disks") == soak.QUICK.disks
    assert value(figures, "batches computed again with room on it") > 0
    for kind in DAMAGES:
        assert value(figures, f"cases of damage: {kind}") == soak.QUICK.cases
    again = value(figures, "damaged entries that they computed again")
    assert again == len(DAMAGES) + 1
    assert all(set(each) >= {"value", "unit"} for each in figures["figures"].values())


def test_what_it_ran_on_is_told_without_host_or_place(figures):
    text = json.dumps(figures)
    assert figures["about"]["versions"]["torch"]
    for place in (socket.gethostname(), str(soak.ROOT), str(Path.home())):
        assert place not in text


@pytest.fixture
def rounds(tmp_path):
    """A soak with a store of one entry, whose sweeps are not run, and the entry."""
    made = object.__new__(Soak)
    made.folder = made.store = tmp_path
    Store(tmp_path).put("capture", {}, [[1], [2]], {"1": torch.ones(2, 3)})
    (path,) = tmp_path.glob("*/*")
    return made, path


def test_a_damaged_or_missing_entry_breaks_a_soak(rounds):
    made, path = rounds
    assert made.whole_entries(made.folder, [path.name]) == 1
    with pytest.raises(BrokenError, match="a finished entry is gone"):
        made.whole_entries(made.folder, [path.name, "another.safetensors"])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BrokenError, match="damaged"):
        made.whole_entries(made.folder, [path.name])


def test_damage_that_nobody_notices_breaks_a_soak(rounds, monkeypatch):
    made, path = rounds
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    assert looked_up(made, path, data)
    assert not looked_up(made, path, flipped)
    monkeypatch.setattr(entries, "tensors_digest", lambda *_: "the same for all")
    Store(made.folder).put("capture", {}, [[1], [2]], {"1": torch.ones(2, 3)})
    data = path.read_bytes()
    with pytest.raises(BrokenError, match="was not noticed"):
        looked_up(made, path, data[:-1] + bytes([data[-1] ^ 1]))


def test_what_breaks_is_said_and_no_file_is_written(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise BrokenError("a final table differs")

    monkeypatch.setattr(soak, "soak", broken)
    monkeypatch.setattr(soak.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    file = tmp_path / "soak.json"
    assert soak.main(["--seed", "7", "--out", str(file)]) == 1
    assert "guarantee violated, with seed 7: a final table differs" in capsys.readouterr().err
    assert not file.exists()


def test_examples_are_those_that_were_generated():
    assert soak.examples(REPORT) == 2040


PASSING = """from hypothesis import given, settings, strategies

@settings(max_examples=30, database=None, derandomize=True)
@given(strategies.integers())
def test_property(number):
    assert number + 1 > number
"""
FAILING = PASSING.replace("number + 1 > number", "number < 100")
RATES = """
print('0.0499  share: mean (nominal 0.0500, stated 0.0500, exact)')
print('0.1481  area: fails (nominal 0.0250, stated 0.1480, 200 draws)')
"""


def test_properties_and_simulations_are_counted_and_break_a_soak(tmp_path, monkeypatch):
    file = tmp_path / "test_properties.py"
    for name in ("PROPERTIES", "SIMULATIONS"):
        monkeypatch.setattr(soak, name, file)
    assert soak.properties(True) == soak.simulations(True) == {}
    file.write_text(PASSING)
    found = soak.properties(True)
    assert [each["value"] for each in found.values()] == [1, 30]
    file.write_text(FAILING)
    with pytest.raises(BrokenError, match="ended with code 1"):
        soak.properties(True)
    file.write_text(RATES)
    found = soak.simulations(False)
    assert [each["value"] for each in found.values()] == [2, soak.DRAWS, 14.8]
    assert found["higher than nominal: area, fails"]["nominal"] == 2.5
    file.write_text(f"{RATES}\nraise SystemExit(1)")
    with pytest.raises(BrokenError, match=r"0\.1481  area"):
        soak.simulations(False)


def test_the_properties_and_simulations_of_a_soak_are_where_it_looks():
    assert soak.PROPERTIES.exists()
    assert soak.SIMULATIONS.exists()


def test_the_usual_soak_kills_two_hundred_times():
    assert Amounts().kills >= 200


def page_of(folder, figures):
    """Execute the page on what is guaranteed beside some figures; return its text and its glue."""
    notebook = read_myst_markdown_notebook(PAGE.read_text(encoding="utf-8"))
    for page in (PAGE, SCORECARD):
        (folder / page.name).write_text(page.read_text(encoding="utf-8"))
    if figures:
        (folder / "soak.json").write_text(json.dumps(figures))
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    glued = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if name := output.metadata.get("scrapbook", {}).get("name"):
                (glued[name],) = output.data.values()
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"), glued


def test_the_page_shows_the_figures_of_a_soak_and_types_none(figures, tmp_path):
    text, glued = page_of(tmp_path, figures)
    asked = set(re.findall(r"{glue:text}`(.*?):s`", text))
    scorecard = SCORECARD.read_text(encoding="utf-8")
    asked |= set(re.findall(r"{glue:text}`guarantees.md::(.*?):s`", scorecard))
    assert asked == set(glued)
    assert glued["kills"] == repr(f"{soak.QUICK.kills} kills")
    assert glued["cases of damage"] == repr(f"{soak.QUICK.cases * len(DAMAGES)} cases")
    absent = {name for name, text in glued.items() if "not part of the last run" in text}
    assert {name for name in absent if name.startswith(soak.HIGHER)}
    assert {name for name in absent if not name.startswith(soak.HIGHER)} == {
        "property-based tests",
        "examples of property-based tests",
        "simulated rates of error",
        "simulations for each rate",
    }
    assert not re.search(r"\d", re.sub(r"{glue:text}`.*?`", "", text))


def test_the_page_names_tests_that_there_are():
    named = re.findall(r"`(tests/[\w/]+\.py)`", PAGE.read_text(encoding="utf-8"))
    assert len(set(named)) >= 7
    assert all((soak.ROOT / name).exists() for name in named)


@pytest.mark.skipif(not soak.RESULT.exists(), reason="no soak run is recorded; the page says so")
def test_the_figures_that_are_shipped_are_of_a_whole_soak():
    found = json.loads(soak.RESULT.read_text(encoding="utf-8"))
    assert value(found, "kills") >= Amounts().kills
    assert value(found, "batches lost") <= value(found, "kills")
    assert not found["about"]["commit"].endswith("-dirty")


def test_a_reader_sees_and_clears_the_store_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAIF_STORE", str(tmp_path))
    Store(tmp_path).put("capture", {}, [[1]], {"1": torch.ones(1, 3)})
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    exec(code, {"saif": saif})
    assert capsys.readouterr().out.startswith(f"Store({str(tmp_path)!r}: 1 entries")
    assert not list(tmp_path.iterdir())
