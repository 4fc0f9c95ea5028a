"""Fresh Python processes that run functions for this one, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

_hiding = threading.Lock()


def fresh_processes(number: int) -> ProcessPoolExecutor:
    """As many processes, in this process's environment as Ray's workers are.

    They do not run the caller's script again, as spawned processes do by themselves: a plain script
    needs no `__main__` guard, and one from standard input has no file. So what they are given to do must
    be importable, not defined in the script.

    They end when this process does, in whatever way: one of a pool waits for tasks for ever else, for it
    holds both ends of the pipe that they come through.
    """
    return ProcessPoolExecutor(number, mp_context=FreshContext(), initializer=end_with_parent)


class _FreshProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - as the standard library calls it
        with _hidden_main():
            return SpawnProcess._Popen(process_obj)


class FreshContext(SpawnContext):
    """Starts such processes one by one; `end_with_parent` is then theirs to call."""

    Process = _FreshProcess


@contextmanager
def _hidden_main() -> Iterator[None]:
    """While a process is spawned, `__main__` is a module without a file, which cannot be run again."""
    with _hiding:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def end_with_parent() -> None:
    """End this process, which another one has started, as soon as that one has ended."""
    threading.Thread(target=_wait_for_parents_end, daemon=True).start()


def _wait_for_parents_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
