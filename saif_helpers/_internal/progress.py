"""Progress bars, shown only in a terminal or notebook."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def watched() -> bool:
    """Return whether to show progress bars: in a terminal or notebook, but not in the book's build.

    Returns:
        False when the environment variable ``SAIF_BOOK_BUILD`` is ``1``, because a bar would stay
        on the built page; otherwise whether the error stream is a terminal or a notebook kernel
        runs.
    """
    if os.environ.get("SAIF_BOOK_BUILD") == "1":
        return False
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def progress(iterable: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Show a progress bar while `iterable` is consumed, if `watched`.

    Args:
        iterable: The items.
        description: Shown in front of the bar, for example ``"capture"``.
        total: Number of items, needed only if ``len(iterable)`` is unknown.

    Returns:
        An iterable of the same items.
    """
    if not watched():
        return iterable
    return tqdm(iterable, desc=description, total=total, leave=False)


@contextmanager
def no_loading_bar() -> Iterator[None]:
    """Suppress the progress bar of transformers for files that load quickly."""
    from transformers.utils import logging as transformers_logging  # heavy

    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
