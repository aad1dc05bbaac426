"""What memory this process holds, and at most held. It imports nothing that takes any."""

import re
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held() -> int:
    """Return what the process holds now, in bytes. Linux only."""
    return _told("VmRSS")


def peak() -> int:
    """Return the most that the process held, in bytes.

    Of /proc where there is one: the peak that `resource.getrusage` tells begins with what the
    process held that started this one, so it would hide everything.
    """
    if STATUS.exists():
        return _told("VmHWM")
    import resource  # not everywhere, and not needed where the above is

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def begin_anew() -> None:
    """Let the peak begin at what is held now. Linux only."""
    CLEAR.write_text("5")


def _told(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())[1]) * 1024
