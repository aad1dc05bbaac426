"""Description of the machine of a measurement: hardware, versions, date, commit; no host name."""

import datetime
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
LIBRARIES = ("saif-helpers", "torch", "transformers", "nnsight", "sae-lens", "transformer-lens")
LIBRARIES += ("safetensors",)
PEERS = ("steering-vectors",)
UNKNOWN = "not known"


def about() -> dict:
    """Describe the machine and the versions.

    Returns:
        Plain values for JSON, including the GPU's name and memory.
    """
    found = {
        "machine": f"{platform.system()}, {processor()}",
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "versions": {"python": platform.python_version()} | versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        found |= {"gpu": gpu.name, "gpu_memory_gib": round(gpu.total_memory / 2**30, 2)}
        found["versions"]["cuda"] = torch.version.cuda
    return found


def processor() -> str:
    """Return the name of the processor, as far as the system reports it."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of the libraries, and of the peers that are installed."""
    found = {name: version(name) for name in LIBRARIES}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit, followed by ``-dirty`` if there are uncommitted changes."""
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=7"]
    try:
        done = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return UNKNOWN
    return done.stdout.strip() or UNKNOWN
