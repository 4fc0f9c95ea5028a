"""The promote command: the best trials of a run to full training."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from search.cli.background import add_background_flags, background_pair
from search.cli.output import add_output_flags, print_answer
from search.cli.parsing import CommandParser
from search.cli.runs import add_results_flag, add_run_argument, run_folder

if TYPE_CHECKING:
    from search.launch import Launch
    from search.ledger import Ledger
    from search.ledger.history import History
    from search.output import Output
    from search.run import Run
    from search.space import Space

_EXAMPLE = """examples:
  python scripts/promote.py results/lr_bs --top 3
  python scripts/promote.py lr_bs --top 1 --seeds 5
  python scripts/promote.py lr_bs --baseline hog_svm

exit status: 0 done; 1 a training failed; 2 unusable input; 3 the disk took no more; 4 Ray was lost"""


def parser() -> argparse.ArgumentParser:
    """The flags of scripts/promote.py."""
    flags = CommandParser(
        prog="promote.py",
        description="Train the best trials of a run at full budget with fresh seeds, and the default "
        "configuration beside them; evaluate each training once on the test set.",
        epilog=_EXAMPLE,
    )
    add_run_argument(flags)
    flags.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the run's space, such as search.trainable=PATH where the file has moved",
    )
    flags.add_argument("--top", type=int, metavar="N", help="so many of the best (default: the space's)")
    flags.add_argument("--seeds", type=int, metavar="N", help="trainings of each (default: the space's)")
    flags.add_argument("--epochs", type=int, metavar="N", help="of each training (default: the space's)")
    flags.add_argument(
        "--baseline",
        choices=("hog_svm",),
        help="one more row: histograms of gradients and a linear SVM on the same data, on the CPU",
    )
    add_results_flag(flags)
    flags.add_argument(
        "--workers", type=int, metavar="N", help="trainings at a time (default: as many as fit)"
    )
    flags.add_argument(
        "--share-gpus",
        action="store_true",
        help="the share of a GPU that the search gave a trial (default: a whole one, to measure alone)",
    )
    flags.add_argument(
        "--governor",
        metavar="NAME",
        help="CPU frequency governor for the time of the run, such as performance; needs root",
    )
    add_background_flags(flags)
    flags.add_argument(
        "--skip-preflight", action="store_true", help="start without looking at what the trainings will need"
    )
    flags.add_argument("--no-report", action="store_true", help="do not write the run's report.html anew")
    flags.add_argument(
        "--backend",
        choices=("ray", "local"),
        default="ray",
        help="what executes the trainings: Ray's workers, or this process, one after another (default: ray)",
    )
    flags.add_argument("--address", metavar="HOST:PORT", help="join a running Ray cluster")
    add_output_flags(flags)
    return flags


def main(options: argparse.Namespace) -> int:
    """Promote and give the exit status."""
    from dataclasses import replace

    from search.backends.choice import chosen_backend
    from search.launch import Launch, launch
    from search.ledger import fresh_folder
    from search.output import Output
    from search.promotion import (
        alone_on_gpus,
        chosen,
        fresh_seeds,
        full_training,
        proposals,
        with_gpus,
    )
    from search.report.answer import promotion_answer
    from search.report.charts.training import draw_promotion
    from search.report.summary import print_promotion
    from search.run.resume import command_line
    from search.sampling.proposal import FixedList
    from search.tables.promoted import examples_in, promoted_columns, promoted_rows

    ledger, space, history = _earlier_run(options)
    if options.epochs:
        space = replace(space, promote=space.promote.model_copy(update={"epochs": options.epochs}))
    trials = chosen(history, space, top=options.top or space.promote.top)
    seeds = fresh_seeds(space.seed, options.seeds or space.promote.seeds)
    output = Output(is_quiet=options.quiet, has_json=options.json)
    output.print(f"{len(trials)} configurations x {len(seeds)} seeds at full budget")
    promotion = _with_workers(full_training(space), options.workers)
    background = background_pair(options)
    if background and not options.share_gpus:
        promotion = with_gpus(promotion, None)  # what the load leaves
    elif not options.share_gpus:
        promotion, line = alone_on_gpus(promotion)
        if line:
            output.print(line)
    plan = Launch(
        folder=fresh_folder(ledger.promotion_folder),
        command=sys.argv,
        backend=chosen_backend(options.backend, address=options.address),
        should_test=True,
        space_source=str(ledger.space_file),
        should_preflight=not options.skip_preflight,
        governor=options.governor,
        background=background,
        auto_precision=history.sessions.auto_precision,
    )
    run, reason = launch(
        promotion,
        plan,
        make_sampler=lambda _: FixedList(proposals(trials, seeds)),
        output=output,
    )
    baseline = None
    if options.baseline and not any(trial.status == "interrupted" for trial in run.history.trials.values()):
        alone = replace(plan, folder=fresh_folder(ledger.baseline_folder), background=None)
        baseline = _baseline(space, alone, options.baseline, seeds[0], output)
    rows = promoted_rows(
        trials,
        run.history,
        space,
        baseline.history if baseline else None,
        examples=examples_in(run.ledger),
        baseline_examples=examples_in((baseline or run).ledger),
    )
    ledger.write_csv("promoted.csv", promoted_columns(trials), rows)
    for done in filter(None, (run, baseline)):
        for line in draw_promotion(done.history, done.ledger):
            output.warn(line)
    last = output.last
    print_promotion(rows, space, last)
    last.print(f"ended: {reason}   files: {ledger.folder / 'promoted.csv'} and {plan.folder}")
    if options.json:
        print_answer(promotion_answer(plan.folder, reason, space.metric, rows))
    if not options.no_report:
        from search.report.page import write_at_end

        write_at_end(ledger.folder, last)
    if run.is_interrupted:
        last.print(f"to train all of them, promote again: {command_line(plan.command)}")
    expected = {row["trial_id"]: 1 if row["trial_id"] == options.baseline else len(seeds) for row in rows}
    has_failed = any(done.has_failed for done in filter(None, (run, baseline)))
    return 0 if not has_failed and all(row["num_seeds"] == expected[row["trial_id"]] for row in rows) else 1


def _baseline(space: Space, plan: Launch, name: str, seed: int, output: Output) -> Run:
    """The run of a baseline at its defaults: the same data, split alike, and the same meter."""
    from search.launch import launch
    from search.promotion import baseline_proposal, baseline_training
    from search.sampling.proposal import FixedList
    from trainables.core.load import load_trainable

    defaults = vars(load_trainable(name).hparams())
    training = baseline_training(space, name, defaults)
    output.print(f"baseline: {name} on the CPU")
    proposal = baseline_proposal(training, seed)
    run, _ = launch(training, plan, make_sampler=lambda _: FixedList([proposal]), output=output)
    return run


def _earlier_run(options: argparse.Namespace) -> tuple[Ledger, Space, History]:
    from search.ledger import Ledger
    from search.ledger.history import History
    from search.space import load_space

    ledger = Ledger.open(run_folder(options.run, options.results))
    space = load_space(str(ledger.space_file), spaces_dir=ledger.folder, overrides=options.set)
    return ledger, space, History(ledger.events())


def _with_workers(space: Space, workers: int | None) -> Space:
    from dataclasses import replace

    return replace(space, resources=space.resources.model_copy(update={"workers": workers}))
