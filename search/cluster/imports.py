"""Being told when an import begins and ends: what it changes, it would change in a new process too."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class ImportWatch(MetaPathFinder):
    """Calls `begin` before the outermost import that loads a module, and `end` after it with its answer.

    It stands before all other finders and lets them find; only the loader's `exec_module` is wrapped.
    """

    def __init__(self, begin: Callable[[], Any], end: Callable[[Any], None]) -> None:
        self._begin, self._end = begin, end
        self._depth = threading.local()
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # Those behind it alone: two of these in one process would ask each other without end.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            if find and (spec := find(fullname, path, target)):
                self._wrap(spec)
                return spec  # type: ignore[no-any-return]
        return None

    @contextmanager
    def importing(self) -> Iterator[None]:
        """An import by other means, as of a user's file."""
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
