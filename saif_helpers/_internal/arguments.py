"""What a caller may write for a number, a share or several of something, and what is refused."""

import math
from collections.abc import Iterable
from numbers import Real


def whole_number(name: str, value: object, least: int = 1) -> int:
    """Take a whole number, also one that is written as a float.

    >>> whole_number("k", 15.0)
    15

    Args:
        name: What the caller calls it.
        value: What was given.
        least: The smallest that makes sense.

    Returns:
        The number.

    Raises:
        ValueError: If it is no whole number, or smaller than `least`.
    """
    whole = isinstance(value, Real) and not isinstance(value, bool) and value == value // 1
    if not whole or value < least:
        raise ValueError(f"{name}={value!r} asked for; give a whole number, at least {least}")
    return int(value)


def share(name: str, value: object) -> float:
    """Take a share.

    >>> share("confidence", 0.95)
    0.95

    Args:
        name: What the caller calls it.
        value: What was given.

    Returns:
        The share.

    Raises:
        ValueError: If it is not between 0 and 1, as a percentage is not.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value <= 1:
        hint = f"; {value:g} % is {value / 100:g}" if isinstance(value, Real) and value > 1 else ""
        raise ValueError(f"{name}={value!r} given; give a share between 0 and 1{hint}")
    return float(value)


def several(value: object) -> list:
    """Take one of something for a list of one, and any iterable for a list.

    >>> several("decaying"), several(3), several(x for x in "ab")
    (['decaying'], [3], ['a', 'b'])

    Args:
        value: A text, a number, or several of them.

    Returns:
        The list.
    """
    one = isinstance(value, str) or not isinstance(value, Iterable)
    return [value] if one else list(value)


def check_finite(name: str, value: float) -> None:
    """Raise if a factor is not a finite number.

    Args:
        name: What the caller calls it.
        value: The factor.

    Raises:
        ValueError: If it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{name}={value} given; give a finite number")
