"""Current and peak memory of this process. The module's imports need almost no memory."""

import re
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held() -> int:
    """Return the current memory of the process in bytes. Linux only."""
    return _told("VmRSS")


def peak() -> int:
    """Return the peak memory of the process in bytes.

    The value is read from /proc if possible, because the peak that `resource.getrusage` reports
    starts at the memory of the parent process.
    """
    if STATUS.exists():
        return _told("VmHWM")
    import resource  # not available on every platform

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def begin_anew() -> None:
    """Reset the peak to the current memory. Linux only."""
    CLEAR.write_text("5")


def _told(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())[1]) * 1024
