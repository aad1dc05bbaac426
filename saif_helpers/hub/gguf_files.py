"""Models in GGUF files: converted once to safetensors, which every run then reads.

GGUF is the format of llama.cpp, mostly with weights of 4 to 8 bits. transformers can read such a
file and turn its weights into 16 bits again, which takes half a minute and more memory than the
model; so the result is kept in a folder of the user's cache, with the sha256 sum of every file.
Nothing heavy is imported before a file has to be converted.

The weights stay what they became by quantisation: near those of the original model, not equal.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from saif_helpers._internal.progress import no_loading_bar

CONVERSION = "saif-gguf-1"
"""What a converted folder was made by; raised when the conversion changes."""
_NOTE = "conversion.json"


def models_folder() -> Path:
    """Return where converted models are kept.

    Returns:
        The environment variable ``SAIF_MODELS``; else a folder in the user's cache.
    """
    if os.environ.get("SAIF_MODELS"):
        return Path(os.environ["SAIF_MODELS"]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "saif-helpers" / "models"


class ModelCache:
    """The folder of converted models: where it is, how large, and how to clear it.

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
        """Delete all models in it; they are converted again when they are next loaded."""
        for entry in self._entries():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def __repr__(self) -> str:
        """Write the folder, the number of entries and their size."""
        n, megabytes = len(self._entries()), self.size() / 1e6
        return f"ModelCache({str(self.folder)!r}: {n} files or models, {megabytes:.1f} MB)"

    def _entries(self) -> list[Path]:
        """List models, GGUF files, and what an interrupted conversion left."""
        found = [path for path in self.folder.glob("*.gguf*") if path.is_file()]
        notes = [path.parent for path in self.folder.glob(f"*/{_NOTE}")]
        return sorted({*found, *notes, *self.folder.glob(".*.part")})


def converted(file: Path, sha256: str | None = None, folder: Path | None = None) -> Path:
    """Return a folder with the model of a GGUF file as safetensors, converting it if need be.

    Any number of processes may ask at once: a folder appears whole or not at all. A folder of which
    a file is damaged is made anew.

    Args:
        file: The GGUF file.
        sha256: What its sha256 sum has to be; not checked by default.
        folder: Where to keep the result, by default `models_folder`.

    Returns:
        A folder that ``from_pretrained`` reads: configuration, weights in float16 (bfloat16 where
        they do not fit), tokenizer and chat template.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no GGUF file, is cut off, has another sum, or transformers cannot read
            its architecture.
        OSError: If there is too little disk for the result.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file; give the path of a GGUF file")
    folder, found = folder or models_folder(), sha256_of(file)
    if sha256 and found != sha256:
        raise ValueError(
            f"{file} is damaged: its sha256 sum is {found}, not {sha256}; delete it and "
            "get it again"
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
    """Return whether a converted folder holds all its files with the sums noted in it.

    Args:
        folder: The folder; it need not exist.

    Returns:
        False too where the folder was made by another version of the conversion.
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
    """Raise unless the file is whole and the disk has room for its weights in 16 bits."""
    from gguf import GGUFReader

    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise ValueError(f"{file} is no GGUF file, which begins with the letters GGUF")
    try:
        n_weights = sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(
            f"{file} cannot be read ({error}): it was probably cut off; get it again"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    need, free = 2 * n_weights + 2**24, shutil.disk_usage(folder).free
    if free < need:
        raise OSError(
            f"{folder} has {free / 1e6:,.0f} MB free, and the converted model takes "
            f"{need / 1e6:,.0f} MB; free space there, or set SAIF_MODELS to another folder"
        )


def _convert(file: Path, folder: Path) -> None:
    """Write a GGUF file's model and tokenizer to a folder, in the format of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with no_loading_bar():
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
            read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
    except (ValueError, NotImplementedError, KeyError) as error:
        raise ValueError(
            f"transformers cannot read {file.name}: {error}. Take a GGUF file of an architecture "
            "that it supports, or the original model"
        ) from error
    # A model read from GGUF refuses to be saved, so its weights go into one that was not.
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
    """Note where the files come from and their sums; a folder without a note is not whole."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    note = {"conversion": CONVERSION, "gguf_sha256": source, "files": files}
    (folder / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _scratch(folder: Path, name: str) -> Iterator[Path]:
    """Make a hidden folder that is gone afterwards, unless it was moved."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}.{secrets.token_hex(4)}.part"
    unfinished.mkdir()
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put(unfinished: Path, target: Path) -> None:
    """Move a finished folder to its place, unless another process was first."""
    try:
        unfinished.rename(target)
    except OSError:  # there is a folder
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
