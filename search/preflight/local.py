"""The checks of this machine, in a process of its own beside whatever else starts, or of every node."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from search.backends.backend import LaunchableBackend
from search.output import Output
from search.preflight.node_checks import examine
from search.preflight.request import PreflightError, PreflightRequest, Report, request_for
from search.space import Space
from search.subprocess_pool import fresh_processes
from search.trial.worker_env import offer_worker_env

_REPORT_POLL_S = 0.2
_FIRST_REPORT_S, _REPORT_EVERY_S = 30.0, 600.0


@dataclass(frozen=True)
class Look:
    """A look that has begun.

    Args:
        progress: The file in which it says what it is doing.
    """

    report: Future[Report]
    progress: Path

    def doing(self) -> str:
        """What it is doing just now, in a few words."""
        with suppress(OSError):
            return self.progress.read_text(encoding="utf-8")
        return ""


@contextmanager
def examining(order: PreflightRequest) -> Iterator[Look]:
    """A look that has begun, in a fresh Python that has this process's environment, as workers have.

    In this process it would load torch, which takes 0.5 GiB, and a user's file could end it. The process
    ends with the look, not with the context, which may be a whole search.
    """
    with tempfile.TemporaryDirectory(prefix="jouletune-preflight-") as folder, fresh_processes(1) as pool:
        progress = Path(folder) / "progress"
        looking = pool.submit(examine, replace(order, progress=progress))
        looking.add_done_callback(lambda _: pool.shutdown(wait=False))
        yield Look(looking, progress)


def now_and_then(
    say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[str], None]:
    """What passes on to `say` what it is told, with the time, after half a minute and every ten minutes: for
    logs, where nobody watches a line that changes."""
    began_s = clock()
    say_at_s = began_s + _FIRST_REPORT_S

    def tell(doing: str) -> None:
        nonlocal say_at_s
        if clock() >= say_at_s:
            say_at_s = clock() + _REPORT_EVERY_S
            say(f"{doing} ({clock() - began_s:.0f} s so far; --skip-preflight starts without it)")

    return tell


def report_of(look: Look, *, tell: Callable[[str], None] = lambda doing: None) -> Report:
    """What the look found.

    Args:
        tell: Is told now and then what it is doing, as long as it takes.

    Raises:
        PreflightError: It died on the way.
    """
    while not wait([look.report], timeout=_REPORT_POLL_S).done:
        tell(f"preflight: {look.doing() or 'starting'}")
    try:
        return look.report.result()
    except BrokenProcessPool as error:
        what = "the look itself was killed, by a trainable that exits on import or for want of memory"
        raise PreflightError([f"{what}; python scripts/train.py shows which"]) from error


@contextmanager
def examining_here(request: PreflightRequest) -> Iterator[Callable[[Callable[[str], None]], list[Report]]]:
    """A look at this machine that has begun; gives what waits for its report and says what it is doing."""
    offer_worker_env()
    with examining(replace(request, may_use_cpu=True)) as look:
        yield lambda say: [report_of(look, tell=say)]


def examine_space(
    space: Space,
    *,
    source: str,
    folder: Path,
    should_download: bool,
    should_train: bool,
    backend: LaunchableBackend,
    output: Output,
) -> Sequence[Report]:
    """A report for each node on what the trials of `space` will need.

    Args:
        source: What stands after --space, for the commands in messages.
        folder: Where its run would be written.
    """
    if should_download:
        os.environ["HF_HUB_OFFLINE"] = "0"  # read once, when the child imports the hub's client
    request = replace(
        request_for(space, source=source, folder=folder), is_fetching=should_download, is_trying=should_train
    )
    if backend.is_here:  # Ray need not be started for it
        with examining_here(request) as reports, output.status("preflight") as status:
            return reports(status.update)
    with backend.examining(request) as reports, backend.started(remedy=""):
        return reports(lambda doing: None)
