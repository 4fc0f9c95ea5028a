"""Frees the GPU memory that ended trainings left behind."""

from __future__ import annotations

import sys


def release_memory() -> None:
    """Give back what torch keeps of trainings that have ended: cached blocks and compiled code.

    Other processes on the GPU can then have the memory. Nothing happens where torch is not loaded.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
