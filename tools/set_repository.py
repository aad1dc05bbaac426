"""Write the repository's address everywhere: badges, install lines, citation.

Run by ``make repository URL=https://github.com/owner/name``. The address has one place, Repository
under ``[project.urls]`` in pyproject.toml; the other places repeat it, and a test compares them.
Files are changed as text, so that a notebook stays as it is otherwise.

Before the first run nothing is published under the address, so the files offer what works: set-up
cells install the wheel that ``make wheel`` builds and a reader uploads, and badges are comments,
``<!-- published: ... -->``. The first run opens the comments and lets set-up cells install from the
address.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = {".cff", ".ipynb", ".md", ".py", ".toml", ".yml"}
MADE = {"_build", "build", "dist"}
"""Folders whose files are made or do not belong to the book."""
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]{0,38}/[\w.-]{1,100})", re.ASCII)
WHEEL = "saif_helpers-0.1.0-py3-none-any.whl"
"""What set-up cells install before the book is published; extras may follow in brackets."""
FROM_WHEEL = re.compile(rf"%pip install -q {re.escape(WHEEL)}((?:\[[\w,]+])?)")
BADGE = re.compile(r"<!-- published: (.*?) -->")
HOSTS = ("https://github.com", "https://colab.research.google.com/github")


def owner_and_name(url: str) -> str:
    """Return the part of a repository's address that is its own.

    Args:
        url: Such as ``https://github.com/owner/name``.

    Returns:
        Such as ``owner/name``.

    Raises:
        ValueError: If it is no address of a repository on GitHub.
    """
    found = ADDRESS.fullmatch(url)
    if found is None or found[1].endswith((".git", "/.", "/..")):
        raise ValueError(
            f"{url!r} is no repository's address; expected https://github.com/owner/name, "
            "with nothing after the name (no '.git', no '/')"
        )
    return found[1]


def current(root: Path) -> str:
    """Return the address that pyproject.toml gives."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return pyproject["project"]["urls"]["Repository"]


def files(root: Path) -> Iterator[Path]:
    """Yield the text files of the repository that may name its address."""
    for folder, inner, names in os.walk(root):
        # Written into, the list is what os.walk goes on with; environments have many files.
        inner[:] = sorted(i for i in inner if i == ".github" or (i[0] != "." and i not in MADE))
        paths = (Path(folder, name) for name in sorted(names))
        yield from (path for path in paths if path.suffix in KINDS)


def set_repository(root: Path, url: str) -> list[Path]:
    """Write another address in place of the one that pyproject.toml gives.

    Args:
        root: The repository's folder.
        url: The new address.

    Returns:
        The files that were changed.

    Raises:
        ValueError: If the new address is none.
    """
    new, old = owner_and_name(url), owner_and_name(current(root))
    hosts = "|".join(map(re.escape, HOSTS))
    # The name must end there: owner/book is not the beginning of owner/book-2 or owner/book.js.
    place = re.compile(rf"({hosts})/{re.escape(old)}(?![\w-]|\.\w)")
    changed = []
    for path in files(root):
        before = path.read_bytes().decode("utf-8")  # not read_text: line ends stay as they are
        after = published(place.sub(rf"\g<1>/{new}", before), path.suffix, url)
        if after != before:
            path.write_bytes(after.encode("utf-8"))
            changed.append(path)
    return changed


def published(text: str, suffix: str, url: str) -> str:
    """Open the badges in a file's text, and let its set-up cells install from an address.

    Args:
        text: The text.
        suffix: Ending of the file's name; ``.py`` files, such as this one, stay as they are.
        url: The address.

    Returns:
        The text, the same if it offers nothing that waits for an address.
    """
    if suffix == ".yml":
        return text.replace('colab_url: "" # ', "colab_url: ")
    if suffix not in (".ipynb", ".md"):
        return text
    quote = '\\"' if suffix == ".ipynb" else '"'
    text = BADGE.sub(lambda found: found[1], text)
    return FROM_WHEEL.sub(
        lambda found: f"%pip install -q {quote}saif-helpers{found[1]} @ git+{url}{quote}", text
    )


def main(arguments: list[str]) -> int:
    """Write the address that was named.

    Args:
        arguments: The address, and nothing else.

    Returns:
        0 if it is written everywhere now, 1 if it is no address.
    """
    try:
        changed = set_repository(ROOT, " ".join(arguments))
    except ValueError as error:
        print(f"{error}: make repository URL=https://github.com/owner/name", file=sys.stderr)
        return 1
    for path in changed:
        print(path.relative_to(ROOT))
    print(f"{len(changed)} files changed; the address is {current(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
