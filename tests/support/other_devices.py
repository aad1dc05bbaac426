"""Other devices where there are none: tensors that say they lie elsewhere, computed on the CPU.

What a GPU refuses is refused here: a computation whose tensors lie on different devices, numpy of a
tensor that is elsewhere. So a test without a GPU finds code that forgets to move something. The
devices are called "lazy", a type that every build of torch knows and nothing here treats specially.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

aten = torch.ops.aten
# Index tensors may lie on the CPU, and copying is what moves things.
MOVING = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class Elsewhere(torch.Tensor):
    """A tensor that says that it lies on another device than its numbers do."""

    @staticmethod
    def __new__(cls, here: torch.Tensor, device: torch.device) -> "Elsewhere":
        """Wrap a tensor of the CPU."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=device,
        )

    def __init__(self, here: torch.Tensor, device: torch.device) -> None:
        """Keep the tensor."""
        self.here = here

    def __repr__(self) -> str:
        """Show the numbers."""
        return f"{self.device}: {self.here!r}"

    def tolist(self) -> list:
        """Copy the numbers, which any device allows."""
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Compute where no mode is on."""
        return dispatch(func, args, kwargs or {})


def dispatch(func, args, kwargs):
    """Compute on the CPU what `func` would compute on the devices that the tensors name."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    away = {x.device for x in tensors if isinstance(x, Elsewhere)}
    devices = set(away)
    checked = (args[:1], args[2:]) if func in INDEXING else (args, kwargs)
    # A single number of the CPU may meet anything.
    for x in tree_flatten(checked)[0]:
        if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere) and x.dim():
            devices.add(x.device)
    if func not in MOVING and len(devices) > 1:
        raise RuntimeError(f"{func}: tensors on {', '.join(sorted(map(str, devices)))}")
    asked = kwargs.get("device")
    target = torch.device(asked) if asked is not None else next(iter(away), None)
    if func is aten.copy_.default:
        target = args[0].device
    if asked is not None:
        kwargs = kwargs | {"device": "cpu", "pin_memory": None}
    here_args, here_kwargs = tree_map_only(Elsewhere, lambda x: x.here, (args, kwargs))
    out = func(*here_args, **here_kwargs)
    if func._schema.is_mutable and isinstance(out, torch.Tensor):
        return args[0] if "out" not in kwargs else kwargs["out"]
    if target is None or target.type == "cpu":
        return out
    return tree_map_only(torch.Tensor, lambda x: Elsewhere(x, target), out)


class Mode(TorchDispatchMode):
    """Serves also what has no tensor elsewhere yet, such as ``tensor.to(device)``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Compute."""
        return dispatch(func, args, kwargs or {})


@contextmanager
def other_devices() -> Iterator[tuple[str, str]]:
    """Pretend, in all threads, that there are two more devices.

    Yields:
        Their names.
    """
    run, autocast = threading.Thread.run, torch.is_autocast_enabled

    def run_in_mode(thread: threading.Thread) -> None:
        with Mode():
            run(thread)

    with pytest.MonkeyPatch.context() as patch, Mode():
        patch.setattr(threading.Thread, "run", run_in_mode)
        # Some versions of transformers ask this of every device, and torch knows it of real ones.
        patch.setattr(torch, "is_autocast_enabled", lambda at: at != "lazy" and autocast(at))
        torch._C._set_only_lift_cpu_tensors(True)  # or torch.tensor(..., device) passes us by
        try:
            yield "lazy:0", "lazy:1"
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
