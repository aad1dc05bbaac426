"""Running a grader's check on one output, with a time limit and validation of the result."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np

from saif_helpers.graders.grader import Grader, Item

TIME_LIMIT = 60.0
"""Seconds that a check may take for one output.

The limit is enforced only in the main thread on POSIX systems; elsewhere a hanging check blocks.
"""


class GraderError(ValueError):
    """Raised when a check fails on an output.

    >>> wordings = {"en": ["Say it kindly.", "Be kind."]}
    >>> unfinished = saif.InstructionType("kind", wordings, lambda output, item: None)
    >>> try:
    ...     graded = saif.grade(outputs, items, unfinished)
    ... except saif.GraderError as error:
    ...     kept = error.outputs
    >>> list(kept) == outputs
    True

    Attributes:
        outputs: The outputs to be graded, so that they need not be generated again.
    """

    outputs: tuple[str, ...] = ()


class _OutOfTimeError(BaseException):
    """Not an Exception, so that a check cannot catch it by accident."""


def run_check(
    grader: Grader, name: str, kind: Literal["strict", "loose"], output: str, item: Item
) -> bool:
    """Run one check of an instruction's grader on one output.

    Args:
        grader: The grader.
        name: Name of the instruction, for messages.
        kind: Which check.
        output: The output.
        item: What it is graded against.

    Returns:
        The result.

    Raises:
        GraderError: If the check raises, does not return a bool, or takes longer than
            `TIME_LIMIT`.
    """
    about = f"the {kind} check of instruction {name!r}"
    case = f"on the output {output!r} for the content {item.content!r}"
    try:
        with _time_limit(TIME_LIMIT):
            answer = getattr(grader, kind)(output, item)
    except _OutOfTimeError:
        raise GraderError(
            f"{about} took longer than {TIME_LIMIT:g} seconds {case}; fix it, or set "
            "saif_helpers.graders.run_check.TIME_LIMIT higher"
        ) from None
    except Exception as error:
        raise GraderError(
            f"{about} failed {case}: {error!r}; a check must return True or False for any output"
        ) from error
    if not isinstance(answer, bool | np.bool_):
        raise GraderError(
            f"{about} returned {answer!r} {case}; it must return True or False (wrap it in bool())"
        )
    return bool(answer)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTimeError` after some seconds, if supported and no alarm is set."""
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")) or any(signal.getitimer(signal.ITIMER_REAL)):
        yield
        return

    def stop(*_: object) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
