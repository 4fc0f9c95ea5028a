"""From a checked space to an ended run: puts folder, backend, console and observers together.

The order matters. Whatever can be refused is refused before anything starts (joules that nothing measures, a
folder that takes no files, a run with other settings). Preflight runs while Ray starts, which takes 5 to 7 s
anyway. The run's settings are on the disk before its first trial, so that a kill at any moment leaves a run
that can be resumed. Observers get each event in the order in which they depend on one another.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from search.backends.backend import Capacity, LaunchableBackend
from search.backends.errors import RayLost, SessionError
from search.backends.local import LocalBackend
from search.backends.mps import mps
from search.backends.ray.backend import Engine, RayBackend
from search.backends.resources import resolve_beside_background, resolve_resources
from search.backends.sensors import check_measurable
from search.energy.governor import GovernorError, held_governor, left_over, state_file
from search.energy.gpus import visible_gpus
from search.energy.hardware import CPUS
from search.ledger import Ledger
from search.ledger.journal import StorageError
from search.output import Output
from search.preflight import Report, request_for
from search.preflight.local import await_reports, examine_in_fork
from search.preflight.request import auto_precision_of, batch_sizes_of, data_of
from search.provenance import describe_environment
from search.report.answer import search_answer
from search.report.console import ConsoleView
from search.report.forecast import ForecastReporter
from search.report.page import write_at_end
from search.report.plan import print_deadlines, print_packing, print_plan, print_scheduler
from search.report.preflight import check_reports, started
from search.report.summary import print_summary, print_winner
from search.result import Result
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.run.interrupts import interruptible, resume_hint
from search.run.observers import DiskGuard, Observer
from search.run.resume import disk_remedy, has_batch_sizes, prepare_to_resume, resume_command
from search.sampling.earlier_runs import with_portfolio
from search.sampling.proposal import Sampler
from search.sampling.warm_start import known_trials, make_sampler
from search.space import Space, dump_space
from search.space.record import COPIES, RECORD, record_of
from search.tables import FinalTables, Tables, TrialHistories
from search.trial.background import Background, BackgroundSpec
from search.trial.batch_size import is_auto
from trainables.core.contract import no_choice
from trainables.core.subprocess_pool import LoadedProcess

BACKENDS = ("ray", "ray-core", "local")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to run a space.

    Attributes:
        folder: The run's folder. An existing run is resumed.
        command: The command line, for environment.json.
        backend: What executes the trials.
        should_test: Evaluate on the test set, as promotion does.
        should_preflight: First check, where the trials will run, for whatever is bound to fail.
        space_source: What the user wrote after --space, for the commands in messages.
        governor: CPU frequency governor of this machine during the run.
        background: A workload to train beside the trials, so that they are measured under it.
        auto_precision: For promotion, what the precision "auto" meant in the search, with the reason.
        rerun_failed: Retry the run's failed trials, from the beginning: their checkpoints were deleted.
        followers: Observers beside those that every run has; each event reaches them last.
        spread_over: For promotion, how many trainings share the idle GPUs; None leaves one to each.
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
    followers: Sequence[Observer] = ()
    spread_over: int | None = None


def chosen_backend(
    name: str = "ray", *, address: str | None = None, dashboard: bool = False
) -> LaunchableBackend:
    """Return the backend of this name.

    Args:
        address: A running Ray cluster to join; None starts Ray here.
        dashboard: Start Ray's dashboard and print how to sign in.

    Raises:
        SessionError: There is no such backend, it has no cluster or dashboard, or this process is daemonic.
    """
    if name not in BACKENDS:
        raise SessionError(f"there is no backend {name!r}: use one of {', '.join(BACKENDS)}")
    if multiprocessing.current_process().daemon:
        raise SessionError(
            "this process is daemonic, as those of multiprocessing.Pool, and may start none of a "
            "search's; use a concurrent.futures.ProcessPoolExecutor"
        )
    if name != "local":
        engine: Engine = "core_controller" if name == "ray-core" else "tune_adapter"
        return RayBackend(address=address, dashboard=dashboard, engine=engine)
    of_ray = {"--address": address is not None, "--dashboard": dashboard}
    if wrong := [flag for flag, is_given in of_ray.items() if is_given]:
        raise SessionError(
            f"{' and '.join(wrong)}: only Ray has it, and --backend local starts none; leave one of them out"
        )
    return LocalBackend()


def run_search(space: Space, how: Launch, *, should_report: bool, output: Output) -> Result:
    """Run the search that `space` asks for; print the plan before it and the summary after it.

    Raises:
        SearchInterrupted: The search was ended at once; how to resume the run has been printed.
        SpaceError: As in `launch`, with whatever else it raises.
    """
    known = known_trials(space, output)
    space = with_portfolio(space, how.folder, output)
    if space.is_listed:
        print_plan(space, output)
    else:
        print_scheduler(space, output)
        print_deadlines(space, output)
        print_packing(space, output)
    last = output.last
    resume = f"resume: {resume_command(how.command, how.folder)}"
    with resume_hint(how.folder, resume, last):
        run, reason = launch(space, how, make_sampler=partial(make_sampler, known=known), output=output)
    print_summary(run, last)
    if should_report:
        write_at_end(how.folder, last)
    print_winner(run, reason, last)
    if run.is_interrupted:
        last.print(resume)
    return Result(how.folder, answer=search_answer(run, reason), has_failed=run.has_failed)


def launch(
    space: Space, how: Launch, *, make_sampler: Callable[[Space], Sampler], output: Output
) -> tuple[Run, str]:
    """Run `space` to its end; return the run and why it ended.

    Raises:
        SpaceError: It asks for joules, and nothing on this machine measures any.
        PreflightError: Something is known to fail; the message lists everything.
        LedgerError: The folder cannot be used.
        StorageError: The journal or the tables could no longer be written; the message says how to resume.
        GovernorError: The governor cannot be set.
        RayLost: Ray went away during the run; the message says how to resume.
        SessionError: The backend did not start, or offers less than one trial needs.
    """
    # The lock is released however the run ends; a killed process releases it by dying.
    ledger = Ledger(how.folder)
    try:
        with _governed(how, output), _sharing_gpus(space, how, output):
            return _run_to_the_end(space, how, ledger, make_sampler, output)
    except (StorageError, RayLost) as error:
        raise type(error)(f"{error}\n{_disk_remedy(how)}") from error
    finally:
        ledger.unlock()


def _disk_remedy(how: Launch) -> str:
    """Return the end of a message about a disk or a lost Ray: the run is not lost, and how to resume it."""
    return disk_remedy(how.command, how.folder, is_promotion=how.should_test)


def _run_to_the_end(
    space: Space, how: Launch, ledger: Ledger, make_sampler: Callable[[Space], Sampler], output: Output
) -> tuple[Run, str]:
    """Do the work of `launch` while it holds the governor; the lock is taken here and released there."""
    backend = how.backend
    if backend.is_here:
        check_measurable(space)
    if ledger.has_run:
        prepare_to_resume(ledger, space, output)
    else:  # made later, once nothing can be refused: a mistake leaves no empty run behind
        ledger.check_free()
        ledger.check_writable()
    output.print(f"{backend.where}; the first trial starts in a few seconds", style="dim")
    # The checks run in their own process while Ray starts: both take seconds.
    with (
        _examining(space, how, output) as reports,
        started(backend, output, remedy=_disk_remedy(how)) as capacity,
    ):
        found = reports()
        check_reports(found, output)
        # From here on the space has what the run was given: its copy on the disk has numbers, not "all".
        space, background = _resolve(_without_unusable_gpus(space, found), how, capacity, output)
        _record_settings(ledger, space, how, data=data_of(found))
        # Meters start from the watts that earlier sessions learnt for each kind of work, and refine them.
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
            batch_sizes=batch_sizes_of(found),
        )
        if precision := run.history.sessions.auto_precision:
            output.print(f"precision: {precision}", style="dim")
        for model, choice in run.history.sessions.batch_sizes.items():
            output.print(f"batch size of {model or space.trainable.title}: {choice}", style="dim")
        if how.rerun_failed:
            run.rerun_failed()
        reporter = None if how.should_test else ForecastReporter(run, make_sampler, output)
        return run, _execute(run, how, background, reporter, output)


def _resolve(
    space: Space, how: Launch, capacity: Capacity, output: Output
) -> tuple[Space, Background | None]:
    """Return the space with what its trials get of `capacity`, and the background workload."""
    background = None
    if how.background:
        space, background = resolve_beside_background(space, how.background, capacity, how.folder.absolute())
        output.print(background.shared_text(space.resources.workers))
    else:
        resources = resolve_resources(space.resources, capacity, spread_over=how.spread_over)
        space = replace(space, resources=resources)
    if space.resources.pack and capacity.max_workers == 1:
        output.note("search.resources.pack: nothing is packed, as only one trial runs at a time")
    for warning in capacity.warnings:
        output.note(warning)
    for note in capacity.notes:
        output.print(note)
    return space, background


@contextmanager
def _governed(how: Launch, output: Output) -> Iterator[None]:
    """Hold the requested governor during the block; without one, report what a killed run has left."""
    # A promotion lies in its run's folder, so that both commands look for the note beside the runs.
    state = state_file(how.folder.parents[1 if how.should_test else 0])
    if how.governor is None:
        if left := left_over(state, cpus=CPUS):
            output.warn(left)
        yield
    elif not how.backend.is_here:
        raise GovernorError(
            "--governor sets it on this machine only; set it by hand on the nodes behind --address"
        )
    else:
        with held_governor(how.governor, state, say=output.print, warn=output.warn, cpus=CPUS):
            yield


@contextmanager
def _sharing_gpus(space: Space, how: Launch, output: Output) -> Iterator[None]:
    """Run CUDA's MPS during the block, if the space asks for it and trials may use a GPU."""
    resources = space.resources
    if resources.mps is None or resources.gpus_per_trial == 0:
        yield
        return
    num_gpus = len(visible_gpus(os.environ).uuids)
    with mps(say=output.print, warn=output.warn, num_gpus=num_gpus, is_here=how.backend.is_here):
        yield


@contextmanager
def _examining(space: Space, how: Launch, output: Output) -> Iterator[Callable[[], Sequence[Report]]]:
    """Begin the preflight checks while the backend starts; yield a function that waits for their reports."""
    if not how.should_preflight:
        yield list
        return
    request = request_for(space, source=how.space_source, folder=how.folder)
    if any(map(is_auto, request.points)):
        chooses = not how.should_test and not has_batch_sizes(how.folder)
        request = replace(request, chooses_batch_size=chooses)
    with how.backend.examining(request) as reports:
        yield lambda: await_reports(reports, output)


def check_before(space: Space, *, source: str, folder: Path, loaded: LoadedProcess, output: Output) -> None:
    """Check this machine without starting anything, as a dry run does first.

    Raises:
        PreflightError: Something is known to fail; the message lists everything.
    """
    request = request_for(space, source=source, folder=folder)
    check_reports([examine_in_fork(request, loaded, output)], output)


def _without_unusable_gpus(space: Space, reports: Sequence[Report]) -> Space:
    """Return the space with trials on the CPU if it leaves that open and torch can use none of the GPUs."""
    if space.resources.gpus_per_trial is None and any(report.no_gpu_reason for report in reports):
        return replace(space, resources=space.resources.model_copy(update={"gpus_per_trial": 0.0}))
    return space


def _auto_precision(space: Space, how: Launch, reports: Sequence[Report]) -> str:
    """Return what the precision "auto" means for all trials, wherever they run; empty without a choice."""
    has_formats = space.trainable.load().choose_precision is not no_choice
    if space.training.precision != "auto" or space.resources.gpus_per_trial or not has_formats:
        return ""
    if how.auto_precision:
        return how.auto_precision
    if not how.should_preflight:
        return "fp32: the CPUs were not checked, as preflight was skipped"
    return auto_precision_of(reports)


def _record_settings(
    ledger: Ledger, space: Space, how: Launch, *, data: dict[str, Any] | list[str] | None
) -> None:
    """Write the run's space, trainable and environment, and its data as far as any session knows it."""
    if not ledger.has_run:
        ledger.begin()
        ledger.lock()
    _record_trainable(ledger, space)
    with ledger.writing(ledger.space_file.name):
        dump_space(space, ledger.space_file)
    # A session that skips preflight knows nothing about the data; the one before may have.
    known = data or ledger.environment().get("data")
    ledger.write_json(ledger.environment_file.name, {**describe_environment(how.command), "data": known})


def _record_trainable(ledger: Ledger, space: Space) -> None:
    """Write what readers need to know of the trainable, and keep a copy of a user's file, never run."""
    if space.trainable.command is not None:
        return  # the space has everything
    record = record_of(space, space.trainable.load())
    if record.file:
        ledger.keep_copy(Path(record.file.path), COPIES, record.file.copy_name)
    ledger.write_json(RECORD, record.model_dump())


def _known_watts(ledger: Ledger, space: Space) -> dict[str, dict[str, float]]:
    """Return the watts learnt for each model of GPU by earlier sessions and by the runs of the warm start."""
    known_w: dict[str, dict[str, float]] = {}
    for one in (*(Ledger.open(Path(folder)) for folder in space.warm_start), ledger):
        for model, watts in one.read_history().sessions.learnt_w.items():
            known_w.setdefault(model, {}).update(watts)
    return known_w


def _execute(
    run: Run, how: Launch, background: Background | None, reporter: ForecastReporter | None, output: Output
) -> str:
    """Execute `run` with all its observers; return why it ended."""
    # Each event reaches them in this order: the forecast, the console that shows it, checkpoints, tables.
    observers = DiskGuard(output.warn)
    run.observe(observers)
    if reporter:
        reporter.begin()
        observers.add(reporter)
    view = ConsoleView(
        run,
        output,
        get_forecast=lambda: reporter.forecast if reporter else None,
        is_live=not how.backend.is_in_process,
    )
    observers.add(view)
    with view, interruptible(run, output):
        # Retention may give up trials as soon as it is made; the observers before it see that.
        observers.add(CheckpointRetention(run))
        observers.add(FinalTables(run) if run.should_test else TrialHistories(run))
        observers.add(Tables(run.ledger, run.space, run.history))
        for follower in how.followers:
            observers.add(follower)
        reason = how.backend.execute(run, background=background, say=output.note)
    if reporter:
        reporter.close()
    if observers.reason:
        raise StorageError(f"the run ended ({reason}), but {observers.reason}")
    return reason


def run_name(space: Space) -> str:
    """Return a name for a run that was given none: the space's name and the time."""
    return f"{space.name}-{datetime.now():%Y%m%d-%H%M%S}"
