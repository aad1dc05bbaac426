"""Asking a grader's check about one output: what it may answer, and for how long it may think."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np

from saif_helpers.graders.grader import Grader, Item

TIME_LIMIT = 60.0
"""Seconds that a check may take for one output.

Only Python's main thread, where notebooks and scripts run, can be interrupted, and not on Windows
or in a browser; elsewhere a check that never ends is waited for.
"""


class GraderError(ValueError):
    """A check that failed on an output.

    >>> wordings = {"en": ["Say it kindly.", "Be kind."]}
    >>> unfinished = saif.InstructionType("kind", wordings, lambda output, item: None)
    >>> try:
    ...     graded = saif.grade(outputs, items, unfinished)
    ... except saif.GraderError as error:
    ...     kept = error.outputs
    >>> list(kept) == outputs
    True

    Attributes:
        outputs: The outputs that were to be graded, so that they need not be generated again.
    """

    outputs: tuple[str, ...] = ()


class _OutOfTimeError(BaseException):
    """Not an Exception, so that a check which catches those does not catch this."""


def run_check(
    grader: Grader, name: str, kind: Literal["strict", "loose"], output: str, item: Item
) -> bool:
    """Ask one check of an instruction's grader about one output.

    Args:
        grader: The grader.
        name: Name of the instruction, for messages.
        kind: Which check.
        output: The output.
        item: What it is graded against.

    Returns:
        The answer.

    Raises:
        GraderError: If the check fails, answers with something else than True or False, or takes
            longer than `TIME_LIMIT`.
    """
    about = f"the {kind} check of instruction {name!r}"
    case = f"on the output {output!r} for the content {item.content!r}"
    try:
        with _time_limit(TIME_LIMIT):
            answer = getattr(grader, kind)(output, item)
    except _OutOfTimeError:
        raise GraderError(
            f"{about} took longer than {TIME_LIMIT:g} seconds {case}; mend it, or set "
            "saif_helpers.graders.run_check.TIME_LIMIT higher"
        ) from None
    except Exception as error:
        raise GraderError(
            f"{about} failed {case}: {error!r}; a check must answer True or False for any output"
        ) from error
    if not isinstance(answer, bool | np.bool_):
        raise GraderError(
            f"{about} answered {answer!r} {case}; it must answer True or False (wrap it in bool())"
        )
    return bool(answer)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTimeError` after some seconds, where that is possible and no alarm is set."""
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
