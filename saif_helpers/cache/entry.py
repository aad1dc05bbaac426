"""The file of a store's entry: what it says about itself, and how it is checked and written."""

import contextlib
import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

SCHEMA = "saif-store-1"
LONGEST_HEADER = 100_000_000  # what safetensors allows


def canonical(value: object) -> str:
    """Write a value as JSON in the one way that equal values share.

    Args:
        value: Anything that JSON can hold; single numbers may be NumPy's or PyTorch's.

    Returns:
        The JSON, keys in order, no spaces.
    """
    options = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    return json.dumps(value, **options, default=_number)


def _number(value: object) -> int | float | bool:
    """Turn a single number, such as a layer that pandas' ``idxmax`` found, into a plain one."""
    if not hasattr(value, "item"):
        raise TypeError(f"{type(value).__name__} given; give what JSON can hold")
    return value.item()


def digest(value: object) -> str:
    """Return the sha256 sum of a value's canonical JSON.

    Args:
        value: Anything that JSON can hold.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor], about: object = None) -> str:
    """Return the sha256 sum of tensors: their names, shapes, data types and bytes.

    Args:
        tensors: The tensors by name; the order does not matter.
        about: What else goes into the sum, such as a configuration; anything that JSON can hold.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256(canonical(about).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(canonical([name, str(tensor.dtype), list(tensor.shape)]).encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(flat.view(torch.uint8).numpy())
    return total.hexdigest()


def pack(key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Write an entry: its tensors, and as text the schema, the key and a sha256 sum of it all.

    Args:
        key: What determines the entry, as JSON can hold it.
        tensors: The result.

    Returns:
        The bytes of a safetensors file.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    about = {"schema": SCHEMA, "key": key}
    # One text for all: safetensors writes several in any order, and equal entries would differ.
    return save(whole, {"entry": canonical(about | {"sha256": tensors_digest(whole, about)})})


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an entry and check it.

    Args:
        data: The bytes of the file.

    Returns:
        The key and the tensors.

    Raises:
        ValueError: If a byte is not what was written, or if it is of another schema.
    """
    about = _header(io.BytesIO(data))
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"damaged: {error}") from error
    total = about.pop("sha256")
    if tensors_digest(tensors, about) != total:
        raise ValueError("damaged: its sha256 sum does not fit")
    return about["key"], tensors


def read_key(path: Path) -> dict[str, Any]:
    """Read an entry's key and not its tensors, so nothing but the schema is checked.

    Args:
        path: The file.

    Returns:
        The key.

    Raises:
        ValueError: If it is not such a file, or of another schema.
    """
    with path.open("rb") as file:
        return _header(file)["key"]


def _header(file: io.BufferedIOBase) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise ValueError("damaged: its header cannot be that long")
    try:
        about = json.loads(json.loads(file.read(length))["__metadata__"]["entry"])
        schema, _, _ = about["schema"], about["key"], about["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"damaged, or not an entry: {error!r}") from error
    if schema != SCHEMA:
        raise ValueError(f"of schema {schema!r}, and this version reads {SCHEMA!r}")
    return about


def write(path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all, whatever happens meanwhile.

    Args:
        path: Where to; its folder must be there.
        data: What to write.

    Raises:
        OSError: If it cannot be written; then nothing is left of it.
    """
    # Not by tempfile, whose files nobody else may read: a folder may be shared.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
