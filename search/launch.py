"""From a checked space to an ended run: folder, backend, console and observers put together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from search.backends.backend import Capacity, LaunchableBackend, Say
from search.backends.errors import RayLost
from search.backends.resources import resolve_beside_background, resolve_resources
from search.backends.sensors import check_measurable
from search.energy.governor import GovernorError, held_governor, left_over, state_file
from search.energy.hardware import CPUS
from search.ledger import Ledger
from search.ledger.journal import StorageError
from search.output import Output
from search.preflight import PreflightError, Report, request_for
from search.preflight.local import examining_here, now_and_then
from search.preflight.request import auto_precision_of, problems_of
from search.provenance import describe_environment
from search.report.console import ConsoleView
from search.report.forecast import ForecastReporter
from search.report.preflight import print_data
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.run.observers import DiskGuard
from search.run.resume import disk_remedy, prepare_to_resume
from search.sampling.proposal import EarlierTrial, Sampler
from search.sampling.warm_start import earlier_trials
from search.space import Space, dump_space
from search.space.record import COPIES, RECORD, record_of
from search.tables import FinalTables, Tables
from search.trial.background import Background, BackgroundSpec
from trainables.core.contract import no_choice

_KNOWN_FROM_THE_TABLES = ("energy:", "gpu:", "precision:")  # each row has its source and its reason


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to run, apart from what.

    Attributes:
        folder: The run's folder. An existing run is resumed.
        command: The command line, for environment.json.
        backend: What executes the trials.
        should_test: Promotion.
        should_preflight: Check first, where the trials will run, what can be known to fail.
        space_source: What the user wrote after --space, for the commands in messages.
        governor: CPU frequency governor of this machine for the time of the run.
        background: A workload to train beside the trials, so that they are measured under it.
        auto_precision: Promotion: what the precision "auto" meant in the search, with the reason.
        rerun_failed: Try the failed trials of the run again, from their last checkpoints.
    """

    folder: Path
    command: Sequence[str]
    backend: LaunchableBackend
    space_source: str = "SPACE"
    should_test: bool = False
    auto_precision: str = ""
    rerun_failed: bool = False
    should_preflight: bool = True
    governor: str | None = None
    background: BackgroundSpec | None = None


def launch(
    space: Space, how: Launch, *, make_sampler: Callable[[Space], Sampler], output: Output
) -> tuple[Run, str]:
    """Run `space` to its end and give the run with the reason it ended.

    Raises:
        SpaceError: It asks for joules, and nothing on this machine measures any.
        PreflightError: Something is known to fail; the message lists it all.
        LedgerError: The folder cannot be used.
        StorageError: The journal or the tables could no longer be written; the message says how to resume.
        GovernorError: It cannot be set.
        RayLost: Ray was there and is gone; the message says how to resume.
        SessionError: The backend did not start, or offers less than one trial needs.
    """
    ledger = Ledger(how.folder)
    try:
        with _governed(how, output):
            return _run_to_the_end(space, how, ledger, make_sampler, output)
    except (StorageError, RayLost) as error:
        raise type(error)(f"{error}\n{_disk_remedy(how)}") from error
    finally:
        ledger.unlock()


def _disk_remedy(how: Launch) -> str:
    return disk_remedy(how.command, how.folder, is_promotion=how.should_test)


def _run_to_the_end(
    space: Space, how: Launch, ledger: Ledger, make_sampler: Callable[[Space], Sampler], output: Output
) -> tuple[Run, str]:
    backend = how.backend
    if backend.is_here:
        check_measurable(space)
    if ledger.has_run:
        prepare_to_resume(ledger, space, output)
    else:
        ledger.check_free()
        ledger.check_writable()
    output.print(f"{backend.where}; the first trial starts in a few seconds", style="dim")
    with (
        _examining(space, how, output) as reports,
        backend.started(remedy=_disk_remedy(how)) as capacity,
    ):
        found = reports()
        _check_reports(found, output)
        space, background = _resolve(_without_unusable_gpus(space, found), how, capacity, output)
        _record_settings(ledger, space, how, data=_data_of(found))
        metering, missing = backend.start_metering(space, _known_watts(ledger, space))
        if missing:
            output.warn(missing)
        run = Run(
            space,
            make_sampler(space),
            ledger,
            should_test=how.should_test,
            metering=metering,
            background=background,
            auto_precision=_auto_precision(space, how, found),
        )
        if run.auto_precision:
            output.print(f"precision: {run.auto_precision}", style="dim")
        if how.rerun_failed:
            run.rerun_failed()
        reporter = None if how.should_test else ForecastReporter(run, make_sampler, output)
        return run, _execute(run, backend, background, reporter, output)


def _resolve(
    space: Space, how: Launch, capacity: Capacity, output: Output
) -> tuple[Space, Background | None]:
    """The space with what its trials are given of `capacity`, and the workload beside them."""
    background = None
    if how.background:
        space, background = resolve_beside_background(space, how.background, capacity, how.folder.absolute())
        output.print(_shared_text(space, background))
    else:
        space = replace(space, resources=resolve_resources(space.resources, capacity))
    for warning in capacity.warnings:
        output.note(warning)
    for note in capacity.notes:
        output.print(note)
    return space, background


def known_trials(space: Space, output: Output) -> list[EarlierTrial]:
    """What the runs of `space.warm_start` know; prints how much of it lies in this space."""
    trials, notices = earlier_trials([Path(folder) for folder in space.warm_start], space)
    if space.warm_start:
        if space.is_listed:
            notices.append("search.warm_start: ignored; a list or design learns nothing")
        num_inside = sum(space.contains(trial.hparams) for trial in trials)
        output.print(f"warm start: {num_inside} of {len(trials)} earlier trials lie in this space")
    for notice in notices:
        output.note(notice)
    return trials


def sampler_maker(known: Sequence[EarlierTrial]) -> Callable[[Space], Sampler]:
    """What makes the sampler that a space asks for, with `known` taken in."""

    def make(space: Space) -> Sampler:
        from search.sampling.sampler import make_sampler  # Optuna, 1 s: loaded while Ray starts

        defaults = space.default_hparams(space.trainable.load())
        return make_sampler(space, defaults, known)

    return make


@contextmanager
def _governed(how: Launch, output: Output) -> Iterator[None]:
    """Hold the governor that was asked for; say what a killed run has left where none was."""
    # A promotion lies in its run's folder: both commands look for the note beside the runs.
    state = state_file(how.folder.parents[1 if how.should_test else 0])
    if how.governor is None:
        if left := left_over(state, cpus=CPUS):
            output.warn(left)
        yield
    elif not how.backend.is_here:
        raise GovernorError("--governor sets this machine's; the nodes behind --address are set by hand")
    else:
        with held_governor(how.governor, state, say=output.print, warn=output.warn, cpus=CPUS):
            yield


@contextmanager
def _examining(space: Space, how: Launch, output: Output) -> Iterator[Callable[[], Sequence[Report]]]:
    """Begin the preflight checks, beside the backend's start; gives what waits for their reports."""
    if not how.should_preflight:
        yield list
        return
    request = request_for(space, source=how.space_source, folder=how.folder)
    with how.backend.examining(request) as reports:
        yield lambda: _await_reports(reports, output)


def _await_reports(reports: Callable[[Say], Sequence[Report]], output: Output) -> Sequence[Report]:
    """What the checks found; while they take, a line shows what they are doing."""
    if output.is_watched:
        with output.status("preflight") as status:
            return reports(status.update)
    return reports(now_and_then(output.note))


def check_before(space: Space, *, source: str, folder: Path, output: Output) -> None:
    """Check this machine without starting anything: what a dry run does first.

    Raises:
        PreflightError: Something is known to fail; the message lists it all.
    """
    with examining_here(request_for(space, source=source, folder=folder)) as reports:
        _check_reports(_await_reports(reports, output), output)


def _check_reports(reports: Sequence[Report], output: Output) -> None:
    if problems := problems_of(reports):
        raise PreflightError(problems)
    for data in {tuple(report.data): report.data for report in reports if report.data}.values():
        print_data(data, output)
    for note in dict.fromkeys(note for report in reports for note in report.notes):
        if not note.startswith(_KNOWN_FROM_THE_TABLES):
            output.note(note)


def _without_unusable_gpus(space: Space, reports: Sequence[Report]) -> Space:
    """The space with trials on the CPU, if it leaves that open and preflight found that no GPU is of use."""
    if space.resources.gpus_per_trial is None and any(report.no_gpu_reason for report in reports):
        return replace(space, resources=space.resources.model_copy(update={"gpus_per_trial": 0.0}))
    return space


def _auto_precision(space: Space, how: Launch, reports: Sequence[Report]) -> str:
    """What the precision "auto" is to mean for all trials, wherever they run; empty without a choice."""
    has_formats = space.trainable.load().choose_precision is not no_choice
    if space.training.precision != "auto" or space.resources.gpus_per_trial or not has_formats:
        return ""
    if how.auto_precision:
        return how.auto_precision
    if not how.should_preflight:
        return "fp32: without preflight the CPUs were not checked"
    return auto_precision_of(reports)


def _data_of(reports: Sequence[Report]) -> dict[str, Any] | list[str] | None:
    """What was found in the data, as the first node says it: a summary, notes, or nothing."""
    for report in reports:
        if report.data:
            return report.data.to_dict()
        if notes := [note.removeprefix("data: ") for note in report.notes if note.startswith("data: ")]:
            return notes
    return None


def _record_settings(
    ledger: Ledger, space: Space, how: Launch, *, data: dict[str, Any] | list[str] | None
) -> None:
    """Write what the run is and runs on, and what is known of its data, if only from an earlier session."""
    if not ledger.has_run:
        ledger.begin()
        ledger.lock()
    _record_trainable(ledger, space)
    with ledger.writing(ledger.space_file.name):
        dump_space(space, ledger.space_file)
    known = data or ledger.environment().get("data")
    ledger.write_json(ledger.environment_file.name, {**describe_environment(how.command), "data": known})


def _record_trainable(ledger: Ledger, space: Space) -> None:
    """Keep as data what readers need of the trainable, and of a user's file a copy, which is never run."""
    if space.trainable.command is not None:
        return  # the space says it all
    record = record_of(space, space.trainable.load())
    if record.file:
        ledger.keep_copy(Path(record.file.path), COPIES, record.file.copy_name)
    ledger.write_json(RECORD, record.model_dump())


def _known_watts(ledger: Ledger, space: Space) -> dict[str, dict[str, float]]:
    """What earlier sessions of the run, and the runs it starts from, learnt of each model of GPU."""
    known_w: dict[str, dict[str, float]] = {}
    for one in (*(Ledger.open(Path(folder)) for folder in space.warm_start), ledger):
        for model, watts in one.read_history().sessions.learnt_w.items():
            known_w.setdefault(model, {}).update(watts)
    return known_w


def _shared_text(space: Space, background: Background) -> str:
    resources, task = space.resources, background.task
    gpus = f" and {task.gpus:g} of the GPU" if task.gpus else ""
    return (
        f"background: {background.name} trains on {task.cpus:g} CPUs{gpus}, "
        f"beside {resources.workers} trial(s) at a time; the first begins after its first epoch"
    )


def _execute(
    run: Run,
    backend: LaunchableBackend,
    background: Background | None,
    reporter: ForecastReporter | None,
    output: Output,
) -> str:
    """Execute `run` with everything that follows it; gives why it ended."""
    observers = DiskGuard(output.warn)
    run.observe(observers)
    if reporter:
        reporter.begin()
        observers.add(reporter)
    view = ConsoleView(
        run,
        output,
        get_forecast=lambda: reporter.forecast if reporter else None,
        is_live=not backend.is_in_process,
    )
    observers.add(view)
    with view, _interruptible(run, output):
        # Retention may give trials up as soon as it is made: the observers before it see that.
        observers.add(CheckpointRetention(run))
        if run.should_test:
            observers.add(FinalTables(run))
        observers.add(Tables(run.ledger, run.space, run.history))
        reason = backend.execute(run, background=background, say=output.note)
    if reporter:
        reporter.close()
    if observers.reason:
        raise StorageError(f"the run ended ({reason}), but {observers.reason}")
    return reason


def run_name(space: Space) -> str:
    """A name for a run that was given none: the space's, and the time."""
    return f"{space.name}-{datetime.now():%Y%m%d-%H%M%S}"


@contextmanager
def _interruptible(run: Run, output: Output) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the run after the epochs under way or its grace, the second at once.

    In a thread of its own, as a notebook's widget may start one, Python hears no signals: nothing is set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request_end(number: int, frame: FrameType | None) -> None:
        if run.stop_reason() is not None:
            raise KeyboardInterrupt
        within = f"within {run.space.limits.grace_s:g} s"
        output.print(f"ending after the epochs under way, {within} at most; once more ends at once")
        run.interrupt(f"{signal.Signals(number).name} received")

    before = {number: signal.signal(number, request_end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
