"""Warnings that point at the reader's own line."""

import sys
import warnings


def warn(message: str) -> None:
    """Warn at the line that called the package, whatever of the package is in between.

    Args:
        message: What to say.
    """
    level, frame = 2, sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith("saif_helpers"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
