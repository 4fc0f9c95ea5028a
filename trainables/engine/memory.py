"""What fits into memory: the examples that pass through a model at once."""

from __future__ import annotations

import gc
import re
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

_MIB = 2**20
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # what getrusage counts in
_R = TypeVar("_R")
# cuBLAS and CPU allocators raise plain RuntimeErrors, which only their messages distinguish.
_WORDS = re.compile(r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)


class MicroBatch:
    """How many examples pass through a model at once: as many as wanted, until memory says no.

    Attributes:
        size: What passes at once now; None as long as nothing was too much.
        note: What was too much and what became of it, in words; empty as long as nothing was.
    """

    def __init__(self) -> None:
        self.size: int | None = None
        self.note = ""

    def run_with_smaller_batches(
        self,
        attempt: Callable[[int], _R],
        *,
        num_examples: int,
        where: str,
        smallest: int = 1,
        undo: Callable[[], None] = lambda: None,
    ) -> _R:
        """What `attempt` gives for the largest size, halved from failure to failure, that memory holds.

        Args:
            num_examples: What an attempt is given at most; the size that is halved first.
            smallest: If even this is too much, the error is raised to the caller.
            undo: Clears away what a failed attempt has left.
        """
        while True:
            # What was too much once is not tried again in later steps: each failure costs a forward pass.
            size = min(self.size or num_examples, num_examples)
            try:
                return attempt(size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or size <= smallest:
                    raise
            undo()
            self._halve(size, smallest, where)  # out here: the error's frames hold what shall be freed

    def _halve(self, size: int, smallest: int, where: str) -> None:
        """Note the failure and let half as many examples pass from now on.

        Memory that the failed attempt held is given back first: its blocks are of sizes that the smaller
        batch has no use for, and fragmentation would fail it as well.
        """
        first = self.note.partition(";")[0] or f"{size} examples at once were too much ({where})"
        # Rounded up: 5 becomes 3, and 3 and 2 pass. From 128 to 1 there are 7 failures at most.
        self.size = max(smallest, -(-size // 2))
        self.note = f"{first}; {self.size} pass at once, and the step is the same"
        if torch.cuda.is_initialized():
            gc.collect()  # 0.2 s with torch loaded
            torch.cuda.empty_cache()

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.size, "note": self.note}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.size, self.note = state["size"], state["note"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch could help: torch raises several kinds of error when memory runs out."""
    is_kind = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_kind or bool(_WORDS.search(str(error)))


def reset_peak() -> None:
    """Begin a new peak of the GPU's memory; a process's own cannot be reset."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> tuple[float, str]:
    """MiB, and whose: tensors on the GPU since `reset_peak`, else all of the process since its start."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / _MIB, "of tensors on the GPU"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES / _MIB
    return peak, "of the whole process, libraries and data included"
