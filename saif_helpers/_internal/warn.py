"""Warnings that point at the caller's line."""

import sys
import warnings


def warn(message: str) -> None:
    """Warn at the line that called the package, skipping the package's own frames.

    Args:
        message: The warning.
    """
    level, frame = 2, sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith("saif_helpers"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
