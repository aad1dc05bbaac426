"""Files of a store's entries: serialization, checksums and atomic writes."""

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
LONGEST_HEADER = 100_000_000  # the limit of safetensors


def canonical(value: object) -> str:
    """Serialize a value to canonical JSON, the same for equal values.

    Args:
        value: A JSON-serializable value; scalars may be NumPy's or PyTorch's.

    Returns:
        The JSON, with sorted keys and no spaces.
    """
    options = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    return json.dumps(value, **options, default=_number)


def _number(value: object) -> int | float | bool:
    """Convert a NumPy or PyTorch scalar, such as the result of pandas' ``idxmax``, to Python's."""
    if not hasattr(value, "item"):
        raise TypeError(f"{type(value).__name__} given; give what JSON can hold")
    return value.item()


def digest(value: object) -> str:
    """Return the sha256 sum of a value's canonical JSON.

    Args:
        value: A JSON-serializable value.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor], about: object = None) -> str:
    """Return the sha256 sum of tensors: their names, shapes, dtypes and bytes.

    Args:
        tensors: The tensors by name; the order does not matter.
        about: Other JSON-serializable data to include, such as a configuration.

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
    """Serialize an entry: tensors, schema, key and a sha256 sum of all of them.

    Args:
        key: Everything that determines the entry, JSON-serializable.
        tensors: The result.

    Returns:
        The bytes of a safetensors file.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    about = {"schema": SCHEMA, "key": key}
    # One string for all: safetensors does not fix the order of several.
    return save(whole, {"entry": canonical(about | {"sha256": tensors_digest(whole, about)})})


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Deserialize and verify an entry.

    Args:
        data: The bytes of the file.

    Returns:
        The key and the tensors.

    Raises:
        ValueError: If the data is corrupted or has another schema.
    """
    about = _header(io.BytesIO(data))
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"damaged: {error}") from error
    total = about.pop("sha256")
    if tensors_digest(tensors, about) != total:
        raise ValueError("damaged: its sha256 sum does not match")
    return about["key"], tensors


def read_key(path: Path) -> dict[str, Any]:
    """Read an entry's key without its tensors; only the schema is checked.

    Args:
        path: The file.

    Returns:
        The key.

    Raises:
        ValueError: If it is not an entry, or has another schema.
    """
    with path.open("rb") as file:
        return _header(file)["key"]


def _header(file: io.BufferedIOBase) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise ValueError("damaged: its header is too long")
    try:
        about = json.loads(json.loads(file.read(length))["__metadata__"]["entry"])
        schema, _, _ = about["schema"], about["key"], about["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"damaged, or not an entry: {error!r}") from error
    if schema != SCHEMA:
        raise ValueError(f"it has schema {schema!r}, but this version reads {SCHEMA!r}")
    return about


def write(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Args:
        path: The file; its folder must exist.
        data: The contents.

    Raises:
        OSError: If it cannot be written; no partial file is left behind.
    """
    # Not with tempfile, whose files only the user can read: the folder may be shared.
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
