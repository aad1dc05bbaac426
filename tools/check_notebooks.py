"""Check the structure of the chapters; problems are reported as "cell n, line m".

Run by ``make check``, on all notebooks of ``book/`` or on the named ones. The rules:

- A chapter is committed without outputs and execution counts. Cell ids are unique and are not
  running numbers.
- The first cell is the title; exactly one code cell is tagged ``setup`` and one ``config``.
- A Colab link opens the chapter that contains it.
- A cell that draws a figure has a caption, a name and an alt text in its ``mystnb`` metadata.
- A code cell has at most 20 lines, unless its code is folded (``hide-input``).
- At least one exercise has a solution: a code cell under ``## Exercises``, tagged ``solution`` and
  folded with its outputs (``hide-cell``).
- Prose contains no decimal numbers or percentages, because results are computed, not typed. Numbers
  that are not results (such as a claim of the paper, with its standing) are allowed if the cell
  explains them: ``<!-- numbers: what they are -->``.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_CODE_LINES = 20
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
COLAB = re.compile(
    r"colab\.research\.google\.com/github/[^/\s]+/[^/\s]+/blob/[^/\s]+/([^\s)\"'>]+)"
)
DRAWS = re.compile(
    r"\bplt\.(?:subplots|figure|show)\b|\bsns\.\w+plot\b|\bplot_\w+\(|\bfigures\.(?!style\b)\w+\("
)
EXERCISES = re.compile(r"^## Exercises$", re.MULTILINE)
NUMBERS_ALLOWED = re.compile(r"<!--\s*numbers:\s*\S.*?-->", re.DOTALL)
# Digits that are not results: code, formulas, links, identifiers of papers and version numbers.
NOT_PROSE = re.compile(
    r"```.*?```|~~~.*?~~~|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|<[^>]*>|\]\([^)]*\)|https?://\S+"
    r"|\b\d{4}\.\d{4,5}(?:v\d+)?\b|\b[vV]\d+(?:\.\d+)+|\b[A-Z]\w*-\d+(?:\.\d+)+"
    r"|\b(?:Python|PyTorch|[Tt]orch|CUDA|[Nn]umPy|nnsight|SAE-?Lens|[Tt]ransformers)\s\d+(?:\.\d+)+"
    r"|(?:[Ss]ections?|[Ee]quations?|[Cc]hapters?|[Ff]igures?|[Tt]ables?|§)\s*\d+(?:\.\d+)+",
    re.DOTALL,
)
RESULT = re.compile(r"(?<![\w.])\d*\.\d+\b|\b\d+(?:\.\d+)?\s?(?:%|per ?cent\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """A problem in a chapter.

    Attributes:
        cell: Number of the cell, from 1; 0 for the whole notebook.
        line: Line within the cell, from 1; 0 for the whole cell.
        message: Description of the problem and its solution.
    """

    cell: int
    line: int
    message: str

    def __str__(self) -> str:
        """Return the position and the message, as in "cell 3, line 2: ..."."""
        cell = f"cell {self.cell}" if self.cell else "notebook"
        line = f", line {self.line}" if self.line else ""
        return f"{cell}{line}: {self.message}"


def source(cell: dict) -> str:
    """Return the text of a cell, which may be stored as a list of lines."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def tags(cell: dict) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.get("metadata", {}).get("tags", []))


def check_clean(cells: list[dict]) -> Iterator[Problem]:
    """Yield a problem for each cell with outputs or an execution count."""
    for number, cell in enumerate(cells, 1):
        if cell.get("outputs") or cell.get("execution_count") is not None:
            yield Problem(number, 0, "has outputs or an execution count: run make strip")


def check_ids(cells: list[dict]) -> Iterator[Problem]:
    """Yield a problem for each cell whose id is missing, repeated or a running number."""
    count = Counter(cell.get("id") for cell in cells)
    for number, cell in enumerate(cells, 1):
        name = cell.get("id")
        if not name:
            yield Problem(number, 0, "has no id: save it as nbformat 4.5 or later")
        elif count[name] > 1:
            yield Problem(number, 0, f"shares its id {name!r} with another cell")
        elif str(name).isdigit():
            yield Problem(
                number,
                0,
                f"id {name!r} is a running number, so it is not stable: rename it",
            )


def check_structure(cells: list[dict]) -> Iterator[Problem]:
    """Yield a problem if title, set-up cell or configuration cell is missing or repeated."""
    if not cells or cells[0]["cell_type"] != "markdown" or not source(cells[0]).startswith("# "):
        yield Problem(1, 1, "the first cell must be the title: markdown that begins with '# '")
    for tag, purpose in (("setup", "set-up"), ("config", "configuration")):
        tagged = [n for n, cell in enumerate(cells, 1) if tag in tags(cell)]
        if len(tagged) != 1:
            found = f"found {len(tagged)}" + (f", in cells {tagged}" if tagged else "")
            yield Problem(0, 0, f"needs one {purpose} cell, a code cell tagged {tag!r}; {found}")
        elif cells[tagged[0] - 1]["cell_type"] != "code":
            yield Problem(tagged[0], 0, f"is tagged {tag!r} but is not a code cell")


def check_colab(cells: list[dict], path: str) -> Iterator[Problem]:
    """Yield a problem for each Colab link to a notebook other than `path`."""
    for number, cell in enumerate(cells, 1):
        for match in COLAB.finditer(source(cell)):
            if match[1] != path:
                line = source(cell).count("\n", 0, match.start()) + 1
                yield Problem(number, line, f"the Colab link opens {match[1]}, not {path}")


def check_figures(cells: list[dict]) -> Iterator[Problem]:
    """Yield a problem for each cell that draws a figure without caption, name or alt text."""
    for number, cell in enumerate(cells, 1):
        if cell["cell_type"] != "code" or tags(cell) & {"remove-output", "remove-cell"}:
            continue
        code = "\n".join(line.split("#")[0] for line in source(cell).split("\n"))
        metadata = cell.get("metadata", {}).get("mystnb", {})
        drawn = DRAWS.search(re.sub(r"\bdef plot_\w+\(", "", code))
        if not drawn and "figure" not in metadata:
            continue
        line = code.count("\n", 0, drawn.start()) + 1 if drawn else 0
        for group, key in (("figure", "caption"), ("figure", "name"), ("image", "alt")):
            if not str(metadata.get(group, {}).get(key, "")).strip():
                yield Problem(number, line, f"draws without mystnb.{group}.{key} in its metadata")


def check_code_length(cells: list[dict]) -> Iterator[Problem]:
    """Yield a problem for each code cell that is too long."""
    for number, cell in enumerate(cells, 1):
        length = len(source(cell).rstrip().split("\n"))
        if cell["cell_type"] == "code" and length > MAX_CODE_LINES and not tags(cell) & FOLDED:
            yield Problem(
                number,
                MAX_CODE_LINES + 1,
                f"has {length} lines, {MAX_CODE_LINES} are allowed: split it, move code into the "
                "package, or tag it 'hide-input'",
            )


def check_exercises(cells: list[dict]) -> Iterator[Problem]:
    """Yield a problem if no exercise is solved, and for each unfolded or misplaced solution."""
    under_exercises = solved = False
    for number, cell in enumerate(cells, 1):
        if cell["cell_type"] == "markdown":
            under_exercises |= EXERCISES.search(source(cell)) is not None
        if "solution" not in tags(cell):
            continue
        solved = True
        if cell["cell_type"] != "code" or not source(cell).strip():
            yield Problem(number, 0, "is tagged 'solution' but has no code to execute")
        if "hide-cell" not in tags(cell):
            yield Problem(number, 0, "shows a solution: tag it 'hide-cell', so that it is folded")
        if not under_exercises:
            yield Problem(number, 0, "is a solution before the heading '## Exercises': move it")
    if not solved:
        yield Problem(
            0, 0, "has no solved exercise: tag a code cell 'solution' and 'hide-cell' at its end"
        )


def check_numbers(cells: list[dict]) -> Iterator[Problem]:
    """Yield a problem for each number in prose that looks like a result."""
    for number, cell in enumerate(cells, 1):
        text = source(cell)
        if cell["cell_type"] != "markdown" or NUMBERS_ALLOWED.search(text):
            continue
        # Blanked rather than removed, to preserve line numbers.
        prose = NOT_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
        for match in RESULT.finditer(prose):
            line = prose.count("\n", 0, match.start()) + 1
            yield Problem(
                number,
                line,
                f"{match[0]!r} looks like a typed result: compute it and glue it in, or explain "
                "it: <!-- numbers: ... -->",
            )


def check_notebook(notebook: dict, path: str) -> list[Problem]:
    """Check one chapter.

    Args:
        notebook: The parsed notebook.
        path: Its path relative to the top folder, such as ``"book/steering.ipynb"``.

    Returns:
        The problems, in the order of the cells.
    """
    cells = notebook["cells"]
    problems = [
        *check_clean(cells),
        *check_ids(cells),
        *check_structure(cells),
        *check_colab(cells, path),
        *check_figures(cells),
        *check_code_length(cells),
        *check_exercises(cells),
        *check_numbers(cells),
    ]
    return sorted(problems, key=lambda problem: (problem.cell, problem.line))


def main(names: list[str]) -> int:
    """Check the named notebooks, or all of ``book/``, and print the problems.

    Args:
        names: Paths of notebooks; empty for all.

    Returns:
        0 if there are no problems, else 1.
    """
    paths = [Path(name).resolve() for name in names] or sorted((ROOT / "book").glob("**/*.ipynb"))
    paths = [path for path in paths if ".ipynb_checkpoints" not in path.parts]
    failed = 0
    for path in paths:
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        for problem in check_notebook(json.loads(path.read_text(encoding="utf-8")), name):
            print(f"{name}: {problem}")
            failed = 1
    if not failed:
        print(f"{len(paths)} chapters, no problems found")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
