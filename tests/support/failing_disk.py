"""A disk that fails, or a process that dies, at a chosen operation in one folder.

It intercepts Python's calls to the system: opened files and the functions of `os` are real, up to the one
operation that is not done, is half done, or is the process's last. Only for use in separate processes, as it
cannot be undone.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_BY_PATH = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "link", "truncate")
_BY_FILE = ("fsync", "write")
_SAME = {"rename": "replace", "remove": "unlink"}
_EVENT = re.compile(rb'"event": "(\w+)"')


@dataclass(frozen=True, kw_only=True)
class Accident:
    """What happens at an operation.

    Attributes:
        operation: "open", "create" (to write), "read", "write", "fsync", "replace", "unlink", "rmdir",
            "mkdir", "link", "truncate"; empty for any of them.
        file: Name of the file or folder; empty for any.
        number: How many such operations succeed before it.
        moment: "before", "within" or "after" the operation, for a kill.
        error: The system's error instead; 0 means SIGKILL. If it lasts, a write first leaves half of its
            bytes.
        lasts: Whether every later operation that changes anything fails in the same way.
    """

    operation: str = ""
    file: str = ""
    number: int = 0
    moment: str = "before"
    error: int = 0
    lasts: bool = False


class FailingDisk:
    """Makes the accident happen to this process, in this folder.

    Args:
        note: File that records the accident before it happens: `{"operation": ..., "file": ..., "event":
            ...}`, where `event` is the kind of the journal's line.
    """

    def __init__(self, folder: Path, accident: Accident, note: Path) -> None:
        self._folder, self._accident, self._note = folder.absolute(), accident, note
        self._num_passed, self._has_happened = 0, False
        self._open = io.open

    def install(self) -> None:
        """Let operations fail from now on."""
        io.open = builtins.open = self._opened  # type: ignore[assignment]
        for name in (*_BY_PATH, *_BY_FILE):
            setattr(os, name, self._guarded(name, getattr(os, name)))

    def is_here(self, path: Any) -> bool:
        """Whether the path lies in the folder."""
        return _path_of(path).absolute().is_relative_to(self._folder)

    def meet(self, operation: str, path: Any, act: Callable[[], Any], content: bytes | None = None) -> Any:
        """Do the operation by calling `act`, unless the accident happens here.

        Args:
            content: The bytes of a write; `act` is then called with the bytes to write.
        """
        name = Path(os.fsdecode(path)).name
        if self._has_happened:
            if self._accident.lasts and operation not in ("open", "read"):
                raise self._failure(path)
            return _done(act, content)
        if not self._is_meant(operation, name):
            return _done(act, content)
        self._has_happened = True
        self._write_note(operation, name, content)
        if self._accident.error:
            return self._fail(act, path, content)
        if self._accident.moment == "within" and content is not None:
            act(content[: len(content) // 2])
        try:
            if self._accident.moment == "after":
                _done(act, content)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_meant(self, operation: str, name: str) -> bool:
        meant = self._accident
        if meant.operation not in ("", operation) or not name.endswith(meant.file):
            return False
        self._num_passed += 1
        return self._num_passed > meant.number

    def _fail(self, act: Callable[..., Any], path: Any, content: bytes | None) -> Any:
        if content is not None and len(content) > 1 and self._accident.lasts:
            return act(content[: len(content) // 2])  # the disk is full from here on
        raise self._failure(path)

    def _failure(self, path: Any) -> OSError:
        return OSError(self._accident.error, os.strerror(self._accident.error), os.fsdecode(path))

    def _write_note(self, operation: str, name: str, content: bytes | None) -> None:
        event = _EVENT.search(content) if content and name == "journal.jsonl" else None
        details = {"operation": operation, "file": name, "event": event[1].decode() if event else ""}
        with self._open(self._note, "w") as file:
            json.dump({**asdict(self._accident), **details}, file)

    def _guarded(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        operation = _SAME.get(name, name)

        def guarded(target: Any, *others: Any, **named: Any) -> Any:
            if named.get("dir_fd") is not None or not self.is_here(target):
                return real(target, *others, **named)
            path = _path_of(others[0] if name in ("replace", "rename", "link") else target)
            if name == "write":
                return self.meet("write", path, lambda left: real(target, left), bytes(others[0]))
            return self.meet(operation, path, lambda: real(target, *others, **named))

        return guarded

    def _opened(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """`open`, with every read and write of a file in the folder intercepted."""
        if isinstance(file, int) or opener or not self.is_here(file):
            return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        operation = "create" if set(mode) & set("wxa+") else "open"
        raw = self.meet(
            operation, file, lambda: _FailingFile(self, file, mode.replace("b", "").replace("t", ""))
        )
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        if "+" in mode:
            buffered: Any = io.BufferedRandom(raw, size)
        else:
            buffered = (io.BufferedReader if operation == "open" else io.BufferedWriter)(raw, size)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


class _FailingFile(io.FileIO):
    def __init__(self, disk: FailingDisk, file: Any, mode: str) -> None:
        self._disk = disk
        super().__init__(file, mode)

    def write(self, data: Any) -> int:
        written: int = self._disk.meet("write", self.name, super().write, bytes(data))
        return written

    def readinto(self, buffer: Any) -> int | None:  # type: ignore[override]
        read: int | None = self._disk.meet(
            "read", self.name, lambda: super(_FailingFile, self).readinto(buffer)
        )
        return read

    def readall(self) -> bytes:
        content: bytes = self._disk.meet("read", self.name, lambda: super(_FailingFile, self).readall())
        return content

    def truncate(self, size: int | None = None) -> int:
        return int(self._disk.meet("truncate", self.name, lambda: super(_FailingFile, self).truncate(size)))


def _path_of(target: Any) -> Path:
    """The path of a path-like object or of an open file descriptor."""
    return (
        Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(os.fsdecode(target))
    )


def _done(act: Callable[..., Any], content: bytes | None) -> Any:
    return act() if content is None else act(content)
