"""Checksums and recorded measurements of the shipped models and SAEs."""

import hashlib
import json
from pathlib import Path

from saif_helpers._internal.errors import FileContentError
from saif_helpers._internal.paths import DATA


def check_manifest(root: Path, size: str) -> None:
    """Raise unless a shipped model's files match the manifest exactly.

    Args:
        root: The folder with ``manifest.json`` (path relative to `root` -> sha256) and the sizes.
        size: The size to check.

    Raises:
        ValueError: If a file is missing, unlisted or different.
    """
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    listed = {path for path in manifest if path.startswith(f"{size}/")}
    there = {p.relative_to(root).as_posix() for p in (root / size).rglob("*") if p.is_file()}
    advice = f"reinstall the package, or rewrite the manifest of {root} if you changed it"
    if listed != there:
        raise FileContentError(
            f"files missing: {sorted(listed - there)}; "
            f"not in the manifest: {sorted(there - listed)}; {advice}",
            root / size,
        )
    for path in sorted(listed):
        if hashlib.sha256((root / path).read_bytes()).hexdigest() != manifest[path]:
            raise FileContentError(
                f"{path} does not have the sha256 sum in the manifest; {advice}", root / path
            )


def shipped_record(name: str) -> dict:
    """Read the record of shipped SAEs: settings, text and quality.

    >>> shipped_record("S")["saes"][0]["explained_variance"]

    Args:
        name: A size of the organism, or the name of another model with shipped SAEs.

    Returns:
        The record, whose ``"saes"`` has an entry for each SAE; empty if none are shipped.
    """
    files = [DATA / kind / name / "quality.json" for kind in ("organism", "saes")]
    for file in files:
        if file.exists():
            return json.loads(file.read_text(encoding="utf-8"))
    return {"saes": []}
