"""Update the repository's URL in badges, install commands and the citation.

Run by ``make repository URL=https://github.com/owner/name``. The URL is defined by ``Repository``
under ``[project.urls]`` in pyproject.toml; the other files repeat it, and a test compares them.
Files are edited as text, so that the rest of a notebook does not change.

Before the first run, the project is not published: set-up cells install an uploaded wheel, which
``make wheel`` builds, and badges are commented out as ``<!-- published: ... -->``. The first run
uncomments the badges and makes the set-up cells install from the URL. Each run also sets the
address of the published pages, GitHub's own, in _config.yml; another one is set there by hand.
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
"""Folders with generated files, or files that do not belong to the book."""
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]{0,38}/[\w.-]{1,100})", re.ASCII)
WHEEL = "saif_helpers-0.1.0-py3-none-any.whl"
"""The file that set-up cells install before publication; extras may follow in brackets."""
FROM_WHEEL = re.compile(rf"%pip install -q {re.escape(WHEEL)}((?:\[[\w,]+])?)")
BASE = re.compile(r"^(  baseurl: )\S+", re.MULTILINE)
"""Where _config.yml has the address of the published pages."""
BADGE = re.compile(r"<!-- published: (.*?) -->")
HOSTS = ("https://github.com", "https://colab.research.google.com/github")


def owner_and_name(url: str) -> str:
    """Return the owner and name in a repository's URL.

    Args:
        url: The URL, for example ``https://github.com/owner/name``.

    Returns:
        Owner and name, for example ``owner/name``.

    Raises:
        ValueError: If the URL is not that of a GitHub repository.
    """
    found = ADDRESS.fullmatch(url)
    if found is None or found[1].endswith((".git", "/.", "/..")):
        raise ValueError(
            f"{url!r} is not a repository's URL; expected https://github.com/owner/name, "
            "with nothing after the name (no '.git', no '/')"
        )
    return found[1]


def pages(url: str) -> str:
    """Return the address at which GitHub publishes the pages of a repository."""
    owner, name = owner_and_name(url).split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def current(root: Path) -> str:
    """Return the URL in pyproject.toml."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return pyproject["project"]["urls"]["Repository"]


def files(root: Path) -> Iterator[Path]:
    """Yield the text files of the repository that may contain its URL."""
    for folder, inner, names in os.walk(root):
        # Editing the list in place makes os.walk skip folders; environments have many files.
        inner[:] = sorted(i for i in inner if i == ".github" or (i[0] != "." and i not in MADE))
        paths = (Path(folder, name) for name in sorted(names))
        yield from (path for path in paths if path.suffix in KINDS)


def set_repository(root: Path, url: str) -> list[Path]:
    """Replace the current URL with another one in all files.

    Args:
        root: The repository's folder.
        url: The new URL.

    Returns:
        The changed files.

    Raises:
        ValueError: If the new URL is invalid.
    """
    new, old = owner_and_name(url), owner_and_name(current(root))
    hosts = "|".join(map(re.escape, HOSTS))
    # Match the whole name: owner/book must not match in owner/book-2 or owner/book.js.
    place = re.compile(rf"({hosts})/{re.escape(old)}(?![\w-]|\.\w)")
    changed = []
    for path in files(root):
        before = path.read_bytes().decode("utf-8")  # not read_text, to preserve line endings
        after = published(place.sub(rf"\g<1>/{new}", before), path.suffix, url)
        if after != before:
            path.write_bytes(after.encode("utf-8"))
            changed.append(path)
    return changed


def published(text: str, suffix: str, url: str) -> str:
    """Uncomment the badges in a text, and make its set-up cells install from a URL.

    Args:
        text: The text.
        suffix: Suffix of the file's name; ``.py`` files, such as this one, are not changed.
        url: The URL.

    Returns:
        The new text; the same text if there is nothing to publish.
    """
    if suffix == ".yml":
        text = BASE.sub(rf"\g<1>{pages(url)}", text)
        return text.replace('colab_url: "" # ', "colab_url: ")
    if suffix not in (".ipynb", ".md"):
        return text
    quote = '\\"' if suffix == ".ipynb" else '"'
    text = BADGE.sub(lambda found: found[1], text)
    return FROM_WHEEL.sub(
        lambda found: f"%pip install -q {quote}saif-helpers{found[1]} @ git+{url}{quote}", text
    )


def main(arguments: list[str]) -> int:
    """Update the URL in all files.

    Args:
        arguments: The new URL as the only argument.

    Returns:
        0 if all files were updated, 1 if the URL is invalid.
    """
    try:
        changed = set_repository(ROOT, " ".join(arguments))
    except ValueError as error:
        print(f"{error}: make repository URL=https://github.com/owner/name", file=sys.stderr)
        return 1
    for path in changed:
        print(path.relative_to(ROOT))
    print(f"{len(changed)} files changed; the URL is {current(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
