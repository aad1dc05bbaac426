"""Sphinx extension of the book: invalidate the execution cache when its inputs change.

The execution cache depends only on a chapter's code, so results would become stale after an edit to
the package, its data, the weights or the locked versions. This extension puts the cache in a folder
named after a hash of all of these. It also sets ``SAIF_BOOK_BUILD=1`` for the chapters, which
disables progress bars.
"""

import hashlib
import os
import platform
import shutil
from pathlib import Path

CACHES = ".execution_caches"
INPUTS = ("saif_helpers", "requirements.lock")
RESULTS = "book/results"  # results of real models, if a reader computed any; a chapter shows them


def input_files(root: Path) -> list[Path]:
    """Return the files that a chapter's results depend on, besides its own code.

    Args:
        root: Top folder of the project.

    Returns:
        The files in `INPUTS` and `RESULTS` under `root`, sorted, without compiled or hidden files.

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
    """Return a hash of the names and contents of `input_files` and of the Python version.

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
    """Create the execution cache for the current inputs, and remove the caches of other inputs.

    Args:
        root: Top folder of the project.
        build: The build folder of the book.

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
        The extension's metadata: it is safe for parallel reading and writing.
    """
    os.environ["SAIF_BOOK_BUILD"] = "1"
    app.connect("config-inited", _on_config_inited)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
