"""Whether Ray is still there: its control service (GCS), on the head node, and the raylet of this machine.

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
_CONNECT_S = 2.0  # the kernel accepts for a busy process: no answer means no process, or no machine
_NUM_MISSES = 2
_GRACE_S = 5.0  # for the main thread to end in order: shutting Ray down takes 1.4 s


class RayWatch:
    """Looks every second. A main thread that `check`s learns of the loss; one that is stuck in Ray is not
    waited for: the message is printed and the process ends.

    Args:
        ports: What must listen, by what it is.
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
        """Raise if the loss was seen.

        Raises:
            RayLost: Ray is gone.
        """
        if self.lost:
            raise RayLost(self.lost)

    def check_now(self) -> None:
        """Check now, which takes half a second where something is amiss, and raise as `check` does."""
        if not self.lost and (first := self._missing()):
            time.sleep(_EVERY_S / 2)
            if self._missing():
                self.lost = self.lost or _message(first)
        self.check()

    def leave(self) -> None:
        """Stop checking: the session is ended by its owner."""
        self._is_over.set()
        with self._leaving:  # held for good by a thread that is ending the process
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
    os._exit(status)  # whatever unwinds now would wait for Ray


_current: RayWatch | None = None


def set_current(watch: RayWatch | None) -> None:
    """Make this the watch of the session of this process."""
    global _current
    _current = watch


def check_ray() -> None:
    """See that the session of this process lives, as far as is known.

    Raises:
        RayLost: It does not.
    """
    if _current:
        _current.check()


def is_ray_lost() -> bool:
    """Whether the loss of the session of this process was seen."""
    return bool(_current and _current.lost)


def check_ray_now() -> None:
    """Check that the session of this process lives.

    Raises:
        RayLost: It does not.
    """
    if _current:
        _current.check_now()


def announce_remedy(text: str) -> None:
    """Have this printed after the loss, where the main thread cannot print it."""
    if _current:
        _current.remedy = text
