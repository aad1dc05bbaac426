"""Conversion of lists and arrays of numbers to tensors."""

from typing import Any

import numpy as np

from saif_helpers._internal.arguments import shown
from saif_helpers._internal.errors import ArgumentError


def as_tensor(name: str, value: object, floating: bool = True) -> Any:
    """Return a tensor unchanged, or convert a list or an array of numbers to one.

    Args:
        name: Name of the argument.
        value: The value.
        floating: Whether to convert integers in a list or array to floating point.

    Returns:
        The tensor.

    Raises:
        ValueError: If it cannot be converted.
    """
    import torch  # here, since some modules that import this one do not need torch

    if isinstance(value, torch.Tensor):
        return value
    try:
        made = torch.tensor(np.ascontiguousarray(value) if hasattr(value, "shape") else value)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"{name}={shown(value)} given; give a tensor of numbers", name
        ) from None
    numbers = made.dtype not in (torch.bool, torch.complex64, torch.complex128)
    return made.float() if floating and numbers and made.dtype != torch.float16 else made


def read_tensor(hint: Any, name: str, value: object) -> Any:
    """Validate a tensor against a jaxtyping annotation: kind of dtype and number of dimensions.

    Args:
        hint: The annotation.
        name: Name of the argument.
        value: The value, see `as_tensor`.

    Returns:
        The tensor.

    Raises:
        ValueError: If it cannot be converted, or has another dtype or number of dimensions.
    """
    kind = next(word for word in ("float", "int", "bool") if word in str(hint.dtypes))
    found = as_tensor(name, value, kind == "float")
    dims = hint.dim_str.split()
    least = len([dim for dim in dims if not dim.startswith("*")])
    fits = found.ndim == least if least == len(dims) else found.ndim >= least
    if not fits or kind not in str(found.dtype):
        numbers = {"float": "floating-point numbers", "int": "integers"}.get(kind, "booleans")
        raise ArgumentError(
            f"{name} of shape {tuple(found.shape)} and {found.dtype} given; give {numbers}, "
            f"{' x '.join(dim.lstrip('*') for dim in dims)}",
            name,
        )
    return found.long() if kind == "int" else found
