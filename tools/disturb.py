"""Fault injection: processes to kill, a full disk, damaged files.

Used by the tests of the store and by ``make soak``.
"""

import errno
import json
import multiprocessing
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from unittest.mock import patch

from saif_helpers.cache import entry as entries

TIME_LIMIT = 900  # seconds for a process that is not killed, on a busy machine
PAGE = 4096  # bytes, the minimum size of a file on a tmpfs
DAMAGES = ("header length", "header", "metadata", "tensors", "truncated", "schema", "pickle")
"""The kinds of damage; the first four flip a byte in the named part of the file."""


def starter(preload: Sequence[str]) -> Callable[..., BaseProcess]:
    """Return a function that runs another function in a separate process.

    Args:
        preload: Modules that take seconds to import; they are imported once and shared.

    Returns:
        A function that takes a function and its arguments, and returns the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*preload])

    def start(function: Callable[..., None], *arguments: object) -> BaseProcess:
        process = context.Process(target=function, args=arguments, daemon=True)
        process.start()
        return process

    return start


def exit_code(process: BaseProcess) -> int | None:
    """Wait for a process.

    Args:
        process: The process.

    Returns:
        Its exit code; None if it has not exited within `TIME_LIMIT` seconds.
    """
    process.join(TIME_LIMIT)
    return process.exitcode


def watch_writing(synced: Callable[[int], None], kept: Callable[[str], None]) -> None:
    """Install callbacks for the atomic file writes of this process.

    Args:
        synced: Called with the file descriptor before the file is synced.
        kept: Called with the file's name after it is in place.
    """
    fsync, put_in_place = os.fsync, os.replace

    def replace_and_tell(temporary: str, path: Path) -> None:
        put_in_place(temporary, path)
        kept(Path(path).name)

    os.replace = replace_and_tell
    os.fsync = lambda handle: (synced(handle), fsync(handle))


def no_space(*_: object) -> None:
    """Raise the error of a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None] | None]:
    """Mount a file system of one page on a folder for the duration of the context.

    Args:
        folder: An empty folder.

    Yields:
        A function that sets its size in pages; None if this user may not mount file systems.
    """

    def size(pages: int, *options: str) -> int:
        named = ["-o", ",".join([*options, f"size={pages * PAGE}"]), "soak", str(folder)]
        return subprocess.run(["mount", "-t", "tmpfs", *named], capture_output=True).returncode

    try:
        mounted = size(1) == 0
    except OSError:  # the command does not exist
        mounted = False
    try:
        yield (lambda pages: size(pages, "remount")) if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def damaged(data: bytes, kind: str, draw: Random, canary: Path) -> bytes:
    """Damage the bytes of an entry.

    Args:
        data: A valid entry.
        kind: One of `DAMAGES`.
        draw: Random generator for the position.
        canary: A file that the pickle would create if it were unpickled.

    Returns:
        The damaged bytes, which differ from `data`.
    """
    if kind == "truncated":
        return data[: draw.randrange(len(data))]
    if kind == "schema":
        key, tensors = entries.unpack(data)
        with patch.object(entries, "SCHEMA", f"saif-store-{draw.randint(2, 99)}"):
            return entries.pack(key, tensors)
    if kind == "pickle":
        return pickle.dumps(_Planted(canary), protocol=draw.randint(0, pickle.HIGHEST_PROTOCOL))
    at = draw.choice(_places(data, kind))
    return data[:at] + bytes([data[at] ^ draw.randint(1, 255)]) + data[at + 1 :]


class _Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return Path.touch, (self.canary,)


def _places(data: bytes, part: str) -> Sequence[int]:
    """Return the positions of a part of a safetensors file."""
    end = 8 + int.from_bytes(data[:8], "little")
    about = json.dumps(json.loads(data[8:end])["__metadata__"]["entry"], ensure_ascii=False)
    start = data.index(about.encode())
    metadata = range(start, start + len(about.encode()))
    return {
        "header length": range(8),
        "header": [at for at in range(8, end) if at not in metadata],
        "metadata": metadata,
        "tensors": range(end, len(data)),
    }[part]
