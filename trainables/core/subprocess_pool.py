"""Fresh Python processes that run functions for this process and end with it."""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar

_hiding = threading.Lock()
_P = ParamSpec("_P")
_R = TypeVar("_R")


def fresh_processes(number: int) -> ProcessPoolExecutor:
    """Return a pool of this many processes, which like Ray's workers inherit this process's environment.

    Unlike ordinary spawned processes, they do not run the caller's script again: a plain script then needs
    no `__main__` guard, and one from standard input has no file. So their tasks must be importable, not
    defined in the script.

    They end when this process does, however it ends. Otherwise they would wait for tasks forever, as a
    process of a pool holds both ends of the pipe that tasks come through. An error in the pool's `with`
    block kills them: it is not to wait for minutes of work whose result nobody will take.
    """
    return _FreshPool(number, _begin)


class LoadedProcess:
    """A fresh process that loads modules once, and runs functions in forks, which have them loaded.

    Importing torch, torchvision and timm takes 4 to 10 s of a core and 0.5 GiB, a fork 20 ms.
    The process itself computes nothing, as a fork has none of the threads that torch computed with before
    and cannot use a GPU that was opened before. It starts with its first task, in this process's environment
    at that time, and runs one task after another.

    Args:
        modules: Loaded first. One that fails to load fails again, visibly, in the fork that needs it.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._pool = _FreshPool(1, _begin_loading)
        self._modules = modules
        self._loading: list[Future[float]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def load_s(self, modules: Sequence[str] = ()) -> float:
        """Load further modules, and return the seconds of all loading so far, the process's start included.

        Raises:
            BrokenProcessPool: The process was killed.
        """
        self._load(modules)
        return sum(loading.result() for loading in self._loading)

    def submit(self, function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
        """Call the function in a fork.

        The future raises what the function raises, and BrokenProcessPool if a process was killed.
        """
        self._load()
        return self._pool.submit(_in_fork, function, *args, **kwargs)

    def map_at_once(
        self, function: Callable[..., _R], arguments: Sequence[Sequence[Any]], *, threads: int
    ) -> list[_R]:
        """Call the function with each of these arguments at once, each in its own fork.

        Args:
            threads: Threads of each fork, for torch and anything else that uses OpenMP or BLAS.

        Raises:
            BrokenProcessPool: One of the processes was killed.
        """
        self._load()
        return self._pool.submit(_in_forks, function, arguments, threads).result()

    def _load(self, modules: Sequence[str] = ()) -> None:
        if modules or not self._loading:
            wanted = [*([] if self._loading else self._modules), *modules]
            self._loading.append(self._pool.submit(_load, wanted, time.time()))


def _begin() -> None:
    end_with_parent()
    atexit.register(os._exit, 0)  # registered first, so runs last: skips torch's teardown, 0.6 s of a core


def _begin_loading() -> None:
    _begin()
    # Ctrl-C ends it and its forks at once: an interrupted import may raise anything, or carry on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _load(modules: Sequence[str], asked_at: float) -> float:
    for name in modules:
        with suppress(Exception):  # the fork that needs the module raises the error again
            importlib.import_module(name)
    return time.time() - asked_at


def _in_fork(function: Callable[..., _R], /, *args: Any, **kwargs: Any) -> _R:
    with _forks(1, threads=None) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _in_forks(function: Callable[..., _R], arguments: Sequence[Sequence[Any]], threads: int) -> list[_R]:
    with _forks(len(arguments), threads=threads) as pool:
        return list(pool.map(function, *zip(*arguments, strict=True)))


def _forks(number: int, *, threads: int | None) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("fork")  # all are forked before the pool has threads of its own
    return ProcessPoolExecutor(number, context, initializer=_begin_fork, initargs=(threads,))


def _begin_fork(threads: int | None) -> None:
    """End with the process that forked this one; use this many threads, as with OMP_NUM_THREADS at start."""
    end_with_parent()
    if threads is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries loaded later
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    importlib.import_module("threadpoolctl").threadpool_limits(threads)  # for NumPy and scikit-learn


class _FreshProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - as the standard library calls it
        with _hidden_main():
            return SpawnProcess._Popen(process_obj)


class FreshContext(SpawnContext):
    """Starts fresh processes one by one, and knows them; they must call `end_with_parent` themselves."""

    def __init__(self) -> None:
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        """Return a process that is not started yet; in other contexts this is its class."""
        self.started.append(process := _FreshProcess(*args, **kwargs))
        return process


class _FreshPool(ProcessPoolExecutor):
    """A pool of fresh processes. The end of its `with` block cancels what has not begun, and waits for the
    rest; an error in the block kills them."""

    def __init__(self, number: int, initializer: Callable[[], None]) -> None:
        self._context = FreshContext()
        super().__init__(number, mp_context=self._context, initializer=initializer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            for process in self._context.started:
                process.kill()
        self.shutdown(cancel_futures=True)


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Make `__main__` a module without a file while a process is spawned, so that it is not run again."""
    with _hiding:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def end_with_parent() -> None:
    """End this process as soon as its parent process has ended."""
    threading.Thread(target=_wait_for_parents_end, daemon=True).start()


def _wait_for_parents_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
