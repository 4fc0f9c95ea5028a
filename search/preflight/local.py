"""Running the checks: of this machine, in a separate process beside whatever else starts, or of each node."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from search.backends.backend import LaunchableBackend, Say
from search.command_lines import typed_command
from search.output import Output
from search.preflight.node_checks import examine
from search.preflight.request import PreflightError, PreflightRequest, Report, problems_of, request_for
from search.space import Space
from search.trial.worker_env import offer_worker_env
from trainables.core.subprocess_pool import LoadedProcess, fresh_processes

Examine = Callable[[PreflightRequest], Report]
_POLL_EVERY_S = 0.2  # how often the line on a terminal is updated
_FIRST_LINE_S, _LINE_EVERY_S = 30.0, 600.0


@dataclass(frozen=True)
class NodeCheck:
    """A running check of this machine.

    Args:
        progress: The file in which the check writes what it is doing.
    """

    report: Future[Report]
    progress: Path

    def doing(self) -> str:
        """What the check is doing now, in a few words."""
        with suppress(OSError):
            return self.progress.read_text(encoding="utf-8")
        return ""


@contextmanager
def examining(request: PreflightRequest) -> Iterator[NodeCheck]:
    """Start a check in a fresh Python process with this process's environment, as workers have.

    In this process the check would load torch, which takes 0.5 GiB, and a user's file could end it. The new
    process ends with the check, not with the context, which may last a whole search.
    """
    with fresh_processes(1) as pool, _examining(request, pool.submit) as check:
        check.report.add_done_callback(lambda _: pool.shutdown(wait=False))
        yield check


@contextmanager
def _examining(
    request: PreflightRequest, submit: Callable[[Examine, PreflightRequest], Future[Report]]
) -> Iterator[NodeCheck]:
    with tempfile.TemporaryDirectory(prefix="jouletune-preflight-") as folder:
        progress = Path(folder) / "progress"
        yield NodeCheck(submit(examine, replace(request, progress=progress)), progress)


def now_and_then(
    say: Say,
    clock: Callable[[], float] = time.monotonic,
    *,
    first: Say,
    instead: str,
) -> Say:
    """Return a function that passes its text to `say`, with the time so far, after 30 s and every 10 min.

    For logs, where each update is a new line: a check of 40 min takes five lines.

    Args:
        first: Called once with what is being done, after the first second, so that no log is silent for
            longer.
        instead: What to do rather than wait, to be printed after the time.
    """
    began_s = clock()
    say_at_s = began_s + _FIRST_LINE_S
    is_silent = True

    def report_progress(doing: str) -> None:
        nonlocal say_at_s, is_silent
        if is_silent and clock() - began_s >= 1:
            is_silent = False
            first(doing)
        if clock() >= say_at_s:
            say_at_s = clock() + _LINE_EVERY_S
            say(f"{doing} ({clock() - began_s:.0f} s so far{instead})")

    return report_progress


def await_report(check: NodeCheck, *, say: Callable[[str], None] = lambda doing: None) -> Report:
    """Wait for the check and return what it found.

    Args:
        say: Called every 0.2 s with what the check is doing, for as long as it runs.

    Raises:
        PreflightError: The check's process died.
    """
    while not wait([check.report], timeout=_POLL_EVERY_S).done:
        say(f"preflight: {check.doing() or 'starting'}")
    try:
        return check.report.result()
    except BrokenProcessPool as error:
        what = "the check itself was killed, by a trainable that exits on import or because memory ran out"
        raise PreflightError([f"{what}; {typed_command('train')} shows which"]) from error


def await_reports(
    reports: Callable[[Say], Sequence[Report]],
    output: Output,
    *,
    instead: str = "; --skip-preflight starts without it",
) -> Sequence[Report]:
    """Wait for the checks and return what they found; meanwhile a line shows what they are doing.

    Where nobody watches (a log file), it is a line after a second and a note now and then, as weights may
    take minutes to load.

    Args:
        instead: What to do rather than wait; empty for a command that is the check itself.
    """
    if output.is_watched:
        with output.status("preflight") as status:
            return reports(status.update)
    first = partial(output.print, style="dim")
    return reports(now_and_then(output.note, first=first, instead=instead))


@contextmanager
def examining_here(request: PreflightRequest) -> Iterator[Callable[[Callable[[str], None]], list[Report]]]:
    """Start a check of this machine; yield a function that waits for its report and tells its progress."""
    offer_worker_env()
    with examining(replace(request, may_use_cpu=True)) as check:
        yield lambda say: [await_report(check, say=say)]


def examine_in_fork(request: PreflightRequest, loaded: LoadedProcess, output: Output) -> Report:
    """Check this machine in a fork of `loaded`, whose libraries other forks share too.

    Raises:
        PreflightError: The check's process died.
    """
    offer_worker_env()
    with _examining(replace(request, may_use_cpu=True), loaded.submit) as check:
        (report,) = await_reports(lambda say: [await_report(check, say=say)], output)
    return report


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
    """Check what the trials of `space` will need, and return a report for each node.

    Args:
        source: What to write after --space, for the commands in messages.
        folder: Where the run would be written.
    """
    if should_download:
        os.environ["HF_HUB_OFFLINE"] = "0"  # read once, when the child imports the hub's client
    request = replace(
        request_for(space, source=source, folder=folder), is_fetching=should_download, is_trying=should_train
    )
    if backend.is_here:  # Ray need not be started for it
        with examining_here(request) as reports:
            return await_reports(reports, output, instead="")
    with backend.examining(request) as reports, backend.started(remedy=""):
        return await_reports(reports, output, instead="")


def download_weights(
    space: Space, source: str, folder: Path, backend: LaunchableBackend, output: Output
) -> None:
    """Fetch the pretrained weights that the trials of `space` will read, where they will run.

    Raises:
        PreflightError: Something cannot be fetched, or something else is wrong.
    """
    reports = examine_space(
        space,
        source=source,
        folder=folder,
        should_download=True,
        should_train=False,
        backend=backend,
        output=output,
    )
    if problems := problems_of(reports):
        raise PreflightError(problems)
