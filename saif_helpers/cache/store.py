"""On-disk store of finished batches, so that an interrupted run can resume.

An entry is the result of one batch: a safetensors file whose name is the sha256 sum of everything
that determines it. Rows are looked up individually, regardless of the batch they were computed in.
The store is a plain folder without locks or a database, so that it works on a mounted Google Drive.

Grades by rules are not stored, since they can be recomputed from stored outputs: grading 200
outputs took 0.2 to 63 ms (language identification is slowest), reading 200 stored grades would take
2 to 5 ms, and generating the outputs with the smallest model took 500 ms. Stored grades would also
become stale when a grader changes, since its code is not part of a key. A judge's answers are
stored (`answers`), and so are verdicts, in the files of ``make verdicts`` and ``make results``.
"""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from saif_helpers._internal.checked import checked
from saif_helpers.cache.entry import canonical, digest, pack, read_key, unpack, write

DRIVE = Path("/content/drive/MyDrive")  # where Colab mounts Google Drive
_SHELF = r"[a-z]+-[0-9a-f]{16}"
_ENTRY = r"[0-9a-f]{64}\.safetensors"
_LEFTOVER = r"\.[0-9a-f]{64}\.\w+\.tmp"


def default_folder() -> Path:
    """Return the default folder of the store.

    Returns:
        The environment variable ``SAIF_STORE``; else the folder ``saif-results`` on Google Drive,
        if Colab has mounted it; else a folder in the user's cache.
    """
    if os.environ.get("SAIF_STORE"):
        return Path(os.environ["SAIF_STORE"])
    if os.path.isdir(DRIVE):  # Path.is_dir would raise if the mount is dead
        return DRIVE / "saif-results"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "saif-helpers" / "store"


class Store:
    """Results of finished batches in a folder, one file for each batch.

    Any number of processes can share a folder: files are written atomically, and files of the same
    name are interchangeable. A file that is damaged or has another schema causes a warning, is
    ignored, and is overwritten when its batch is recomputed. If the folder is not writable, the
    store warns once and the run continues.

    >>> model = saif.load("organism", "S", store=saif.Store("results"))
    """

    @checked
    def __init__(self, folder: str | os.PathLike) -> None:
        """Use a folder, which is created with the first entry."""
        self.folder = Path(folder).expanduser()
        self._rows: dict[Path, dict[str, list[Path]]] = {}  # shelf -> digest of a row -> its files
        self._seen: set[Path] = set()
        self._writable = True

    def find(
        self, kind: str, shared: Mapping[str, Any], rows: Sequence[object]
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Look up rows.

        Args:
            kind: What the results are, such as ``"capture"``.
            shared: What determines all of them, JSON-serializable.
            rows: What else determines each of them; all distinct.

        Yields:
            Positions in `rows` and their results: tensors by name, in the same order. Rows that
            are not in the store are omitted.
        """
        shelf = self._shelf(kind, shared)
        known = self._look_through(shelf)
        sums = [digest(row) for row in rows]
        left = {at: [*known[row_sum]] for at, row_sum in enumerate(sums) if row_sum in known}
        while left:  # a row whose file is damaged may be in another file too
            files: dict[Path, list[int]] = {}
            for position, paths in left.items():
                files.setdefault(paths.pop(), []).append(position)
            for path, positions in files.items():
                found = _read(path, [kind, shared], [sums[position] for position in positions])
                if found is not None:
                    yield positions, found
                    for position in positions:
                        del left[position]
            left = {position: paths for position, paths in left.items() if paths}

    def put(
        self,
        kind: str,
        shared: Mapping[str, Any],
        rows: Sequence[object],
        tensors: Mapping[str, Tensor],
    ) -> None:
        """Store the result of a batch.

        Args:
            kind: As in `find`.
            shared: As in `find`.
            rows: What else determines each row of the batch.
            tensors: The result: tensors by name, on the CPU, with the same number of rows.
        """
        key = {"kind": kind, "shared": shared, "rows": rows}
        shelf = self._shelf(kind, shared)
        path = shelf / f"{digest(key)}.safetensors"
        try:
            shelf.mkdir(parents=True, exist_ok=True)
            write(path, pack(key, tensors))
        except OSError as error:
            if self._writable:
                warnings.warn(
                    f"results cannot be stored in {self.folder} ({error}); the run continues, "
                    "but they are lost when this process ends: free space there, or give "
                    "Store(folder) another folder",
                    stacklevel=2,
                )
            self._writable = False
            return
        self._seen.add(path)
        known = self._rows.setdefault(shelf, {})
        for row in rows:
            files = known.setdefault(digest(row), [])
            if path not in files:
                files.append(path)

    def size(self) -> int:
        """Return how many bytes `clear` would free: entries and leftover temporary files."""
        total = 0
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def clear(self) -> None:
        """Delete all entries and leftover temporary files, but no other files.

        A judge's answers in the same folder are kept, since they cost money. To request them again,
        delete the folder `answers.cache_folder`.
        """
        for path in self._files():
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other files are in it
                path.parent.rmdir()
        self._rows.clear()
        self._seen.clear()

    def __len__(self) -> int:
        """Count the entries, one for each finished batch."""
        return len(self._entries())

    def __bool__(self) -> bool:
        """Return True: an empty store is a store too."""
        return True

    def __repr__(self) -> str:
        """Return the folder, the number of entries and their size."""
        return f"Store({str(self.folder)!r}: {len(self)} entries, {self.size() / 1e6:.1f} MB)"

    def _shelf(self, kind: str, shared: Mapping[str, Any]) -> Path:
        """Return the folder of entries that differ only in rows, to keep directories small."""
        return self.folder / f"{kind}-{digest(shared)[:16]}"

    def _look_through(self, shelf: Path) -> dict[str, list[Path]]:
        """Index new files, and return the files that contain each row."""
        known = self._rows.setdefault(shelf, {})
        for path in self._entries(shelves=shelf.name):
            if path not in self._seen:
                self._seen.add(path)
                try:
                    for row in read_key(path)["rows"]:
                        known.setdefault(digest(row), []).append(path)
                except (OSError, ValueError, KeyError, TypeError) as error:
                    _warn_about(path, error)
        return known

    def _files(self) -> list[Path]:
        """List the files that `clear` deletes; folders are skipped even if named like an entry."""
        found = [*self._entries(), *self._entries(_LEFTOVER)]
        return [path for path in found if not path.is_dir()]

    def _entries(self, name: str = _ENTRY, shelves: str = "*") -> list[Path]:
        """List the files of a store by name pattern; pipes are skipped."""
        try:
            found = sorted(self.folder.glob(f"{shelves}/*"))
        except OSError:  # an unmounted Drive; writing to it will warn
            return []
        return [
            path
            for path in found
            if re.fullmatch(_SHELF, path.parent.name)
            and re.fullmatch(name, path.name)
            and not path.is_fifo()
        ]


def _read(path: Path, computation: list, rows: Sequence[str]) -> dict[str, Tensor] | None:
    """Read rows of an entry by their digests; return None, usually with a warning, on failure."""
    try:
        key, tensors = unpack(path.read_bytes())
        if canonical([key.get("kind"), key.get("shared")]) != canonical(computation):
            raise ValueError("it belongs to another computation")
        at = {digest(row): number for number, row in enumerate(key["rows"])}
        chosen = [at[row] for row in rows]
        return {name: tensor[chosen] for name, tensor in tensors.items()}
    except FileNotFoundError:  # another process has cleared the store
        return None
    except (OSError, ValueError, LookupError) as error:
        _warn_about(path, error)
        return None


def _warn_about(path: Path, error: Exception) -> None:
    warnings.warn(f"{path} is ignored, and its batch is recomputed: {error}", stacklevel=4)
