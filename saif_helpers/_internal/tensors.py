"""Tensors that a caller may write as a list or an array of numbers."""

from typing import Any

import numpy as np

from saif_helpers._internal.arguments import shown


def as_tensor(name: str, value: object, floating: bool = True) -> Any:
    """Take a tensor as it is, and make one of a list or an array of numbers.

    Args:
        name: What the caller calls it.
        value: What was given.
        floating: Whether floating-point numbers are asked for; whole ones in a list count as such.

    Returns:
        The tensor.

    Raises:
        ValueError: If no tensor can be made of it.
    """
    import torch  # here, since some modules that use this one do without it

    if isinstance(value, torch.Tensor):
        return value
    try:
        made = torch.tensor(np.ascontiguousarray(value) if hasattr(value, "shape") else value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}={shown(value)} given; give a tensor of numbers") from None
    numbers = made.dtype not in (torch.bool, torch.complex64, torch.complex128)
    return made.float() if floating and numbers and made.dtype != torch.float16 else made


def read_tensor(hint: Any, name: str, value: object) -> Any:
    """Take a tensor for a type of jaxtyping's, by its kind of numbers and number of dimensions.

    Args:
        hint: The type.
        name: What the caller calls the value.
        value: What was given, see `as_tensor`.

    Returns:
        The tensor.

    Raises:
        ValueError: If no such tensor can be made of it.
    """
    kind = next(word for word in ("float", "int", "bool") if word in str(hint.dtypes))
    found = as_tensor(name, value, kind == "float")
    dims = hint.dim_str.split()
    least = len([dim for dim in dims if not dim.startswith("*")])
    fits = found.ndim == least if least == len(dims) else found.ndim >= least
    if not fits or kind not in str(found.dtype):
        numbers = {"float": "floating-point numbers", "int": "whole numbers"}.get(kind, "booleans")
        raise ValueError(
            f"{name} of shape {tuple(found.shape)} and {found.dtype} given; give {numbers}, "
            f"{' x '.join(dim.lstrip('*') for dim in dims)}"
        )
    return found.long() if kind == "int" else found
