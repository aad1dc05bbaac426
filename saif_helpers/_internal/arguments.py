"""Validation of arguments that are numbers, shares or lists of values."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from numbers import Number, Real
from types import NoneType

from saif_helpers._internal.errors import ArgumentError

LARGEST_SEED = 2**63 - 1


def shown(value: object) -> str:
    """Format a value briefly for an error message.

    >>> shown(15), shown("A cat."), shown(["A cat."] * 100)
    ('15', "'A cat.'", 'a list')

    Args:
        value: The value.

    Returns:
        The repr of a number or a string, truncated if long; for any other value, its type.
    """
    if isinstance(value, str | bytes | Number | NoneType | slice):
        written = repr(value)
        return written if len(written) <= 60 else f"{written[:60]}..."
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"numbers of shape {tuple(value.shape)} and {value.dtype}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"


def plain(value: object) -> object:
    """Unwrap a zero-dimensional array or tensor.

    Args:
        value: The value.

    Returns:
        The number; any other value unchanged.
    """
    alone = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if alone else value


def whole_number(name: str, value: object, least: int | None = 1, most: int | None = None) -> int:
    """Return an argument as an integer; integral floats are accepted.

    >>> whole_number("k", 15.0)
    15

    Args:
        name: Name of the argument.
        value: The value.
        least: The smallest valid value; None for no lower bound.
        most: The largest valid value; None for no upper bound.

    Returns:
        The number.

    Raises:
        ValueError: If it is not integral, or outside the bounds.
    """
    given, value = value, plain(value)
    whole = isinstance(value, Real) and not isinstance(value, bool) and value == value // 1
    if whole and (least is None or value >= least) and (most is None or value <= most):
        return int(value)
    which = "" if least is None else f", at least {least}"
    which = which if most is None else f" from {least} to {most}"
    raise ArgumentError(f"{name}={shown(given)} given; give an integer{which}", name)


def seed_number(value: object) -> int:
    """Return the seed of a random number generator.

    Args:
        value: The value.

    Returns:
        The seed.

    Raises:
        ValueError: If it is not an integer from 0 to `LARGEST_SEED`.
    """
    return whole_number("seed", value, least=0, most=LARGEST_SEED)


def number(name: str, value: object) -> float:
    """Return an argument as a real number.

    Args:
        name: Name of the argument.
        value: The value.

    Returns:
        The number.

    Raises:
        ValueError: If it is not a real number; strings and booleans are not.
    """
    found = plain(value)
    if not isinstance(found, Real) or isinstance(found, bool):
        raise ArgumentError(f"{name}={shown(value)} given; give a number", name)
    return found


def check_some(**given: Sized) -> None:
    """Raise if a list or a dict is empty.

    Args:
        given: Argument name to value.

    Raises:
        ValueError: If one of them is empty.
    """
    for name, value in given.items():
        if not len(value):
            raise ArgumentError(f"no {name} given; give at least one", name)


def check_same_lengths(**given: Sized) -> None:
    """Raise if lists that belong together differ in length.

    Args:
        given: Argument name to list.

    Raises:
        ValueError: If the lengths differ.
    """
    if len({len(value) for value in given.values()}) > 1:
        lengths = ", ".join(f"{len(value)} {name}" for name, value in given.items())
        raise ArgumentError(f"{lengths} given; give equally many of each", [*given][-1])


def check_ids(name: str, ids: Sequence[int], size: int) -> None:
    """Raise if an id is out of range or repeated, or if there are no ids.

    Args:
        name: What one of them is called.
        ids: The ids.
        size: Number of valid ids, which start at 0.

    Raises:
        ValueError: If there are no ids, or one is outside 0 to ``size - 1`` or given twice.
    """
    wrong = [one for one in ids if not 0 <= one < size]
    if wrong or not len(ids):
        asked = f"{name} {wrong[0]}" if wrong else f"no {name}"
        raise ArgumentError(f"{asked} given; the SAE has {name}s 0-{size - 1}", name)
    for one, times in Counter(ids).items():
        if times > 1:
            raise ArgumentError(f"{name} {one} given {times} times; give each once", name)


def share(name: str, value: object) -> float:
    """Return an argument as a share, a number from 0 to 1.

    >>> share("confidence", 0.95)
    0.95

    Args:
        name: Name of the argument.
        value: The value.

    Returns:
        The share.

    Raises:
        ValueError: If it is not between 0 and 1; percentages are not.
    """
    found = plain(value)
    if not isinstance(found, Real) or isinstance(found, bool) or not 0 <= found <= 1:
        hint = f"; {found:g} % is {found / 100:g}" if isinstance(found, Real) and found > 1 else ""
        raise ArgumentError(
            f"{name}={shown(value)} given; give a share between 0 and 1{hint}", name
        )
    return float(found)


def several(value: object) -> list:
    """Return a list of values, wrapping a single value in a list of one.

    >>> several("decaying"), several(3), several(x for x in "ab")
    (['decaying'], [3], ['a', 'b'])

    Args:
        value: A string, a number, or an iterable of them.

    Returns:
        The list.
    """
    one = isinstance(value, str | bytes) or not isinstance(value, Iterable)
    return [value] if one else list(value)


def check_finite(name: str, value: float) -> None:
    """Raise if a factor is not a finite number.

    Args:
        name: Name of the argument.
        value: The factor.

    Raises:
        ValueError: If it is not finite.
    """
    if not math.isfinite(value):
        raise ArgumentError(f"{name}={value} given; give a finite number", name)
