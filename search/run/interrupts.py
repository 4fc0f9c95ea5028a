"""How a signal ends a search: the first after the epochs under way, a second one at once.

The first is a request to the run, which then ends like one that has reached a limit. After the second only
the command that resumes the run is printed, as the journal has everything already.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from search.errors import SearchInterrupted
from search.ledger import Ledger
from search.output import Output
from search.run.run import Run

_INTERRUPTED = "interrupted; what was done so far is in the run's journal"


@contextmanager
def interruptible(run: Run, output: Output) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the run gracefully during the block, and a second one at once.

    Gracefully means after the current epochs or their grace period. Python delivers signals to the main
    thread only, so in another thread, such as that of a notebook's widget, no handler is set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request_end(number: int, frame: FrameType | None) -> None:
        # Nothing is ended here: the run refuses each trial its next epoch, which interrupts the trial with
        # its checkpoint, and the session is closed in the journal.
        if run.stop_reason() is not None:
            raise KeyboardInterrupt
        within = f"within {run.space.limits.grace_s:g} s"
        output.print(f"ending after the epochs under way, {within} at most; a second signal ends at once")
        run.interrupt(f"{signal.Signals(number).name} received")

    before = {number: signal.signal(number, request_end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def resume_hint(folder: Path, resume: str, output: Output) -> Iterator[None]:
    """Print the line `resume` if a second Ctrl-C ends the block at once and there is a run in `folder`.

    Raises:
        SearchInterrupted: The line was printed.
    """
    try:
        yield
    except KeyboardInterrupt:
        if Ledger(folder).has_run:
            output.print(f"{_INTERRUPTED}\n{resume}")
            raise SearchInterrupted from None
        raise
