"""Lock files: one process holds a lock until it ends, however it ends, and the file's text names it."""

from __future__ import annotations

import fcntl
import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from search.ledger.journal import LedgerError

_HOLDER = re.compile(r"process (?P<pid>\d+) on (?P<node>.*)")


class InUse(LedgerError):
    """Another process holds the lock; the message says which."""


def hold(lock: Path, guarded: Path, *, should_wait: bool = False) -> BinaryIO:
    """Hold a lock file until the returned file is closed, or this process ends.

    Args:
        guarded: What is in use while the lock is held, as a message names it.
        should_wait: Wait until the process that holds it is done.

    Raises:
        InUse: Another process holds it.
        OSError: The file cannot be created or locked.
    """
    file = lock.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if should_wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
        with file:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "another process"
        raise InUse(f"{guarded} is in use by {holder}; wait for it or end it") from error
    except OSError:  # a filesystem without locks
        file.close()
        raise
    with suppress(OSError):  # a full disk: the lock holds, only its text is missing
        os.truncate(file.name, 0)
        os.write(file.fileno(), f"process {os.getpid()} on {platform.node()}".encode())
    return file


def lost_holder(lock: Path) -> str:
    """The process of this machine that held a lock file and is gone; empty if none is known.

    Only the file's text is read: trying the lock could get in the way of a process that takes it.
    """
    try:
        holder = _HOLDER.fullmatch(lock.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    if not holder or holder["node"] != platform.node() or Path(f"/proc/{holder['pid']}").exists():
        return ""
    return f"process {holder['pid']}"
