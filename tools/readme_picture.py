"""Copy the README's picture from the built book, so that it shows the book's results.

Run by ``make picture`` after ``make book``.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "_build/html/book/04_steering.html"
FIGURE = "fig-steering-test"
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


def main() -> int:
    """Copy the picture.

    Returns:
        0 if it was copied, 1 if the book is not built.
    """
    if not PAGE.exists():
        print(f"{PAGE} is missing: run make book first", file=sys.stderr)
        return 1
    shutil.copyfile(PAGE.parent / picture_of(PAGE.read_text(encoding="utf-8"), FIGURE), PICTURE)
    print(f"{PICTURE.relative_to(ROOT)} is the book's {FIGURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
