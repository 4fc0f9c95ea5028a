"""Fitting the examples that pass through a model at once into memory, and measuring its peak."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from trainables.core.gpu import tells_of_lack_of_memory

_MIB = 2**20
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
_R = TypeVar("_R")


class MicroBatch:
    """The number of examples that pass through a model at once, halved whenever memory runs out.

    Attributes:
        size: The current maximum; None until memory runs out.
        note: The size that did not fit and the one in use since, in words; empty until memory runs out.
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
        """Return the result of `attempt` at the largest size that fits, halving it after each failure.

        Args:
            num_examples: The largest size to attempt, and the first to be halved.
            smallest: If even this size does not fit, the error is raised to the caller.
            undo: Clears what a failed attempt has left.
        """
        while True:
            # A size that failed is not tried again in later steps: each failure costs a forward pass.
            size = min(self.size or num_examples, num_examples)
            try:
                return attempt(size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or size <= smallest:
                    raise
            undo()
            self._halve(size, smallest, where)  # out here: the error's frames hold memory to be freed

    def _halve(self, size: int, smallest: int, where: str) -> None:
        """Note the failure, and halve the size from now on.

        The memory that the failed attempt held is released: the smaller batch has no use for blocks of
        those sizes, and fragmentation would make it fail too.
        """
        first = self.note.partition(";")[0] or f"{size} examples at once were too much ({where})"
        # Rounded up: 5 becomes 3, so that 3 and 2 pass. From 128 to 1 there are at most 7 failures.
        self.size = max(smallest, -(-size // 2))
        self.note = f"{first}; {self.size} at a time fit, and the step is the same"
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
    return is_kind or tells_of_lack_of_memory(str(error))


def reset_peak() -> None:
    """Reset the peak of the GPU's memory; that of a process cannot be reset."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> tuple[float, str]:
    """Peak in MiB, and of what: GPU tensors since `reset_peak`, else the whole process since its start."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / _MIB, "of tensors on the GPU"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES / _MIB
    return peak, "of the whole process, libraries and data included"
