"""Write what the README and links to the book show: pictures, and what the record says in short.

Run by ``make picture`` after ``make book``.
"""

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

import share_image

from saif_helpers.book.in_short import sentences
from saif_helpers.book.results import read_all

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "_build/html/book/04_steering.html"
FIGURE = "fig-steering-test"
README = ROOT / "README.md"
BEGIN, END = "<!-- in short, by make picture -->", "<!-- end of in short -->"
PICTURE = ROOT / "book/_assets/readme-steering.svg"


def picture_of(page: str, figure: str) -> str:
    """Return the path of a figure's picture in a page.

    Args:
        page: The page's HTML.
        figure: The figure's name in the cell's metadata.

    Returns:
        The path, relative to the page.

    Raises:
        ValueError: If the page has no such figure with a picture.
    """
    found = re.search(rf'<figure[^>]*id="{figure}"[^>]*>.*?<img[^>]*src="([^"]+)"', page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no figure {figure!r} with a picture: run make book first")
    return found[1]


def with_sentences(readme: str, told: Iterable[str]) -> str:
    """Put what the record says in short into the README.

    Args:
        readme: The README.
        told: The sentences of each group of models, see `in_short.sentences`.

    Returns:
        The README, with a paragraph for each between its two marks.

    Raises:
        ValueError: If the marks are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the README lacks the marks {BEGIN} and {END}")
    paragraphs = "\n\n".join(fill(text, 100, break_on_hyphens=False) for text in told)
    return f"{before}{begin}\n\n{paragraphs}\n\n{end}{after}"


def main() -> int:
    """Write the sentences, draw the picture of links, and copy that of the README.

    Returns:
        0 if both was done, 1 if the book is not built.
    """
    rows = read_all(ROOT / "book" / "results")
    told = sentences(rows).values()
    share_image.draw(rows)
    README.write_text(with_sentences(README.read_text(encoding="utf-8"), told), encoding="utf-8")
    if not PAGE.exists():
        print(f"{PAGE} is missing: run make book first", file=sys.stderr)
        return 1
    shutil.copyfile(PAGE.parent / picture_of(PAGE.read_text(encoding="utf-8"), FIGURE), PICTURE)
    print(f"{PICTURE.relative_to(ROOT)} is the book's {FIGURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
