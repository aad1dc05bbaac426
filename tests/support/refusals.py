"""Refusals of the package by class and field, so that no test but one pins the wording.

`guarantees/test_messages.py` has the messages themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from saif_helpers._internal.errors import ArgumentError, FileContentError


@contextmanager
def refused(argument: str) -> Iterator[pytest.ExceptionInfo]:
    """Expect an argument to be refused, by its name."""
    with pytest.raises(ArgumentError) as caught:
        yield caught
    assert caught.value.argument == argument, str(caught.value)


@contextmanager
def unreadable(path: object) -> Iterator[pytest.ExceptionInfo]:
    """Expect a file, folder or repository to be refused, by the end of its path."""
    with pytest.raises(FileContentError) as caught:
        yield caught
    assert caught.value.path.endswith(str(path)), str(caught.value)
