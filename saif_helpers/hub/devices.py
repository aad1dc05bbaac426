"""Device and dtype of a loaded model."""

import torch

from saif_helpers._internal.errors import ArgumentError

BFLOAT16_CAPABILITY = 8  # compute capability of NVIDIA GPUs with native bfloat16; a T4 has 7.5


def default_device() -> str:
    """Return ``"cuda"`` if there is a GPU, otherwise ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> None:
    """Raise if a device is not available.

    Args:
        device: The device; ``"auto"`` distributes a model over several GPUs.

    Raises:
        ValueError: If it is not a device, or a GPU that is not available.
    """
    if device == "auto":
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ArgumentError(
            f"device {device!r} given; give 'cpu', 'cuda', 'cuda:1' or 'auto'", "device"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(
            f"device {device!r} given, but there is no GPU here; give 'cpu'", "device"
        )


def cpu_computes_in_bfloat16() -> bool:
    """Return whether the CPU has bfloat16 instructions (AVX-512 or AMX).

    Without them, bfloat16 works but is slower than float32.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.11
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def default_dtype(device: str, fits_float16: bool = True) -> torch.dtype:
    """Choose the dtype of a model's weights for a device.

    On a CPU the dtype is float32, or bfloat16 if the CPU supports it natively, which is about twice
    as fast. On a GPU it is bfloat16 if supported natively. Otherwise (a T4 has capability 7.5) it
    is float16 if the model's residual stream fits its range. Gemma 3's does not, so it is loaded in
    bfloat16, which such a GPU emulates slowly.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.
        fits_float16: Whether the residual stream fits into the range of float16 (65,504).

    Returns:
        The dtype.
    """
    if device == "cpu" or not torch.cuda.is_available():
        return torch.bfloat16 if cpu_computes_in_bfloat16() else torch.float32
    # is_bf16_supported() is also True for a T4, which emulates bfloat16.
    capability, _ = torch.cuda.get_device_capability(None if device == "auto" else device)
    if capability >= BFLOAT16_CAPABILITY or not fits_float16:
        return torch.bfloat16
    return torch.float16
