"""The device and the dtype that a model is loaded with."""

import torch

BFLOAT16_CAPABILITY = 8  # NVIDIA GPUs compute in bfloat16 from this capability on; a T4 has 7.5


def default_device() -> str:
    """Return ``"cuda"`` where there is a GPU, otherwise ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> None:
    """Refuse a device that this machine has not.

    Args:
        device: What was asked for; ``"auto"`` spreads a model over several GPUs.

    Raises:
        ValueError: If it is no device, or a GPU where there is none.
    """
    if device == "auto":
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"device {device!r} asked for; give 'cpu', 'cuda', 'cuda:1' or 'auto'"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} asked for, and there is no GPU here; give 'cpu'")


def cpu_computes_in_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16 (Intel's and AMD's AVX-512, or AMX).

    A CPU without them can compute in it too, but slower than in float32.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # of torch 2.11 and later
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def default_dtype(device: str, fits_float16: bool = True) -> torch.dtype:
    """Choose the dtype of a model's weights by what the device computes in.

    A CPU takes float32, or bfloat16 if it computes in it, which is then about twice as fast. A GPU
    takes bfloat16 if it computes in it. One that does not (a T4 has
    capability 7.5) takes float16, where the model's residual stream stays within it. Gemma 3's does
    not; there it is bfloat16 again, which such a GPU stores as well and computes slowly.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.
        fits_float16: Whether the residual stream stays within float16's 65,504.

    Returns:
        The dtype.
    """
    if device == "cpu" or not torch.cuda.is_available():
        return torch.bfloat16 if cpu_computes_in_bfloat16() else torch.float32
    # is_bf16_supported() would say yes for a T4 too, where it is emulated.
    capability, _ = torch.cuda.get_device_capability(None if device == "auto" else device)
    if capability >= BFLOAT16_CAPABILITY or not fits_float16:
        return torch.bfloat16
    return torch.float16
