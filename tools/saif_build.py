"""Sphinx extension of the book: execute chapters again when, and only when, they could differ.

The execution cache knows a chapter's code and nothing else, so an edit of the package, its data,
the weights or the locked versions would leave stale results on the page. Here the cache lies in a
folder named after a hash of all of those. Chapters also learn that they run in the book
(``SAIF_BOOK_BUILD=1``), where a progress bar would stay on the page.
"""

import hashlib
import os
import platform
import shutil
from pathlib import Path

CACHES = ".execution_caches"
INPUTS = ("saif_helpers", "requirements.lock")
RESULTS = "book/results"  # of real models, where a reader has made some; a chapter shows them


def input_files(root: Path) -> list[Path]:
    """List what a chapter's results depend on besides its own code.

    Args:
        root: Top folder of the project.

    Returns:
        The files of `INPUTS` and `RESULTS` under `root`, sorted; no compiled or hidden ones.

    Raises:
        FileNotFoundError: If one of `INPUTS` does not exist.
    """
    found = []
    for name in (*INPUTS, RESULTS):
        path = root / name
        if not path.exists() and name == RESULTS:
            continue
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: is {root} the top folder of the project?")
        found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    hidden = ("__pycache__", ".")
    return sorted(f for f in found if not any(p.startswith(hidden) for p in _parts(f, root)))


def _parts(file: Path, root: Path) -> tuple[str, ...]:
    return file.relative_to(root).parts


def input_hash(root: Path) -> str:
    """Hash names and contents of `input_files` and the version of Python.

    Args:
        root: Top folder of the project.

    Returns:
        Sixteen hexadecimal digits.
    """
    digest = hashlib.sha256(platform.python_version().encode())
    for file in input_files(root):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()[:16]


def prepare_cache(root: Path, build: Path) -> Path:
    """Make the execution cache for the current inputs and remove those of other inputs.

    Args:
        root: Top folder of the project.
        build: The folder that the book is built in.

    Returns:
        The folder of the cache.
    """
    current = build / CACHES / input_hash(root)
    current.mkdir(parents=True, exist_ok=True)
    for other in current.parent.iterdir():
        if other != current:
            shutil.rmtree(other)
    return current


def _on_config_inited(app, config) -> None:
    build = Path(app.outdir).parent
    config.nb_execution_cache_path = str(prepare_cache(Path(app.confdir), build))


def setup(app) -> dict[str, bool]:
    """Connect the extension to Sphinx.

    Args:
        app: The Sphinx application.

    Returns:
        What Sphinx wants to know about parallel reading and writing.
    """
    os.environ["SAIF_BOOK_BUILD"] = "1"
    app.connect("config-inited", _on_config_inited)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
