"""Check the readability of the chapters: answer first, short, more prose than code.

Run by ``make check``, on all notebooks of ``book/`` or on the named ones. The rules:

- The first cell contains the answer (``{answer}``), before any code.
- Set-up and configuration cells are folded.
- The reading time is at most 15 minutes, at 200 words or 15 lines of shown code per minute.
- There are at least ten words of prose per line of shown code.
- The median shown cell has at most 6 lines, no cell more than 15, no line more than 84 characters.

Folded code does not count as shown.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from check_notebooks import FOLDED, ROOT, source, tags

WORDS, LINES = 200, 15  # per minute of reading
MINUTES = 15
WORDS_FOR_A_LINE = 10
MEDIAN_CELL, LONGEST_CELL, LONGEST_LINE = 6, 15, 84
NO_WORDS = re.compile(
    r"<!--.*?-->|\$\$.*?\$\$|^\s*(?:```|:::).*?$|^:\w+:.*$|\]\([^)]*\)|[|#*>\[\]{}`:-]+",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Reading:
    """The amount of text and code in a chapter.

    Attributes:
        words: Number of words of prose.
        cells: Number of lines of each shown code cell.
        longest_line: Number of characters of the longest shown line of code.
    """

    words: int
    cells: tuple[int, ...]
    longest_line: int

    @property
    def lines(self) -> int:
        """Number of lines of shown code."""
        return sum(self.cells)

    @property
    def minutes(self) -> float:
        """Reading time in minutes."""
        return self.words / WORDS + self.lines / LINES


def reading(notebook: dict) -> Reading:
    """Count the words and the shown lines of code of a chapter.

    Args:
        notebook: The parsed notebook.

    Returns:
        The counts.
    """
    prose = [source(c) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    shown = [
        source(c).rstrip().split("\n")
        for c in notebook["cells"]
        if c["cell_type"] == "code" and not tags(c) & FOLDED
    ]
    words = sum(len(NO_WORDS.sub(" ", text).split()) for text in prose)
    longest = max((len(line) for lines in shown for line in lines), default=0)
    return Reading(words, tuple(map(len, shown)), longest)


def problems(notebook: dict) -> Iterator[str]:
    """Yield the rules that a chapter breaks.

    Args:
        notebook: The parsed notebook.

    Yields:
        One sentence for each problem.
    """
    first, found = source(notebook["cells"][0]), reading(notebook)
    if "{answer}" not in first:
        yield "the first cell has no {answer}: state there what the chapter found"
    for tag in ("setup", "config"):
        if any(tag in tags(c) and not tags(c) & FOLDED for c in notebook["cells"]):
            yield f"the {tag} cell is not folded: tag it hide-input"
    if found.minutes > MINUTES:
        yield f"it takes {found.minutes:.0f} minutes to read; {MINUTES} are allowed"
    if found.words < WORDS_FOR_A_LINE * found.lines:
        yield (
            f"{found.words} words of prose for {found.lines} lines of shown code; "
            f"{WORDS_FOR_A_LINE} words per line are required: fold code that is not essential"
        )
    if found.cells and median(found.cells) > MEDIAN_CELL:
        yield f"the median shown cell has {median(found.cells)} lines; {MEDIAN_CELL} are allowed"
    if found.cells and max(found.cells) > LONGEST_CELL:
        yield f"a shown cell has {max(found.cells)} lines; {LONGEST_CELL} are allowed"
    if found.longest_line > LONGEST_LINE:
        yield f"a shown line has {found.longest_line} characters; {LONGEST_LINE} are allowed"


def main(names: list[str]) -> int:
    """Check the named notebooks, or all of ``book/``, and print the problems.

    Args:
        names: Paths of notebooks; empty for all.

    Returns:
        0 if there are no problems, else 1.
    """
    failed = 0
    for path in map(Path, names) if names else sorted((ROOT / "book").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        found, wrong = reading(notebook), list(problems(notebook))
        print(
            f"{path.stem}: {found.minutes:.0f} minutes, {found.words} words, {found.lines} lines "
            f"of shown code in {len(found.cells)} cells"
        )
        for problem in wrong:
            print(f"  {problem}", file=sys.stderr)
        failed |= bool(wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
