"""Whether torch can compute on the GPU of this node."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    name: str
    free_mib: float
    total_mib: float


def answering_gpus() -> list[Gpu]:
    """The GPUs this process sees, after each has multiplied a matrix and given the right sum.

    Raises:
        RuntimeError: Torch was built without CUDA, sees no GPU, or one fails; the message says which.
    """
    import torch  # here, because `search` names this function and must not load torch

    if not torch.backends.cuda.is_built():
        raise RuntimeError(f"torch {torch.__version__} was built without CUDA")
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} for CUDA {torch.version.cuda} sees no GPU")
    return [_answer(torch.device("cuda", index)) for index in range(torch.cuda.device_count())]


def _answer(device: object) -> Gpu:
    import torch

    ones = torch.ones(64, 64, device=device)  # type: ignore[call-overload]
    total = float((ones @ ones).sum())
    if total != 64.0**3:
        raise RuntimeError(f"{device} sums 64 x 64 x 64 ones to {total}")
    free, all_of_it = torch.cuda.mem_get_info(device)  # type: ignore[arg-type]
    return Gpu(
        name=torch.cuda.get_device_name(device),  # type: ignore[arg-type]
        free_mib=free / _MIB,
        total_mib=all_of_it / _MIB,
    )
