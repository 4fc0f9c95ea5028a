"""Releases the GPU memory that finished trainings left behind."""

from __future__ import annotations

import sys


def release_memory() -> None:
    """Release what torch keeps from finished trainings: cached blocks and compiled code.

    Other processes on the GPU can then use the memory. Does nothing if torch is not loaded.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
