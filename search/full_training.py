"""Promotes a run: launches the full trainings and the baselines, and compares them on the test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.backends.backend import LaunchableBackend
from search.command_lines import command_line, typed_command
from search.launch import Launch, launch
from search.ledger import Ledger, LedgerError, fresh_folder
from search.ledger.history import UNFINISHED, History, TrialRecord
from search.output import Output
from search.printable import counted
from search.promotion import (
    BASELINES,
    alone_on_gpus,
    baseline_hparams,
    baseline_proposal,
    baseline_training,
    chosen,
    fresh_seeds,
    full_training,
    in_processes,
    proposals,
    with_gpus,
)
from search.report.answer import promotion_answer
from search.report.failures import print_failures
from search.report.page import write_at_end
from search.report.summary import print_promotion
from search.run import Run
from search.run.interrupts import resume_hint
from search.run.observers import Observer
from search.run.resume import check_same_settings
from search.sampling.proposal import FixedList, Proposal
from search.space import Space, SpaceError
from search.space.parameters import identity
from search.space.yaml_file import Override
from search.tables.promoted import examples_in, promoted_columns, promoted_rows, winner_of
from search.tables.writer import CLOCKS_DIFFER_S
from search.trial.background import BackgroundSpec
from trainables.core.load import TrainableRef
from trainables.core.suggest import suggest

Wanted = tuple[Space, Sequence[Proposal]]
_COPIES = 3  # copies of its weights that a full training leaves


@dataclass(frozen=True, kw_only=True)
class FullTraining:
    """What to train in full, and how.

    Attributes:
        folder: The run whose best trials are trained.
        overrides: Changes to the run's space, such as the path of a trainable that has moved.
        top: Number of best trials. This, `num_seeds` and `epochs` default to the space's.
        baselines: Trainables, of `promotion.BASELINES`, that are also trained once each.
        workers: Trainings at a time; defaults to as many as fit.
        num_processes: Processes of each training; defaults to one, or one for each of its GPUs if there are
            more GPUs than trainings.
        command: The command line, for environment.json and messages.
        followers: As in `Launch`.
    """

    folder: Path
    backend: LaunchableBackend
    command: Sequence[str]
    overrides: Sequence[Override] = ()
    top: int | None = None
    num_seeds: int | None = None
    epochs: int | None = None
    baselines: Sequence[str] = ()
    workers: int | None = None
    num_processes: int | None = None
    should_share_gpus: bool = False
    governor: str | None = None
    background: BackgroundSpec | None = None
    should_preflight: bool = True
    should_report: bool = True
    followers: Sequence[Observer] = ()


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A promotion that has ended.

    Attributes:
        folder: Folder of the run of its trainings.
        rows: Rows of promoted.csv.
        is_complete: Every configuration was trained with every seed, every baseline once, and nothing failed.
        answer: What --json prints.
    """

    folder: Path
    rows: Sequence[Mapping[str, Any]]
    is_complete: bool
    answer: Mapping[str, Any]


def train_fully(request: FullTraining, output: Output) -> Promotion:
    """Train the best trials at full budget with fresh seeds, print how they compare, and write promoted.csv.

    Raises:
        LedgerError: There is no run, none of its trials has a score, or a number is not above 0.
        SpaceError: Its space cannot be used; and whatever else `launch` raises.
    """
    _check_numbers(request)
    ledger, space, history = _open(request)
    trials = chosen(history, space, top=request.top or space.promote.top)
    seeds = fresh_seeds(space.training.seed, request.num_seeds or space.promote.seeds)
    wanted = _wanted(ledger, space, request, trials, seeds, output)
    folders = _folders(ledger, wanted)
    how = _how(request, ledger, folders[ledger.promotion_folder], history.sessions.auto_precision)
    resume = f"to train the rest, promote again: {command_line(how.command)}"
    last = output.last
    with resume_hint(how.folder, resume, last):
        promoted, trainings = wanted.pop(ledger.promotion_folder)
        spread = replace(how, spread_over=_num_to_spread(space, request, len(trainings)))
        run, reason = launch(promoted, spread, make_sampler=lambda _: FixedList(trainings), output=output)
        alone = {} if _is_cut(run) else wanted
        done = [
            _run_baseline(*each, replace(how, folder=folders[first], background=None), output)
            for first, each in alone.items()
        ]
    rows = _write_rows(ledger, space, trials, run, done, output)
    winner = winner_of(rows, run.history)
    print_promotion(rows, winner, space, last)
    _print_failures([run, *done], how, last)
    last.print(f"ended: {reason}   files: {ledger.promoted_file} and {how.folder}")
    if model := _winners_model(winner, run):
        last.print(f"the winner's model: {model}   {typed_command('predict', model, 'IMAGES')}")
    if request.should_report:
        write_at_end(ledger.folder, last)
    if run.is_interrupted:
        last.print(resume)
    expected = {row["trial_id"]: 1 if row["trial_id"] in request.baselines else len(seeds) for row in rows}
    is_whole = len(done) == len(wanted) and not any(each.has_failed for each in (run, *done))
    return Promotion(
        folder=how.folder,
        rows=rows,
        is_complete=is_whole and all(row["num_seeds"] == expected[row["trial_id"]] for row in rows),
        answer=promotion_answer(how.folder, reason, space.metric, rows),
    )


def _is_cut(run: Run) -> bool:
    """Whether a run was cut short; a signal in a training's last epoch leaves nothing that is interrupted."""
    statuses = {trial.status for trial in run.history.trials.values()}
    return run.is_interrupted or "interrupted" in statuses


def _check_numbers(request: FullTraining) -> None:
    """Check the numbers of a request: 0 does not mean the space's own, nor -1 all but one.

    Raises:
        LedgerError: One of the numbers is not above 0.
    """
    numbers = {
        "top": request.top,
        "seeds": request.num_seeds,
        "epochs": request.epochs,
        "workers": request.workers,
        "num_processes": request.num_processes,
    }
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise LedgerError(f"{name} must be a whole number above 0, got {number}")


def _wanted(
    ledger: Ledger,
    space: Space,
    request: FullTraining,
    trials: Sequence[TrialRecord],
    seeds: Sequence[int],
    output: Output,
) -> dict[Path, Wanted]:
    """Return the trainings, then each baseline, by the folder of the first run of its kind; print how many.

    Raises:
        LedgerError: As in `_baselines`, before hours of training.
    """
    baselines = _baselines(space, trials, request.baselines)
    size = _size_text(ledger, trials, len(seeds))
    output.print(
        f"{counted(len(trials), 'configuration')} x {counted(len(seeds), 'seed')} at full budget{size}"
    )
    trainings = (_promoted_space(space, request, output), proposals(trials, seeds))
    alone = {
        name: (training, [baseline_proposal(training, seeds[0])]) for name, training in baselines.items()
    }
    return {
        ledger.promotion_folder: trainings,
        **{ledger.baseline_folder(name): each for name, each in alone.items()},
    }


def _folders(ledger: Ledger, wanted: Mapping[Path, Wanted]) -> dict[Path, Path]:
    """Return where the trainings and each baseline run: in the folders of the same promotion, or fresh ones.

    So the same command resumes a promotion that was killed, and one with more seeds, trials or baselines
    trains only what is new or has failed. A complete promotion is repeated in fresh folders; one whose table
    a kill or a full disk kept from being written is not complete.

    Args:
        wanted: Space and list of each kind of run, by the folder of the first run of the kind.
    """
    left = {first: _newest_alike(first, *each) for first, each in wanted.items()}
    table = ledger.promoted_file
    written_at = table.stat().st_mtime + CLOCKS_DIFFER_S if table.is_file() else 0.0
    has_all = all(each and each.has_all and each.ended_at <= written_at for each in left.values())
    return {
        first: each.folder if each and not has_all else fresh_folder(first) for first, each in left.items()
    }


@dataclass(frozen=True)
class _Left:
    """The run that an earlier promotion left for a list of trainings.

    Attributes:
        has_all: Every training of the list has ended and did not fail.
        ended_at: Unix time of the last one's end.
    """

    folder: Path
    has_all: bool
    ended_at: float


def _newest_alike(first: Path, space: Space, proposed: Sequence[Proposal]) -> _Left | None:
    """Return the newest run of this name with the same settings that tried nothing but what is proposed."""
    listed = {(identity(each.hparams), each.seed) for each in proposed}
    runs = sorted(first.parent.glob(f"{first.name}*"), key=lambda path: (len(path.name), path.name))
    for ledger in map(Ledger, reversed(runs)):
        try:
            if not ledger.has_run:
                continue
            check_same_settings(ledger, space)
            tried = list(ledger.read_history().trials.values())
        except (LedgerError, SpaceError):
            continue  # has other settings or is damaged: it stays as it is
        if {(identity(each.hparams), each.seed) for each in tried} <= listed:
            have_ended = all(each.status not in UNFINISHED | {"failed"} for each in tried)
            ended_at = max((each.ended_at or 0.0 for each in tried), default=0.0)
            return _Left(ledger.folder, have_ended and len(tried) == len(proposed), ended_at)
    return None


def _how(request: FullTraining, ledger: Ledger, folder: Path, auto_precision: str) -> Launch:
    return Launch(
        folder=folder,
        command=request.command,
        backend=request.backend,
        should_test=True,
        rerun_failed=True,
        space_source=str(ledger.space_file),
        should_preflight=request.should_preflight,
        governor=request.governor,
        background=request.background,
        auto_precision=auto_precision,
        followers=request.followers,
    )


def _open(request: FullTraining) -> tuple[Ledger, Space, History]:
    ledger = Ledger.open(request.folder)
    space = ledger.read_space(request.overrides, is_of_run=False)
    if request.epochs:
        space = replace(space, promote=space.promote.model_copy(update={"epochs": request.epochs}))
    return ledger, space, ledger.read_history()


def _promoted_space(space: Space, request: FullTraining, output: Output) -> Space:
    """Return the space of the promotion's run, by default with a whole GPU for each training."""
    promotion = full_training(space)
    workers = promotion.resources.model_copy(update={"workers": request.workers})
    promotion = replace(promotion, resources=workers)
    if request.num_processes:
        return in_processes(promotion, request.num_processes)
    if request.should_share_gpus:
        return promotion
    if request.background:
        return with_gpus(promotion, None)  # what the background workload leaves
    promotion, line = alone_on_gpus(promotion)
    if line:
        output.print(line)
    return promotion


def _num_to_spread(space: Space, request: FullTraining, num_trainings: int) -> int | None:
    """Return how many trainings idle GPUs are divided among; None if each keeps what it has."""
    is_chosen = request.num_processes or request.should_share_gpus or request.background
    return None if is_chosen or not space.trainable.load().is_data_parallel else num_trainings


def _size_text(ledger: Ledger, trials: Sequence[TrialRecord], num_seeds: int) -> str:
    """Return how much the trainings will leave, judged by the trials' weights; empty if there are none."""
    files = [ledger.trial(trial.trial_id).best for trial in trials]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    if not sizes:
        return ""
    total = _COPIES * max(sizes) * num_seeds * len(trials)
    return f"; they leave about {total / 1e6:.3g} MB: model/, best.pt and final.pt of each"


def _winners_model(winner: Mapping[str, Any] | None, run: Run) -> Path | None:
    """Return the model of the winner's first training; None if its trainable leaves none.

    Args:
        winner: Its row of promoted.csv; None if there is no winner.
    """
    if winner is None:
        return None
    found = (
        run.ledger.trial(trial.trial_id).model
        for trial in run.history.trials.values()
        if trial.parent_trial == winner["trial_id"] and trial.status == "finished"
    )
    return next((model for model in found if model.is_dir()), None)


def _baselines(space: Space, trials: Sequence[TrialRecord], names: Sequence[str]) -> dict[str, Space]:
    """Return the space of each baseline's run, by the baseline's name.

    Raises:
        LedgerError: There is no such baseline, or one needs pretrained weights that nothing names.
    """
    if unknown := [name for name in names if name not in BASELINES]:
        raise LedgerError(
            f"there is no baseline {', '.join(unknown)}{suggest(unknown[0], BASELINES)} (there are "
            f"{', '.join(BASELINES)})"
        )
    found = {}
    for name in dict.fromkeys(names):
        ref = TrainableRef(name=name)
        found[name] = baseline_training(space, ref, baseline_hparams(ref.load(), trials, space))
    return found


def _run_baseline(training: Space, proposed: Sequence[Proposal], how: Launch, output: Output) -> Run:
    """Run a baseline once, on the CPU without background work, with the same data split in the same way."""
    backbone = [str(training.fixed[name]) for name in ("model", "weights") if name in training.fixed]
    on = f" on the features of {' with weights '.join(backbone)}" if backbone else ""
    output.print(f"baseline: {training.trainable}{on}, on the CPU")
    run, _ = launch(training, how, make_sampler=lambda _: FixedList(proposed), output=output)
    return run


def _print_failures(runs: Sequence[Run], how: Launch, output: Output) -> None:
    """Print why trainings failed, and the command that trains them again."""
    again = f"promote again, which trains only them: {command_line(how.command)}"
    for run in runs:
        print_failures(run, output, again=again)


def _write_rows(
    ledger: Ledger,
    space: Space,
    trials: Sequence[TrialRecord],
    run: Run,
    baselines: Sequence[Run],
    output: Output,
) -> list[dict[str, Any]]:
    """Write promoted.csv and the plots of every training; return the rows."""
    from search.report.charts.training import draw_promotion  # Matplotlib, 0.3 s, once all has run

    rows = promoted_rows(
        trials,
        run.history,
        space,
        [(each.history, examples_in(each.ledger)) for each in baselines],
        examples=examples_in(run.ledger),
    )
    ledger.write_csv(ledger.promoted_file.name, promoted_columns(trials), rows)
    for done in (run, *baselines):
        for line in draw_promotion(done.history, done.ledger):
            output.warn(line)
    return rows
