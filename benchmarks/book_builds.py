"""Part e: time to build the book, from scratch and after an edit to one chapter or one function.

The book is built in a copy of the project in a temporary folder, with the copy's package, by the
steps of ``make book``. Chapters are executed into a cache named after a hash of the package and the
locked versions (``tools/saif_build.py``), and are looked up there by their code. An edit to one
chapter therefore executes that chapter again, and an edit to any function executes all chapters;
pages are always rendered again. The copy's chapters have an additional last cell that prints the
kernel's peak memory.
"""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache

from benchmarks import process_memory
from benchmarks.timing import Options, row
from saif_helpers._internal.paths import GIB

ROOT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = (".git", ".venv*", "_build", "__pycache__", ".*_cache", "*.egg-info", ".hypothesis")
BOOK = "make book"
CACHES = Path("_build") / ".execution_caches"
JUPYTER_BOOK = ["-c", "from jupyter_book.cli.main import main; main()", "build", "."]
STEPS = {
    "chapters": [["tools/execute_chapters.py"]],
    "pages": [[*JUPYTER_BOOK, "--all", "-W", "-n", "--keep-going"]],
    "checks": [
        ["tools/check_pages.py"],
        ["tools/check_verdicts.py"],
        ["tools/check_in_browser.py"],
    ],
}
EDITED_CHAPTER = "12_adapt"
EDITED_MODULE = "graders/text.py"
FEW = ("12_adapt", "14_real_models")  # two small chapters, for a quick trial
MEMORY_ID = "memory-of-the-kernel"
MEMORY = (
    inspect.getsource(process_memory)
    + """
import json
print(json.dumps({"peak": peak()}))
"""
)


def copy_project(to: Path, chapters: Sequence[str] | None = None) -> Path:
    """Copy the project, and make each chapter of the copy print its peak memory.

    Args:
        to: A folder that does not exist yet.
        chapters: The chapters to keep in the copy's table of contents; by default all pages.

    Returns:
        The folder.
    """
    shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    if chapters:
        toc = yaml.safe_load((to / "_toc.yml").read_text(encoding="utf-8"))
        toc["chapters"] = [{"file": f"book/{name}"} for name in chapters]
        (to / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")
    for path in (to / "book").glob("*.ipynb"):
        chapter = nbformat.read(path, as_version=4)
        last = nbformat.v4.new_code_cell(MEMORY, id=MEMORY_ID, metadata={"tags": ["remove-cell"]})
        chapter.cells.append(last)
        nbformat.write(chapter, path)
    return to


def run_step(project: Path, commands: Sequence[Sequence[str]]) -> float:
    """Run the commands of one step as the Makefile does, with the copy's package.

    Args:
        project: The copy.
        commands: Arguments of Python, for each command.

    Returns:
        The time in seconds.

    Raises:
        RuntimeError: If a command fails; the message contains the end of its output.
    """
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    start = time.perf_counter()
    for command in commands:
        run = subprocess.run(
            [sys.executable, *command],
            cwd=project,
            env=os.environ | offline | {"PYTHONPATH": str(project)},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            said = (run.stdout + run.stderr)[-4000:]
            raise RuntimeError(f"{' '.join(command)} ended with code {run.returncode}:\n{said}")
    return time.perf_counter() - start


def executed(project: Path) -> dict[str, dict]:
    """Read the execution cache.

    Args:
        project: The copy, after its chapters were executed.

    Returns:
        For each chapter its latest ``entry`` in the cache, its run time in ``seconds``, and the
        ``peak`` memory of its kernel in bytes.
    """
    caches = project / CACHES
    if not caches.exists():
        return {}
    (folder,) = caches.iterdir()  # a build removes the caches of other inputs
    cache, found = get_cache(folder), {}
    for record in sorted(cache.list_cache_records(), key=lambda record: record.pk):
        cells = cache.get_cache_bundle(record.pk).nb.cells
        (said,) = [output.text for output in cells[-1].outputs]
        found[Path(record.uri).stem] = {
            "entry": (folder.name, record.pk),
            "seconds": record.data["execution_seconds"],
            "peak": json.loads(said)["peak"],
        }
    return found


def edit_chapter(project: Path, name: str = EDITED_CHAPTER) -> None:
    """Change a chapter's code; for the cache, a comment is a change."""
    path = project / "book" / f"{name}.ipynb"
    chapter = nbformat.read(path, as_version=4)
    chapter.cells[-1].source += "\n# edited"
    nbformat.write(chapter, path)


def edit_function(project: Path, name: str = EDITED_MODULE) -> None:
    """Change a function of the package without changing its result."""
    path = project / "saif_helpers" / name
    text = path.read_text(encoding="utf-8")
    edited = re.sub(r"^    return ", "    _ = None\n    return ", text, count=1, flags=re.MULTILINE)
    path.write_text(edited, encoding="utf-8")


def build(project: Path, work: str, steps: Sequence[str], before: dict[str, dict]) -> list[dict]:
    """Build the copy once.

    Args:
        project: The copy.
        work: Name of the task.
        steps: Names in `STEPS`.
        before: The result of `executed` for the previous build; empty for the first.

    Returns:
        Rows with the seconds of each step and in total, and with the number of executed chapters.
        If a step fails, the build stops and the row has the error.
    """
    shutil.rmtree(project / "_build" / "html", ignore_errors=True)
    rows, whole = [], 0.0
    for step in steps:
        print(f"{work}: {step} ...", flush=True)
        try:
            took = run_step(project, STEPS[step])
        except RuntimeError as error:  # the other parts of the run must not be lost
            print(error, file=sys.stderr)
            return [*rows, row("e", work, step, "s", note=f"failed: {error.args[0][:200]}")]
        print(f"{work}: {step} took {took:.0f} s", flush=True)
        rows.append(row("e", work, step, "s", [took]))
        whole += took
    now = executed(project)
    again = [
        name for name, each in now.items() if before.get(name, {}).get("entry") != each["entry"]
    ]
    note = f"all {len(now)} chapters executed"
    if len(again) < len(now):
        note = f"executed: {', '.join(again) or 'none'}; the others were taken from the cache"
    executions = row("e", work, "chapters executed", "chapters", [len(again)])
    return [*rows, row("e", work, "whole", "s", [whole], note=note), executions]


def chapter_rows(found: dict[str, dict]) -> list[dict]:
    """Return the rows with each chapter's run time and memory."""
    rows = []
    for name, each in sorted(found.items()):
        rows.append(row("e", "chapter", name, "s", [each["seconds"]]))
        rows.append(row("e", "chapter, peak memory", name, "GiB", [each["peak"] / GIB]))
    return rows


def measure(options: Options) -> list[dict]:
    """Measure part e. Each build runs once: it takes minutes, and varies by seconds.

    Args:
        options: Sizes; a quick run executes two small chapters and renders no pages.

    Returns:
        The rows.
    """
    steps = ["chapters"] if options.quick else list(STEPS)
    with tempfile.TemporaryDirectory(prefix="book-") as folder:
        project = copy_project(Path(folder) / "copy", FEW if options.quick else None)
        rows = build(project, f"{BOOK}, from scratch", steps, {})
        first = executed(project)
        edit_chapter(project)
        rows += build(project, f"{BOOK}, after an edit to one chapter", steps, first)
        second = executed(project)
        edit_function(project)
        rows += build(project, f"{BOOK}, after an edit to one function", steps, second)
    return rows + chapter_rows(first)
