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
from functools import partial
from pathlib import Path

from search.backends.backend import LaunchableBackend, Say
from search.output import Output
from search.preflight.node_checks import examine
from search.preflight.request import PreflightError, PreflightRequest, Report, problems_of, request_for
from search.space import Space
from search.trial.worker_env import offer_worker_env
from trainables.core.command_lines import typed_command
from trainables.core.subprocess_pool import LoadedProcess, fresh_processes

Examine = Callable[[PreflightRequest], Report]
_POLL_EVERY_S = 0.2  # the line on a terminal follows the check this closely
_FIRST_LINE_S, _LINE_EVERY_S = 30.0, 600.0


@dataclass(frozen=True)
class NodeCheck:
    """A check of this machine that has begun.

    Args:
        progress: The file in which it writes what it is doing.
    """

    report: Future[Report]
    progress: Path

    def doing(self) -> str:
        """What it is doing just now, in a few words."""
        with suppress(OSError):
            return self.progress.read_text(encoding="utf-8")
        return ""


@contextmanager
def examining(request: PreflightRequest) -> Iterator[NodeCheck]:
    """A check that has begun, in a fresh Python that has this process's environment, as workers have.

    In this process it would load torch, which takes 0.5 GiB, and a user's file could end it. The process
    ends with the check, not with the context, which may be a whole search.
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
    """A function that passes what it is given to `say`, with the time so far, after 30 s and every 10 min.

    For logs, in which a line that changes is a new line each time: a check of 40 min is five lines long.

    Args:
        first: Given what is being done after the first second, so that no log is silent for longer.
        instead: What to do rather than wait, after the time.
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
    """Wait for the check and give what it found.

    Args:
        say: Called every 0.2 s with what it is doing, as long as it takes.

    Raises:
        PreflightError: It died on the way.
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
    """What the checks found; while they run, a line shows what they are doing.

    Where nobody watches (a log file) it is a line after a second and a note now and then, as weights may take
    minutes to load.

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
    """A check of this machine that has begun; gives what waits for its report and says what it is doing."""
    offer_worker_env()
    with examining(replace(request, may_use_cpu=True)) as check:
        yield lambda say: [await_report(check, say=say)]


def examine_in_fork(request: PreflightRequest, loaded: LoadedProcess, output: Output) -> Report:
    """The check of this machine in a fork of `loaded`, from whose libraries other forks gain as well.

    Raises:
        PreflightError: It died on the way.
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
        with examining_here(request) as reports:
            return await_reports(reports, output, instead="")
    with backend.examining(request) as reports, backend.started(remedy=""):
        return await_reports(reports, output, instead="")


def download_weights(
    space: Space, source: str, folder: Path, backend: LaunchableBackend, output: Output
) -> None:
    """Fetch the pretrained weights that the trials of `space` will read, where they will run.

    Raises:
        PreflightError: Something cannot be had, or is wrong beside it.
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
