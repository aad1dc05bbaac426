"""Supported versions of the central libraries, and a warning about any other.

The ranges are those of pyproject.toml, read from the installed package's metadata; no library is
imported.
"""

import re
import warnings
from importlib.metadata import PackageNotFoundError, requires, version

LIBRARIES = ("nnsight", "sae-lens", "transformers", "torch")


def supported() -> dict[str, str]:
    """Return the supported range of each of `LIBRARIES`, lower bound first.

    Returns:
        Name to range, such as ``{"nnsight": ">=0.8,<0.9"}``; empty if the package is not
        installed but imported from a folder on Python's path.
    """
    try:
        lines = requires("saif-helpers") or []
    except PackageNotFoundError:
        return {}
    parts = [re.match(r"([\w-]+)([^;]*)", line).groups() for line in lines]
    ranges = {name: ",".join(sorted(bounds.split(","), reverse=True)) for name, bounds in parts}
    return {name: ranges[name].strip() for name in LIBRARIES if name in ranges}


def in_range(installed: str, bounds: str) -> bool:
    """Return whether a version is in a range of pyproject.toml.

    The package ``packaging`` does the same, but takes longer to import than everything else here.

    Args:
        installed: A version, such as ``"2.13.0+cpu"``.
        bounds: Bounds with ``>=`` and ``<``, such as ``">=0.8,<0.9"``.

    Returns:
        Whether it is. A pre-release such as ``"0.9.0rc1"`` counts as the release.
    """
    for bound in bounds.split(","):
        operator, limit = re.match(r"\s*(>=|<)\s*(.+)", bound).groups()
        if (_numbers(installed) < _numbers(limit)) != (operator == "<"):
            return False
    return True


def _numbers(release: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.match(r"[\d.]*\d", release)[0].split(".")]
    return (*numbers, 0, 0, 0)[: max(4, len(numbers))]


def warn_if_unsupported() -> None:
    """Warn about libraries whose version is outside the supported range."""
    wrong = []
    for name, bounds in supported().items():
        try:
            installed = version(name)
        except PackageNotFoundError:  # importing it will say so
            continue
        if not in_range(installed, bounds):
            wrong.append((name, installed, bounds))
    if wrong:
        found = ", ".join(f"{name} {installed}" for name, installed, _ in wrong)
        ranges = ", ".join(f"{name} {bounds}" for name, _, bounds in wrong)
        install = " ".join(f'"{name}{bounds}"' for name, _, bounds in wrong)
        warnings.warn(
            f"installed: {found}; saif_helpers supports {ranges}. Calls may fail, results may "
            f"differ. Run: pip install {install}, and restart Python",
            stacklevel=3,  # the line that imports the package
        )
