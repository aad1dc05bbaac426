"""Print the installed packages whose version differs from requirements.lock.

Run by ``make newest`` and ``make oldest``, so that a failure can be traced to a version.
"""

from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def differences(lock: str, installed: dict[str, str]) -> list[str]:
    """Compare installed versions with the locked ones.

    Args:
        lock: The text of requirements.lock.
        installed: Versions by canonical package name.

    Returns:
        Lines such as ``numpy: 2.4.6 in the lock, 2.5.0 here``, sorted by name.
    """
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}
    found = []
    for name in sorted(pins.keys() & installed.keys()):
        if not pins[name].specifier.contains(installed[name], prereleases=True):
            (locked,) = [spec.version for spec in pins[name].specifier]
            found.append(f"{name}: {locked} in the lock, {installed[name]} here")
    return found


if __name__ == "__main__":
    here = {canonicalize_name(d.metadata["Name"]): d.version for d in distributions()}
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    print(*differences(text, here) or ["all versions equal those in the lock"], sep="\n")
