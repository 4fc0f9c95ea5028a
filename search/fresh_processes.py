"""Fresh Pythons beside this one, which end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def fresh_processes(number: int) -> ProcessPoolExecutor:
    """As many processes, in this process's environment as Ray's workers are.

    They end when this process does, in whatever way: one of a pool waits for tasks for ever else, for it
    holds both ends of the pipe that they come through.
    """
    return ProcessPoolExecutor(
        number,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )


def _end_with_parent() -> None:
    threading.Thread(target=_wait_for_parents_end, daemon=True).start()


def _wait_for_parents_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
