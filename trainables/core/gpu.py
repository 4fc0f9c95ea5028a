"""Memory that ran out, by the words of libraries, and GPU memory that finished trainings left behind."""

from __future__ import annotations

import re
import sys

# cuBLAS, cuDNN and CPU allocators raise plain RuntimeErrors, recognisable only by their messages. The last
# two do not mention memory: cuDNN says so if no algorithm's workspace fits, which a smaller batch cures.
# Imports that "cannot allocate memory in static TLS block" have nothing to do with batches.
_OUT_OF_MEMORY = re.compile(
    r"out[ _]of[ _](device[ _]|host[ _])?memory|(can't|cannot) allocate memory(?! in static TLS)"
    r"|not enough memory: you tried|OOM when allocating|RESOURCE_EXHAUSTED|ALLOC(ATION)?_?FAILED"
    r"|unable to find an engine to execute|CUDNN_STATUS_NOT_SUPPORTED",
    re.IGNORECASE,
)


def tells_of_lack_of_memory(text: str) -> bool:
    """Whether an error's message says that memory ran out."""
    return _OUT_OF_MEMORY.search(text) is not None


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
