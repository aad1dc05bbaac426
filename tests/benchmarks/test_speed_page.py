"""The page on speed, its targets, and what it takes to start and to build; no time is asserted."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient

from benchmarks import book_builds, shown, startup
from benchmarks.targets import COPY, LOOP, MEMORY, OURS, READ_OUT, TARGETS, short, targets_table
from benchmarks.timing import row
from saif_helpers._internal.paths import GIB

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "book" / "speed.md"
ABOUT = {"machine": "Linux, some processor", "cores": 2, "threads": 1, "memory_gib": 8.0}
ABOUT |= {"versions": {"torch": "2.9"}, "date": "2026-01-02", "commit": "abc"}
ABOUT["parts"] = {
    "a": {"machine": ABOUT["machine"], "date": "2026-01-02", "commit": "abc"},
    "b": {"machine": "Linux, another", "date": "2025-12-31", "commit": "def"},
}
MEMORY_RISE = "rise of memory during a capture"
REACHED = {
    "one": 0.96,
    "all": 0.9,
    "loop": 0.2,
    "steered": 0.95,
    "sweep": 239.0,
    "import": 1.4,
    "memory": 1.9,
    "straight": 0.995,
    "rest": 1.2,
    "held": 0.05,
    "real_one": 0.95,
    "real_steered": 0.95,
    "real_sweep": 1.3,
    "small": 0.95,
}
MISSED = {"one": 0.94, "all": 0.7, "loop": 0.4, "steered": 0.94, "sweep": 240.0, "import": 1.5}
MISSED |= {"memory": 2.0, "straight": 0.98, "rest": 1.3, "held": 0.2}
MISSED |= {"real_one": 0.94, "real_steered": 0.94, "real_sweep": 1.2, "small": 0.94}


def made_up(one, all, loop, steered, sweep, **f):  # noqa: A002
    """Make rows: of three turns where a way is fast in one of them, of which medians count."""
    turns, rows = (100.0, 100.0, 1000.0), []

    def rates(part, work, way, times, reference=turns):
        values = [times * value for value in turns]
        rows.append(row(part, work, way, "pairs/s", values, reference=reference))

    for work, times in {"middle layer": 1.0, "last layer": one, "all layers": all}.items():
        rates("a", f"identify, {work}", "transformers, hooks", 1.0, None)
        rates("a", f"identify, {work}", OURS, times)
        rates("a", f"identify, {work}", LOOP, loop)
        rows.append(row("a", f"identify, {work}", "a peer", "pairs/s", note="not installed: why"))
    rates("b", "generate, not steered", "transformers", 1.0, None)
    rates("b", "generate, not steered", OURS, 0.5)
    for placement, times in {"every_position": 1.0, "decaying": steered}.items():
        rates("b", f"generate, steered at {placement}", OURS, times)
    rows += [row("c", "sweep", OURS, "s", [sweep]), row("d", "import", OURS, "s", [f["import"]])]
    rows.append(row("d", "import", f"{OURS}, up to the first name", "s", [9.0]))
    for chapter, part in {"01_small": 0.5, "02_large": 1.0}.items():
        rows.append(row("e", MEMORY, chapter, "GiB", [part * f["memory"] * 1e9 / GIB]))
    for at, times in {64: 1.0, 1024: f["rest"]}.items():
        rows.append(row("f", f"identify, {at} latents", OURS, "s", [times + at], at=at))
        rows.append(row("f", f"identify, {at} latents", READ_OUT, "s", [float(at)], at=at))
    further = {"r_squared": f["straight"]}
    rows.append(row("f", "identify, each further pair", OURS, "s", [0.1], **further))
    for way, times in {OURS: f["held"], COPY: 1.0}.items():
        for at in (8, 80):
            values = [9 + times * at]
            rows.append(row("f", f"{MEMORY_RISE}, {at} pairs", way, "MiB", values, at=at))
        rows.append(row("f", f"{MEMORY_RISE}, each further pair", way, "MiB", [times]))
    rates("g", "identify, all SAEs", OURS, f["real_one"])
    rates("g", "generate, steered at decaying", OURS, f["real_steered"])
    rates("g", "generate, a sweep's batch", OURS, f["real_sweep"])
    for batch, times in {"1 row": 0.5, "8 rows": f["small"], "32 rows": 1.0}.items():
        rates("h", f"organism-M, {batch}, 1 thread", OURS, times)
    return rows


def verdicts(rows):
    return [target.verdict(rows) for target in TARGETS]


def test_targets_that_are_reached_are_met():
    assert verdicts(made_up(**REACHED)) == ["met"] * len(TARGETS)


@pytest.mark.parametrize(("place", "name"), [*enumerate(REACHED)])
def test_each_target_is_missed_by_its_own_figure(place, name):
    found = verdicts(made_up(**REACHED | {name: MISSED[name]}))
    assert [index for index, verdict in enumerate(found) if verdict == "not met"] == [place]


def test_targets_without_rows_are_not_measured():
    without = [{**each, "values": [], "ratio": None} for each in made_up(**REACHED)]
    for rows in ([], without):
        table = targets_table(rows)
        assert set(table["verdict"]) == {"not measured"}
        assert set(table["measured"]) == {""}


def test_a_target_is_shown_with_its_spread():
    table = targets_table([row("d", "import", OURS, "s", [0.25, 4.0, 1.0])]).set_index("what")
    shown_as = table.loc["import, before a model is loaded"].to_dict()
    said = {"target": "under 1.5 s", "measured": "1 (0.25 to 4) s", "verdict": "met"}
    assert shown_as == {"part": "d"} | said


def page(folder, rows, monkeypatch):
    """Execute the page beside a record; return its text and what its cells show."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND")  # the notebook's own, which shows figures
    if rows:
        record = json.dumps({"about": ABOUT, "rows": rows})
        (folder / "benchmarks.json").write_text(record, encoding="utf-8")
    notebook = read_myst_markdown_notebook(PAGE.read_text(encoding="utf-8"))
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output.data for output in outputs]
    return "\n".join(each.get("text/markdown", each.get("text/html", "")) for each in data), data


def test_the_page_shows_a_run(tmp_path, monkeypatch):
    said, data = page(tmp_path, made_up(**REACHED), monkeypatch)
    assert shown.NOT_MEASURED not in said
    assert "Linux, some processor, 2 cores" in said
    assert "Part b: 2025-12-31, commit def, on Linux, another." in said
    assert said.count(">met<") == len(TARGETS)
    assert "- **a peer** (identify, middle layer; identify, last layer" in said
    assert sum("image/svg+xml" in each or "image/png" in each for each in data) == 1


def test_without_a_run_the_page_says_so(tmp_path, monkeypatch):
    said, data = page(tmp_path, [], monkeypatch)
    assert said.count(shown.NOT_MEASURED) == 10  # the machine, the figure, eight parts
    assert said.count(">not measured<") == len(TARGETS)
    assert not any("image/svg+xml" in each or "image/png" in each for each in data)


def test_the_page_types_no_figure():
    cells = read_myst_markdown_notebook(PAGE.read_text(encoding="utf-8")).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert not re.search(r"\d", prose.replace("SmolLM2", ""))


def test_the_figure_has_a_panel_for_each_work_and_a_line_for_each_way():
    figure = shown.throughput_figure(made_up(**REACHED))
    ways = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert ways == [[OURS, LOOP]] * 3 + [[OURS]] * 3
    assert shown.throughput_figure([row("d", "import", OURS, "s", [1.0])]) is None


def test_a_fresh_process_is_measured_without_its_parents_memory():
    held = bytearray(b"1" * 2**29)
    code = "mark('first')\nheld = b'1' * 2**26\nmark('second')\nanswer = given['x'] + len(held)"
    found = startup.run_fresh("a program", code, {"x": 1})
    assert found["answer"] == 2**26 + 1
    assert 0 < found["seconds"]["first"] < found["seconds"]["second"]
    assert 2**26 < found["peak"] < len(held)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_peer", "not installed (ModuleNotFoundError: No module named"),
        ("raise ValueError('in it')", "does not run here: ValueError: in it"),
    ],
)
def test_a_way_that_fails_gives_a_row_that_says_why(code, said):
    runs = []

    def fails():
        runs.append(startup.run_fresh("a peer", code))
        return runs[-1]

    ways = {"limit": lambda: {"seconds": {"x": 2.0}}, "peer": fails}
    found = startup.by_turns(ways, 3)
    limit, peer = startup.to_rows("work", "s", found, lambda each: each["seconds"]["x"], "fine")
    assert (limit["values"], limit["note"]) == ([2.0] * 3, "fine")
    assert (peer["values"], peer["ratio"], len(runs)) == ([], None, 1)
    assert peer["note"].startswith(said)


def test_the_first_round_warms_up():
    count = iter(range(10))
    found = startup.by_turns({"way": lambda: {"round": next(count)}}, 2)
    assert [each["round"] for each in found["way"]] == [1, 2]


@pytest.mark.slow
def test_first_results_are_the_same_by_hooks_and_by_the_package():
    rows = startup.first_results(0, "S", pairs=4, new_tokens=3)
    works = {each["work"]: each for each in rows if each["way"] == OURS}
    assert len(rows) == 2 * len(works) == 10
    assert all(each["values"][0] > 0 and each["ratio"] for each in works.values())
    assert {each["note"] for each in works.values()} == {"", "same answer"}


def test_another_answer_is_told():
    found = {"limit": [{"answer": 1}], "peer": [{"answer": 2}], "broken": [{"error": "no"}]}
    assert startup.agreement(found) == "another answer: peer"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of a project with two chapters, what executes them, and a package."""
    source = tmp_path / "source"
    for folder in ("book", "saif_helpers", "tools", ".git", ".venv", "_build"):
        (source / folder).mkdir(parents=True)
        (source / folder / "kept").touch()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name in ("one", "two"):
        code = nbformat.v4.new_code_cell(f"import saif_helpers.graders.text as g\ng.{name}()")
        chapter = nbformat.v4.new_notebook(cells=[code], metadata={"kernelspec": kernel})
        nbformat.write(chapter, source / "book" / f"{name}.ipynb")
    toc = "root: book/one\nchapters:\n- file: book/two\n- file: book/left_out\n"
    (source / "_toc.yml").write_text(toc, encoding="utf-8")
    (source / "requirements.lock").touch()
    functions = (
        "def one():\n    if 1:\n        return 1\n    return 2\n\n\ndef two():\n    return 2\n"
    )
    module = source / "saif_helpers" / book_builds.EDITED_MODULE
    module.parent.mkdir()
    for package in (module.parents[1], module.parent):
        (package / "__init__.py").touch()
    module.write_text(functions)
    for tool in ("execute_chapters", "check_pages", "saif_build"):
        (source / "tools" / f"{tool}.py").write_bytes((ROOT / "tools" / f"{tool}.py").read_bytes())
    monkeypatch.setattr(book_builds, "ROOT", source)
    return book_builds.copy_project(tmp_path / "copy", ["two"])


@pytest.mark.slow
def test_an_edit_executes_the_chapter_or_all_of_them(project):
    """What the page says of the cache."""
    assert not any((project / name).exists() for name in (".git", ".venv", "_build"))
    steps = ["chapters"]
    rows = {each["way"]: each for each in book_builds.build(project, "first", steps, {})}
    assert rows["chapters executed"]["values"] == [2]
    assert rows["whole"]["note"] == "all 2 chapters executed"
    first = book_builds.executed(project)
    assert {each["way"] for each in book_builds.chapter_rows(first)} == {"one", "two"}
    assert all(each["peak"] > 2**20 for each in first.values())
    book_builds.edit_chapter(project, "two")
    rows = {each["way"]: each for each in book_builds.build(project, "chapter", steps, first)}
    assert rows["chapters executed"]["values"] == [1]
    assert rows["whole"]["note"].startswith("executed: two;")
    second = book_builds.executed(project)
    book_builds.edit_function(project)
    rows = {each["way"]: each for each in book_builds.build(project, "function", steps, second)}
    assert rows["chapters executed"]["values"] == [2]
    original = book_builds.ROOT / "saif_helpers" / book_builds.EDITED_MODULE
    assert original.read_text().count("_ = None") == 0


def test_a_step_that_fails_ends_a_build_and_is_told(project, capsys):
    (project / "tools" / "execute_chapters.py").write_text("raise SystemExit('no room')")
    (failed,) = book_builds.build(project, "first", ["chapters", "pages"], {})
    assert failed["values"] == []
    assert failed["note"].startswith("failed: tools/execute_chapters.py ended with code 1")
    assert "no room" in capsys.readouterr().err
    assert book_builds.executed(project) == {}


def test_the_function_edit_changes_the_module_that_there_is(tmp_path):
    name = book_builds.EDITED_MODULE
    (tmp_path / "saif_helpers" / name).parent.mkdir(parents=True)
    text = (ROOT / "saif_helpers" / name).read_text(encoding="utf-8")
    (tmp_path / "saif_helpers" / name).write_text(text, encoding="utf-8")
    book_builds.edit_function(tmp_path)
    edited = (tmp_path / "saif_helpers" / name).read_text(encoding="utf-8")
    assert edited != text
    compile(edited, name, "exec")
    assert (ROOT / "book" / f"{book_builds.EDITED_CHAPTER}.ipynb").exists()


@pytest.mark.parametrize(
    ("value", "written"),
    [(3367.2, "3,370"), (999.6, "1,000"), (97.13, "97.1"), (0.02841, "0.0284"), (2.0, "2")],
)
def test_numbers_have_three_digits_that_count_and_no_exponent(value, written):
    assert short(value) == written
