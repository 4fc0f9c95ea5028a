"""Whether torch can compute on the GPUs of this node, for the check before a run."""

from __future__ import annotations

import torch

_GIB = 2**30
_MOSTLY_FREE = 0.8


def check_gpus(device: str) -> list[str]:
    """Have each GPU that this process sees multiply a matrix, and describe it.

    Args:
        device: Device of a training; nothing is checked for "cpu".

    Raises:
        RuntimeError: There is no such device, torch was built without CUDA, sees no GPU, or one fails; the
            message says which.
    """
    if device == "cpu":
        return []
    if device.partition(":")[0] != "cuda":
        raise RuntimeError("is not a device for training; use cpu, cuda, cuda:1 and so on")
    if not torch.backends.cuda.is_built():
        raise RuntimeError(f"torch {torch.__version__} was built without CUDA")
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} for CUDA {torch.version.cuda} sees no GPU")
    return [_answer(index) for index in range(torch.cuda.device_count())]


def _answer(index: int) -> str:
    """Test one GPU and describe it: its name and how much memory is free.

    Raises:
        RuntimeError: It cannot multiply, or multiplies wrongly.
    """
    device = torch.device("cuda", index)
    ones = torch.ones(64, 64, device=device)
    total = float((ones @ ones).sum())
    if total != 64.0**3:
        raise RuntimeError(f"{device} sums 64 x 64 x 64 ones to {total}")
    free, whole = torch.cuda.mem_get_info(device)
    others = "; others use the rest" if free < _MOSTLY_FREE * whole else ""
    name = torch.cuda.get_device_name(device)
    return f"{name} answers, {free / _GIB:.1f} of {whole / _GIB:.1f} GiB free{others}"
