"""Watch whether Ray is alive: its control service (GCS) on the head node, and the raylet of this machine.

Ray's own C++ code ends the driver's process 60 s after the GCS is gone, without a word on how to resume.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from search.backends.errors import RAY_LOST_STATUS, RayLost
from search.printable import printable

_EVERY_S = 1.0
_CONNECT_S = 2.0  # the kernel accepts connections even for a busy process: none means no process or machine
_NUM_MISSES = 2
_GRACE_S = 5.0  # for the main thread to end in order; shutting down Ray takes 1.4 s


class RayWatch:
    """Checks every second that Ray is alive.

    A main thread that calls `check` learns of the loss. If it is stuck in Ray instead, the message is printed
    and the process ends.

    Args:
        ports: Host and port that must accept connections, by what listens there.
        end_ray: Ends Ray's processes on this machine.
        end_process: Called with the message and the exit status.
    """

    def __init__(
        self,
        ports: Mapping[str, tuple[str, int]],
        *,
        end_ray: Callable[[], None] = lambda: None,
        end_process: Callable[[str, int], None] | None = None,
        every_s: float = _EVERY_S,
        grace_s: float = _GRACE_S,
    ) -> None:
        self._ports = ports
        self._end_ray, self._end_process = end_ray, end_process or _end_process
        self._every_s, self._grace_s = every_s, grace_s
        self._is_over, self._is_left = threading.Event(), threading.Event()
        self._leaving = threading.Lock()
        self.lost = ""
        self.remedy = ""
        threading.Thread(target=self._watch, name="ray-watch", daemon=True).start()

    def check(self) -> None:
        """Raise if a loss was detected.

        Raises:
            RayLost: Ray is gone.
        """
        if self.lost:
            raise RayLost(self.lost)

    def check_now(self) -> None:
        """Check now, which takes half a second if something is missing, and raise as `check` does."""
        if not self.lost and (first := self._missing()):
            time.sleep(_EVERY_S / 2)
            if self._missing():
                self.lost = self.lost or _message(first)
        self.check()

    def leave(self) -> None:
        """Stop checking, because the session's owner is ending it."""
        self._is_over.set()
        with self._leaving:  # held permanently by a thread that is ending the process
            self._is_left.set()

    def _watch(self) -> None:
        misses = 0
        while not self.lost and not self._is_over.wait(self._every_s):
            missing = self._missing()
            misses = misses + 1 if missing else 0
            if misses >= _NUM_MISSES:
                self.lost = self.lost or _message(missing)
        if self.lost and not self._is_left.wait(self._grace_s):
            self._leaving.acquire()
            if not self._is_left.is_set():
                with suppress(Exception):
                    self._end_ray()
                self._end_process("\n".join(filter(None, [self.lost, self.remedy])), RAY_LOST_STATUS)
            self._leaving.release()

    def _missing(self) -> str:
        for what, address in self._ports.items():
            try:
                socket.create_connection(address, timeout=_CONNECT_S).close()
            except OSError as error:
                return f"{what} at {address[0]}:{address[1]} is gone ({error.strerror or error})"
        return ""


def _message(missing: str) -> str:
    return f"Ray was lost: {missing}; the trials that ran resume from their last checkpoints"


def _end_process(message: str, status: int) -> None:
    print(printable(message), file=sys.stderr, flush=True)
    os._exit(status)  # unwinding would wait for Ray


_current: RayWatch | None = None


def set_current(watch: RayWatch | None) -> None:
    """Make this the watch of this process's session."""
    global _current
    _current = watch


def check_ray() -> None:
    """Raise if this process's session is known to be lost.

    Raises:
        RayLost: Ray is gone.
    """
    if _current:
        _current.check()


def is_ray_lost() -> bool:
    """Return whether this process's session is known to be lost."""
    return bool(_current and _current.lost)


def check_ray_now() -> None:
    """Check now that this process's session is alive.

    Raises:
        RayLost: Ray is gone.
    """
    if _current:
        _current.check_now()


def announce_remedy(text: str) -> None:
    """Set the text to print after a loss if the main thread cannot print it."""
    if _current:
        _current.remedy = text
