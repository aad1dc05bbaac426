"""The package's data folder, and units of memory."""

from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
GIB = 2**30
"""Bytes in a GiB."""
