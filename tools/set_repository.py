"""Write the repository's address everywhere that it stands: badges, install lines, citation.

Run by ``make repository URL=https://github.com/owner/name``. The address has one place, Repository
under ``[project.urls]`` in pyproject.toml; the other places repeat what stands there, and a test
compares them. Files are changed as text, so that a notebook stays as it is otherwise.
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
        after = place.sub(rf"\g<1>/{new}", before)
        if after != before:
            path.write_bytes(after.encode("utf-8"))
            changed.append(path)
    return changed


def main(arguments: list[str]) -> int:
    """Write the address that was named.

    Args:
        arguments: The address, and nothing else.

    Returns:
        0 if it stands everywhere now, 1 if it is no address.
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
