"""Keep a warm worker as good as a new one: restore what a training changed, or replace the worker.

After each trial the worker compares itself with its state when it was ready: settings of the process, members
of modules, processes, threads, open files, memory. Settings are restored, and processes ended. A change that
cannot be undone, such as a patched function that others may have copied, makes the process unfit: the next
trial gets a new one, which costs seconds, and the log says why.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from search.backends.ray.children import Children, part_forks
from search.backends.ray.patches import Patches
from search.backends.ray.process_settings import (
    Setting,
    Settings,
    numpy_settings,
    process_settings,
    torch_settings,
)
from search.trial.worker_env import seed_all
from trainables.core.load import TrainableRef

MOST_GROWTH_BYTES = 2**30  # at rest; or half of what the worker had after its first trial, if that is more
_MOST_NEW_FILES = 100  # open files; libraries' caches and sockets are a few dozen
_THREAD_S = 1.0  # threads of closed loaders end within milliseconds
# Threads of these libraries wait for work when at rest, and end with the process.
_LIBRARY_THREADS = ("concurrent/futures/thread.py", "tqdm/_monitor.py")
_SEARCH = str(Path(__file__).parents[2]) + os.sep  # meters have threads for ticks and heartbeats
_GROUPS = {"numpy": numpy_settings, "torch": torch_settings}


class Readiness:
    """The state of this process when it was ready for its first trial.

    Imports may change settings. A new process would make the same imports, so their changes are accepted.

    Args:
        trainable: The task's trainable; if it is a user's file, modules in its folder are watched.

    Attributes:
        unfit: Why the process must not train another trial; empty while it may.
    """

    def __init__(self, trainable: TrainableRef) -> None:
        path = trainable.path
        self._folder = str(path.absolute().parent) + os.sep if path else ""
        self.unfit: list[str] = []
        self._seed = 0
        self._patches = Patches(self._is_own)
        self._watch = ImportWatch(self._before_import, self._after_import)
        self._groups = {"process": Settings(process_settings())}
        self._take_libraries()
        self._children = Children()
        part_forks()
        self._threads = set(threading.enumerate())
        self._num_files = _num_files()
        self._bytes_after_first: int | None = None

    def begin(self, seed: int) -> None:
        """Seed what the trainable may not seed itself, now and when libraries are imported."""
        self._seed = seed
        seed_all(seed)

    def importing(self) -> AbstractContextManager[None]:
        """Return a context manager for the loading of a trainable's file."""
        return self._watch.importing()

    def restore(self) -> list[str]:
        """Restore settings and members, end started processes, and check whether anything else changed.

        Returns:
            Lines for the log of the trial that ended; none if it left nothing.
        """
        lines = []
        patched = self._patches.put_back()
        back, lost = [], []
        for group in self._groups.values():
            more_back, more_lost = group.put_back()
            back += more_back
            lost += more_lost
        if back:
            lines.append(f"restored after this trial: {', '.join(back)}")
        if ended := self._children.end():
            lines.append(f"ended with this trial: {len(ended)} processes that it started and left running")
        self.unfit += [f"this trial changed {name}" for name in lost]
        if patched:
            self.unfit.append(f"this trial replaced {_listed(patched)}")
        self.unfit += [*self._new_threads(), *self._new_files(), *self._growth()]
        lines += [f"the next trial gets a new worker: {reason}" for reason in self.unfit]
        return lines

    def _is_own(self, file: str) -> bool:
        return bool(self._folder) and file.startswith(self._folder) and "site-packages" not in file

    def _take_libraries(self) -> None:
        for name, settings in _GROUPS.items():
            if name not in self._groups and (module := sys.modules.get(name)) is not None:
                self._groups[name] = Settings(_readable(settings(module)))

    def _before_import(self) -> tuple[dict[str, dict[str, Any]], set[tuple[int, str]]]:
        return {name: group.read() for name, group in self._groups.items()}, self._patches.changed()

    def _after_import(self, states: tuple[dict[str, dict[str, Any]], set[tuple[int, str]]]) -> None:
        before, were_changed = states
        if sys.meta_path[0] is not self._watch:
            sys.meta_path[:] = [self._watch, *(one for one in sys.meta_path if one is not self._watch)]
        for name, values in before.items():
            self._groups[name].keep_changes_since(values)
        self._take_libraries()
        if self._groups.keys() - before.keys():
            seed_all(self._seed)
        self._patches.keep_changes_since(were_changed)
        self._patches.take()

    def _new_threads(self) -> Iterator[str]:
        ends_s = time.monotonic() + _THREAD_S
        while (new := self._own_threads()) and time.monotonic() < ends_s:
            time.sleep(0.01)
        yield from (f"thread {thread.name} of this trial still runs" for thread in new)

    def _own_threads(self) -> list[threading.Thread]:
        frames = sys._current_frames()
        new = [thread for thread in threading.enumerate() if thread not in self._threads]
        return [thread for thread in new if not _is_at_rest(frames.get(thread.ident or 0))]

    def _new_files(self) -> Iterator[str]:
        if (new := _num_files() - self._num_files) > _MOST_NEW_FILES:
            yield f"{new} more files are open than when it was ready"

    def _growth(self) -> Iterator[str]:
        now = _private_bytes()
        if self._bytes_after_first is None:
            self._bytes_after_first = now
        most = max(MOST_GROWTH_BYTES, self._bytes_after_first // 2)
        if now - self._bytes_after_first > most:
            with suppress(AttributeError, OSError):  # another C library than glibc
                ctypes.CDLL(None).malloc_trim(0)  # memory that is already free is not growth
            grown = _private_bytes() - self._bytes_after_first
            if grown > most:
                yield f"its memory at rest has grown by {grown / 2**30:.1f} GiB (limit {most / 2**30:.1f})"


def _readable(settings: Iterator[Setting]) -> Iterator[Setting]:
    """Yield the settings that this version of the library has."""
    for setting in settings:
        with suppress(Exception):
            setting.read()
            yield setting


def _is_at_rest(frame: Any) -> bool:
    """Whether a thread with this innermost frame belongs to a library and runs none of a trial's code."""
    files = [found.f_code.co_filename for found, _ in traceback.walk_stack(frame)] if frame else []
    own = [file for file in files if not file.endswith("threading.py")]
    return bool(own) and (own[-1].startswith(_SEARCH) or all(file.endswith(_LIBRARY_THREADS) for file in own))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _num_files() -> int:
    with suppress(OSError):
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
    return 0


def _private_bytes() -> int:
    """Return this process's own memory, without pages of mapped files; 0 without /proc."""
    with suppress(OSError), open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        resident, shared = map(int, file.read().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return 0


class ImportWatch(MetaPathFinder):
    """Calls `begin` before the outermost import that loads a module, and `end` with its result afterwards.

    It precedes all other finders and delegates to them; only the loader's `exec_module` is wrapped.
    """

    def __init__(self, begin: Callable[[], Any], end: Callable[[Any], None]) -> None:
        self._begin, self._end = begin, end
        self._depth = threading.local()
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # Only the finders behind this one: two such watches in one process would recurse forever.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            if find and (spec := find(fullname, path, target)):
                self._wrap(spec)
                return spec  # type: ignore[no-any-return]
        return None

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Treat the block as an import, for imports by other means, such as of a user's file."""
        depth = getattr(self._depth, "value", 0)
        self._depth.value = depth + 1
        before = self._begin() if depth == 0 else None
        try:
            yield
        finally:
            self._depth.value = depth
            if depth == 0:
                self._end(before)

    def _wrap(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        if isinstance(loader, type) or not hasattr(loader, "__dict__") or not hasattr(loader, "exec_module"):
            return  # built-in and frozen modules

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            with self.importing():
                loader.exec_module(module)

        loader.exec_module = exec_module
