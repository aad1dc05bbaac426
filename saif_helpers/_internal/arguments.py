"""What a caller may write for a number, a share or several of something, and what is refused."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from numbers import Number, Real
from types import NoneType

LARGEST_SEED = 2**63 - 1


def shown(value: object) -> str:
    """Write a value for a message, in a few words.

    >>> shown(15), shown("A cat."), shown(["A cat."] * 100)
    ('15', "'A cat.'", 'a list')

    Args:
        value: What was given.

    Returns:
        Numbers and texts as Python writes them, long texts cut off; the kind of anything else.
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
    """Take a number out of an array or tensor that holds this number alone.

    Args:
        value: What was given.

    Returns:
        The number; any other value as it is.
    """
    alone = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if alone else value


def whole_number(name: str, value: object, least: int | None = 1, most: int | None = None) -> int:
    """Take a whole number, also one that is written as a float.

    >>> whole_number("k", 15.0)
    15

    Args:
        name: What the caller calls it.
        value: What was given.
        least: The smallest that makes sense; None for any.
        most: The largest that makes sense; None for any.

    Returns:
        The number.

    Raises:
        ValueError: If it is no whole number, smaller than `least` or larger than `most`.
    """
    given, value = value, plain(value)
    whole = isinstance(value, Real) and not isinstance(value, bool) and value == value // 1
    if whole and (least is None or value >= least) and (most is None or value <= most):
        return int(value)
    which = "" if least is None else f", at least {least}"
    which = which if most is None else f" from {least} to {most}"
    raise ValueError(f"{name}={shown(given)} asked for; give a whole number{which}")


def seed_number(value: object) -> int:
    """Take the seed of a random draw.

    Args:
        value: What was given.

    Returns:
        The seed.

    Raises:
        ValueError: If it is no whole number from 0 to `LARGEST_SEED`.
    """
    return whole_number("seed", value, least=0, most=LARGEST_SEED)


def number(name: str, value: object) -> float:
    """Take a number.

    Args:
        name: What the caller calls it.
        value: What was given.

    Returns:
        The number.

    Raises:
        ValueError: If it is none, as a text or True is not.
    """
    found = plain(value)
    if not isinstance(found, Real) or isinstance(found, bool):
        raise ValueError(f"{name}={shown(value)} given; give a number")
    return found


def check_some(**given: Sized) -> None:
    """Raise if a list or a dict is empty.

    Args:
        given: Name to what was given.

    Raises:
        ValueError: If one of them has nothing in it.
    """
    for name, value in given.items():
        if not len(value):
            raise ValueError(f"no {name} given; give at least one")


def check_same_lengths(**given: Sized) -> None:
    """Raise if lists that belong together have not the same length.

    Args:
        given: Name to list.

    Raises:
        ValueError: If the lengths differ.
    """
    if len({len(value) for value in given.values()}) > 1:
        lengths = ", ".join(f"{len(value)} {name}" for name, value in given.items())
        raise ValueError(f"{lengths} given; give as many of each")


def check_ids(name: str, ids: Sequence[int], size: int) -> None:
    """Raise if an id is unknown, given twice, or there is none.

    Args:
        name: What the caller calls one of them.
        ids: The ids.
        size: How many there are, from 0 on.

    Raises:
        ValueError: If there is no id, or one is below 0, not below `size`, or given twice.
    """
    wrong = [one for one in ids if not 0 <= one < size]
    if wrong or not len(ids):
        asked = f"{name} {wrong[0]}" if wrong else f"no {name}"
        raise ValueError(f"{asked} asked for; the SAE has {name}s 0-{size - 1}")
    for one, times in Counter(ids).items():
        if times > 1:
            raise ValueError(f"{name} {one} given {times} times; give each once")


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
    found = plain(value)
    if not isinstance(found, Real) or isinstance(found, bool) or not 0 <= found <= 1:
        hint = f"; {found:g} % is {found / 100:g}" if isinstance(found, Real) and found > 1 else ""
        raise ValueError(f"{name}={shown(value)} given; give a share between 0 and 1{hint}")
    return float(found)


def several(value: object) -> list:
    """Take one of something for a list of one, and any iterable for a list.

    >>> several("decaying"), several(3), several(x for x in "ab")
    (['decaying'], [3], ['a', 'b'])

    Args:
        value: A text, a number, or several of them.

    Returns:
        The list.
    """
    one = isinstance(value, str | bytes) or not isinstance(value, Iterable)
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
