"""Models in GGUF files, converted once to safetensors.

GGUF is the format of llama.cpp, usually with weights quantised to 4 to 8 bits. transformers can
dequantise such a file, which takes half a minute and more memory than the model, so the result is
cached in a folder with the sha256 sum of every file. Heavy imports are deferred until a conversion.

Dequantised weights only approximate those of the original model.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from saif_helpers._internal.errors import FileContentError
from saif_helpers._internal.progress import no_loading_bar

CONVERSION = "saif-gguf-1"
"""Version of the conversion; increment it when the conversion changes."""
_NOTE = "conversion.json"


def models_folder() -> Path:
    """Return the folder of converted models.

    Returns:
        The environment variable ``SAIF_MODELS``; else a folder in the user's cache.
    """
    if os.environ.get("SAIF_MODELS"):
        return Path(os.environ["SAIF_MODELS"]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "saif-helpers" / "models"


class ModelCache:
    """The folder of converted models, with its size and a way to clear it.

    >>> ModelCache()  # doctest: +SKIP
    ModelCache('/home/me/.cache/saif-helpers/models': 2 files or models, 371.0 MB)

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use a folder, by default `models_folder`."""
        self.folder = Path(folder) if folder else models_folder()

    def size(self) -> int:
        """Return how many bytes `clear` would free."""
        files = [path for entry in self._entries() for path in (entry, *entry.rglob("*"))]
        return sum(path.stat().st_size for path in files if path.is_file())

    def clear(self) -> None:
        """Delete all models in it; they are converted again when next loaded."""
        for entry in self._entries():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def __repr__(self) -> str:
        """Return the folder, the number of entries and their size."""
        n, megabytes = len(self._entries()), self.size() / 1e6
        return f"ModelCache({str(self.folder)!r}: {n} files or models, {megabytes:.1f} MB)"

    def _entries(self) -> list[Path]:
        """List models, GGUF files, and leftovers of interrupted conversions."""
        found = [path for path in self.folder.glob("*.gguf*") if path.is_file()]
        notes = [path.parent for path in self.folder.glob(f"*/{_NOTE}")]
        return sorted({*found, *notes, *self.folder.glob(".*.part")})


def converted(file: Path, sha256: str | None = None, folder: Path | None = None) -> Path:
    """Return a folder with the model of a GGUF file as safetensors, converting it if necessary.

    Safe for concurrent processes: folders are written atomically. A folder with a damaged file is
    replaced.

    Args:
        file: The GGUF file.
        sha256: Expected sha256 sum; not checked by default.
        folder: Folder for the result, by default `models_folder`.

    Returns:
        A folder for ``from_pretrained``: configuration, weights in float16 (bfloat16 if they
        overflow), tokenizer and chat template.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a GGUF file, is truncated, has another sum, or transformers does
            not support its architecture.
        OSError: If there is not enough disk space.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; give the path of a GGUF file")
    folder, found = folder or models_folder(), sha256_of(file)
    if sha256 and found != sha256:
        raise FileContentError(
            f"{file} is damaged: its sha256 sum is {found}, not {sha256}; delete it and "
            "download it again",
            file,
        )
    target = folder / f"{file.stem}-{found[:16]}"
    if not is_whole(target):
        _check_gguf(file, folder)
        with _scratch(folder, target.name) as unfinished:
            _convert(file, unfinished)
            _write_note(unfinished, found)
            _put(unfinished, target)
    return target


def is_whole(folder: Path) -> bool:
    """Return whether all files of a converted folder have their recorded sums.

    Args:
        folder: The folder; it need not exist.

    Returns:
        False also if the folder was made by another version of the conversion.
    """
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        return note["conversion"] == CONVERSION and all(
            sha256_of(folder / name) == digest for name, digest in note["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def sha256_of(file: Path) -> str:
    """Return the sha256 sum of a file, 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check_gguf(file: Path, folder: Path) -> None:
    """Raise unless the file is complete and its 16-bit weights fit on the disk."""
    from gguf import GGUFReader

    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise FileContentError(
                f"{file} is not a GGUF file, which starts with the letters GGUF", file
            )
    try:
        n_weights = sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise FileContentError(
            f"{file} cannot be read ({error}): it is probably truncated; download it again", file
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    need, free = 2 * n_weights + 2**24, shutil.disk_usage(folder).free
    if free < need:
        raise OSError(
            f"{folder} has {free / 1e6:,.0f} MB free, but the converted model needs "
            f"{need / 1e6:,.0f} MB; free space there, or set SAIF_MODELS to another folder"
        )


def _convert(file: Path, folder: Path) -> None:
    """Write a GGUF file's model and tokenizer to a folder in transformers' format."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with no_loading_bar():
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
            read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
    except (ValueError, NotImplementedError, KeyError) as error:
        raise FileContentError(
            f"transformers cannot read {file.name}: {error}. Use a GGUF file of an architecture "
            "that it supports, or the original model",
            file,
        ) from error
    # transformers cannot save a model read from GGUF, so copy the weights to a new one.
    config = read.config
    config.quantization_config = None
    del config.quantization_config
    weights = read.state_dict()
    fits = all(w.abs().max() < torch.finfo(torch.float16).max for w in weights.values())
    dtype = torch.float16 if fits else torch.bfloat16
    with torch.device("meta"):
        model = type(read)(config)
    model.load_state_dict({name: w.to(dtype) for name, w in weights.items()}, assign=True)
    model.tie_weights()
    config.dtype = dtype
    with no_loading_bar():
        model.save_pretrained(folder)
    if read.generation_config is not None:
        read.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_note(folder: Path, source: str) -> None:
    """Record the source and the sums of the files; a folder without a record is incomplete."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    note = {"conversion": CONVERSION, "gguf_sha256": source, "files": files}
    (folder / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _scratch(folder: Path, name: str) -> Iterator[Path]:
    """Create a hidden folder that is deleted afterwards unless it was moved."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}.{secrets.token_hex(4)}.part"
    unfinished.mkdir()
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put(unfinished: Path, target: Path) -> None:
    """Move a finished folder into place, unless another process did so first."""
    try:
        unfinished.rename(target)
    except OSError:  # the folder exists
        if is_whole(target):
            return
        away = unfinished.with_name(unfinished.name.replace(".part", "-damaged.part"))
        with contextlib.suppress(OSError):  # another process may have moved it
            target.rename(away)
            shutil.rmtree(away, ignore_errors=True)
        with contextlib.suppress(OSError):
            unfinished.rename(target)
        if not is_whole(target):
            raise
