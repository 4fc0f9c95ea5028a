"""The search command: from flags and a space file to a ranked run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli.background import add_background_flags, background_pair
from search.cli.forecast import foretold
from search.cli.output import add_output_flags, print_answer
from search.cli.parsing import CommandParser
from search.cli.rerun import add_rerun_flag, check_rerun, name_run, print_estimate
from search.cli.runs import add_results_flag, run_folder, space_words

if TYPE_CHECKING:
    from search.backends.backend import LaunchableBackend
    from search.forecast import Forecast
    from search.output import Output
    from search.sampling.proposal import EarlierTrial
    from search.space import Space
    from search.trial.background import BackgroundSpec

_EXAMPLE = """examples:
  python scripts/search.py --space lr_bs.yaml
  python scripts/search.py --space lr_bs.yaml --set parameters.lr.max=0.3 --trials 50 --hours 2
  python scripts/search.py --space lr_bs.yaml --set search.data=imagefolder:photos --budget-size 64
  python scripts/search.py --rerun-failed results/mine --dry-run

exit status: 0 the run ended and has a best trial; 1 it ended without one, or its background
failed; 2 unusable input;
3 the disk took no more: the message names the file and the command that goes on;
4 Ray was lost (its control service, the head node, or the raylet here): likewise"""


def parser() -> argparse.ArgumentParser:
    """The flags of scripts/search.py."""
    flags = CommandParser(
        prog="search.py",
        description="Search a space within a budget, rank its trials and meter their energy.",
        epilog=_EXAMPLE,
    )
    add = flags.add_argument
    add("--space", metavar="FILE", help="a name in spaces/, or a path")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the file; dotted, repeatable",
    )
    add(
        "--name",
        help="name of the run (default: the space's and the time); a run that is there is gone on with",
    )
    add_rerun_flag(flags)
    add("--trials-file", type=Path, metavar="FILE", help="a JSON list of configurations to run as they are")
    add("--ablation", metavar="A,B", help="only these ablation groups of the space")
    add(
        "--warm-start",
        action="append",
        default=[],
        metavar="RUN",
        help="let the sampler know the trials of an earlier run, a name in DIR or a folder; repeatable",
    )
    add("--fresh", action="store_true", help="a new run in NAME-2, NAME-3, ... where NAME is taken")
    add_results_flag(flags, "the run is DIR/NAME")
    add("--trials", metavar="N", help="at most so many trials")
    add(
        "--hours",
        metavar="H",
        help="stop after this many hours; epochs under way then have limits.grace_minutes (default 2)",
    )
    add("--budget-epochs", metavar="N", help="epochs of the top rung; lower rungs keep their proportions")
    add(
        "--budget-subset", metavar="S", help="share (0.5) or count (500) of training examples at the top rung"
    )
    add("--budget-size", metavar="PX", help="resolution of the top rung in pixels")
    add("--seed", metavar="N", help="seed of the split, the subsets, the sampler and the trials")
    add("--workers", metavar="N", help="trials at a time (default: as many as fit)")
    add(
        "--gpus-per-trial",
        metavar="G",
        help="0.5 lets two trials share a GPU (default: 1 where there is one)",
    )
    add(
        "--backend",
        choices=("ray", "local"),
        default="ray",
        help="what executes the trials: Ray's workers, or this process, one trial after another, where a "
        "breakpoint in a trainable stops (default: ray)",
    )
    add(
        "--address",
        metavar="HOST:PORT",
        help="join a running Ray cluster; DIR must be on storage all nodes share",
    )
    add(
        "--governor",
        metavar="NAME",
        help="CPU frequency governor for the time of the run, such as performance; needs root",
    )
    add_background_flags(flags)
    add("--skip-preflight", action="store_true", help="start without looking at what the trials will need")
    add("--dashboard", action="store_true", help="start Ray's dashboard and print how to sign in")
    add("--no-report", action="store_true", help="do not write report.html and plots/ at the end")
    add("--dry-run", action="store_true", help="print what would run and what it would take, and end")
    add_output_flags(flags)
    return flags


def main(options: argparse.Namespace) -> int:
    """Run the search and give the exit status."""
    from search.backends.choice import chosen_backend
    from search.launch import known_trials
    from search.output import Output
    from search.report.plan import print_deadlines, print_plan
    from search.sampling.designs import designed
    from search.space import SPACES, load_space
    from trainables.core.load import load_trainable

    if mistake := check_rerun(options):
        parser().error(mistake)
    name_run(options)
    space = load_space(options.space, overrides=[*_overrides(options), *options.set], spaces_dir=SPACES)
    output = Output(is_quiet=options.quiet, has_json=options.json)
    for notice in space.notices:
        output.note(notice)
    if options.rerun_failed is not None:
        print_estimate(options.results / options.name, space, output)
        if options.dry_run:
            return 0
    background = background_pair(options)
    backend = chosen_backend(options.backend, address=options.address, dashboard=options.dashboard)
    known = known_trials(space, output)
    proposals = designed(space, space.default_hparams(load_trainable(space.trainable)))
    if options.dry_run:
        if not options.skip_preflight:
            from search.launch import check_before

            folder = options.results / space.name
            check_before(space, source=options.space, folder=folder, output=output)
        told = _foretold(space, known, options, output)
        print_plan(space, proposals, output, told)
        if options.json:
            print_answer({"forecast": told and told.to_dict()})
        return 0
    if proposals:
        print_plan(space, proposals, output)
    else:
        print_deadlines(space, output)
    return _search(space, known, background, backend, options, output)


def _foretold(
    space: Space, known: list[EarlierTrial], options: argparse.Namespace, output: Output
) -> Forecast | None:
    from search.launch import sampler_maker
    from trainables.core.load import load_trainable

    return foretold(
        space,
        space.default_hparams(load_trainable(space.trainable)),
        options.results,
        sampler_maker(known),
        output,
    )


def _overrides(options: argparse.Namespace) -> list[str]:
    """The flags as overrides of the space file, so that they are checked with everything else."""
    flags = {
        "search.limits.trials": options.trials,
        "search.limits.hours": options.hours,
        "search.budget.epochs": options.budget_epochs,
        "search.budget.subset": options.budget_subset,
        "search.budget.resolution": options.budget_size,
        "search.seed": options.seed,
        "search.trials": options.trials_file and options.trials_file.resolve(),
        "search.chosen_ablations": options.ablation,
        "search.warm_start": _earlier_runs(options),
        "search.resources.workers": options.workers,
        "search.resources.gpus_per_trial": options.gpus_per_trial,
    }
    return [f"{key}={value}" for key, value in flags.items() if value is not None]


def _earlier_runs(options: argparse.Namespace) -> str | None:
    """The folders after --warm-start, as a YAML list."""

    folders = [run_folder(run, options.results) for run in options.warm_start]
    return json.dumps([str(folder.resolve()) for folder in folders]) if folders else None


def _search(
    space: Space,
    known: list[EarlierTrial],
    background: BackgroundSpec | None,
    backend: LaunchableBackend,
    options: argparse.Namespace,
    output: Output,
) -> int:
    from search.cli import INTERRUPTED
    from search.launch import Launch, launch, run_name, sampler_maker
    from search.ledger import Ledger, fresh_folder, named_folder
    from search.report.answer import search_answer
    from search.report.summary import print_summary
    from search.run.resume import resume_command

    folder = named_folder(options.results, options.name or run_name(space))
    plan = Launch(
        folder=fresh_folder(folder) if options.fresh else folder,
        command=sys.argv,
        backend=backend,
        rerun_failed=options.rerun_failed is not None,
        should_preflight=not options.skip_preflight,
        space_source=space_words(options.space, options.set),
        governor=options.governor,
        background=background,
    )
    last = output.last
    resume = f"resume: {resume_command(plan.command, plan.folder)}"
    try:
        run, reason = launch(space, plan, make_sampler=sampler_maker(known), output=output)
    except KeyboardInterrupt:
        if not Ledger(plan.folder).has_run:
            raise
        last.print(f"{INTERRUPTED}\n{resume}")
        return 130
    print_summary(run, reason, last)
    if options.json:
        print_answer(search_answer(run, reason))
    if not options.no_report:
        from search.report.page import write_at_end

        write_at_end(run.ledger.folder, last)
    if run.is_interrupted:
        last.print(resume)
    return 0 if run.best() and not run.has_failed else 1
