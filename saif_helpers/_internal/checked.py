"""Validation of arguments against type annotations, with conversion where the intent is clear.

`checked` decorates the public functions. It reads the annotations, so types are declared once.
Each function checks ranges and matching shapes itself.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from saif_helpers._internal.arguments import number, shown, whole_number
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.tensors import read_tensor

T = TypeVar("T")
WORDS = {int: "integer", float: "number", str: "string", slice: "slice"}
MADE_BY = {
    "Grades": "grade",
    "InstructionType": "load_instructions",
    "LatentRanking": "rank_layers",
    "ModelWithSAEs": "load",
    "PromptPair": "make_pairs",
}
"""Class name to the function that returns an instance, for messages."""
ALSO: dict[type, Callable[[Any], None]] = {}
"""Class to a function that raises if an instance is not valid."""


def checked(target: T | None = None, *, but: Sequence[str] = ()) -> T:
    """Validate the arguments of a function, or the fields of a class, against their annotations.

    Integral floats (15.0) are accepted as integers; tuples, arrays and generators as lists; lists
    and arrays of numbers as tensors.

    >>> @checked
    ... def repeat(text: str, times: int) -> str:
    ...     return text * times
    >>> repeat("ab", 2.0)
    'abab'

    Args:
        target: A function, a method or a class.
        but: Arguments that the function validates itself.

    Returns:
        The same object, which now raises a ValueError for an argument of the wrong type.
    """
    if target is None:
        return functools.partial(checked, but=but)
    if inspect.isclass(target):
        target.__init__ = _reading(target.__init__, but)
        return target
    return _reading(target, but)


def _reading(function: Callable, but: Sequence[str]) -> Callable:
    signature = inspect.signature(function)
    hints = {
        name: one.annotation
        for name, one in signature.parameters.items()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        and one.annotation is not one.empty
        and name not in but
    }

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # an argument is missing or unknown: let Python report it
            return function(*args, **kwargs)
        given = bound.arguments
        for name in given.keys() & hints.keys():
            if given[name] is not signature.parameters[name].default:
                given[name] = read(hints[name], name, given[name])
        return function(*bound.args, **bound.kwargs)

    call.__wrapped__ = inspect.unwrap(function)
    return call


def read(hint: object, name: str, value: object) -> Any:
    """Validate a value against an annotation.

    Args:
        hint: The annotation.
        name: Name of the argument.
        value: The value.

    Returns:
        The value, converted if necessary.

    Raises:
        ValueError: If the value does not match.
    """
    reader = _reader_of(hint)
    return value if reader is None else reader(hint, name, value)


@functools.cache
def _reader_of(hint: object) -> Callable[[Any, str, object], Any] | None:
    """Find what takes a value for a type; None if anything goes."""
    return next((reader for fits, reader in READERS if fits(hint)), None)


def describe(hint: object, many: bool = False) -> str:
    """Describe a type for a message, as in "a list of strings".

    Args:
        hint: The type.
        many: Whether to use the plural.

    Returns:
        The description.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(describe(one, many) for one in args)
    if origin is Literal:
        return " or ".join(map(repr, args))
    if origin in (Sequence, Iterable, tuple, Mapping):
        kind = "dict" if origin is Mapping else "list"
        inner = describe(args[-1] if origin is Mapping else args[0], many=True)
        return f"{kind}s of {inner}" if many else f"a {kind} of {inner}"
    if hasattr(hint, "dim_str"):
        return "tensors of numbers" if many else "a tensor of numbers"
    if hint in (NoneType, bool):
        return "True or False" if hint is bool else "None"
    word = WORDS.get(hint) or getattr(hint, "__name__", "function")
    if many:
        return f"{word}s" if hint in WORDS else f"{word} objects"
    return f"{'an' if word[0] in 'AEIOi' or word == 'SAE' else 'a'} {word}"


def _refuse(hint: object, name: str, value: object, also: str = "") -> ArgumentError:
    made_by = MADE_BY.get(getattr(hint, "__name__", ""))
    how = f", as {made_by} returns" if made_by else ""
    texts = get_origin(hint) is Sequence and get_args(hint) == (str,) and name.endswith("s")
    wanted = f"a list of {name}" if texts else describe(hint)
    return ArgumentError(f"{name}={shown(value)} given{also}; give {wanted}{how}", name)


def _one_of(hints: object, name: str, value: object) -> Any:
    """Validate a value against the first of several types that it matches."""
    problems = {}
    for hint in get_args(hints):
        try:
            return read(hint, name, value)
        except ValueError as error:
            problems[hint] = error
    others = [hint for hint in problems if hint is not NoneType]
    kind = Mapping if isinstance(value, Mapping) else Literal if isinstance(value, str) else None
    kind = Sequence if isinstance(value, list | tuple) else kind
    for hint in others:
        if len(others) == 1 or get_origin(hint) is kind:
            raise problems[hint]
    raise _refuse(Union[tuple(others)], name, value)  # noqa: UP007 (made of a list)


def _class(hint: type, name: str, value: object) -> Any:
    if isinstance(value, type) or not isinstance(value, hint):
        raise _refuse(hint, name, value)
    if hint in ALSO:
        ALSO[hint](value)
    return str(value) if hint is str else value  # NumPy has its own string class


def _yes_or_no(hint: type, name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise _refuse(hint, name, value)
    return bool(value)


def _function(hint: object, name: str, value: object) -> Any:
    if isinstance(value, type) or not callable(value):
        raise _refuse(hint, name, value)
    return value


def _choice(hint: object, name: str, value: object) -> Any:
    choices = get_args(hint)
    for choice in choices:
        if isinstance(value, type(choice)) and value == choice:
            return choice
    *others, last = map(repr, choices)
    known = f"{', '.join(others)} or {last}" if others else last
    raise ArgumentError(f"{name} {shown(value)} given; give {known}", name)


def _several(hint: object, name: str, value: object) -> Any:
    """Validate an ordered iterable and each of its items."""
    inner, origin = get_args(hint), get_origin(hint)
    unordered = isinstance(value, set | frozenset) and len(value) > 1
    mapping = isinstance(value, Mapping) and origin is not Iterable
    if isinstance(value, str | bytes):
        raise _refuse(hint, name, value, ", a single string")
    if unordered or mapping or hasattr(value, "columns"):
        raise _refuse(hint, name, value, ", which has no order" if unordered else "")
    try:
        parts = iter(value)
    except TypeError:
        raise _refuse(hint, name, value) from None
    given = list(parts)
    if origin is tuple and Ellipsis not in inner and len(given) != len(inner):
        raise _refuse(hint, name, value, f", of length {len(given)} instead of {len(inner)}")
    if not _all_are(inner[0], given):
        given = [read(inner[0], f"{name}[{at}]", one) for at, one in enumerate(given)]
    if origin is tuple:
        return tuple(given)
    same = isinstance(value, list | tuple) and all(map(operator.is_, value, given))
    return value if same else given


def _all_are(hint: object, values: Sequence[object]) -> bool:
    """Return whether values plainly are what they should be, so that none need be read."""
    if hint is float or hint in ALSO or not inspect.isclass(hint):  # a float may be NaN
        return False
    return all(type(one) is hint for one in values)


def _mapping(hint: object, name: str, value: object) -> Any:
    if not isinstance(value, Mapping):
        raise _refuse(hint, name, value)
    key_hint, value_hint = get_args(hint)
    found, same = {}, True
    for key in value:
        at = read(key_hint, f"a key of {name}", key)
        found[at] = read(value_hint, f"{name}[{at!r}]", value[key])
        same = same and at is key and found[at] is value[key]
    return value if same else found


READERS: list[tuple[Callable[[Any], bool], Callable[[Any, str, object], Any]]] = [
    (lambda hint: get_origin(hint) in (Union, UnionType), _one_of),
    (lambda hint: hint is int, lambda _, name, value: whole_number(name, value, None)),
    (lambda hint: hint is float, lambda _, name, value: number(name, value)),
    (lambda hint: hint is bool, _yes_or_no),
    (lambda hint: get_origin(hint) is Literal, _choice),
    (lambda hint: get_origin(hint) in (Sequence, Iterable, tuple), _several),
    (lambda hint: get_origin(hint) is Mapping, _mapping),
    (lambda hint: get_origin(hint) is Callable, _function),
    (lambda hint: hasattr(hint, "dim_str"), read_tensor),
    (lambda hint: inspect.isclass(hint) and hint not in (object, Any), _class),
]
"""Predicates on annotations with the readers for them; the first match is used."""
