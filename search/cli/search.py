"""The search command: from flags and a space file to a ranked run."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli.parser import (
    CommandParser,
    chosen_output,
    launch_settings,
    not_empty,
    print_json,
    space_overrides,
)

if TYPE_CHECKING:
    from search.output import Output

_EPILOG = """examples:
  {command} --space lr_bs.yaml
  {command} --space lr_bs.yaml --set parameters.lr.max=0.3 --trials 50 --hours 2 --kwh 0.5
  {command} --space finetune.yaml --data photos --download
  {command} --rerun-failed results/mine --dry-run

exit status: 0 the run ended and has a best trial; 1 it ended without one, or its background
workload failed; 2 unusable input; 3 disk full or not writable, or the run has ended but its bucket
did not take everything; 4 Ray was lost (its control service, the head node, or the raylet here);
130 ended at once by a second Ctrl-C. With 3 and 4 the message names the command that resumes the
run, or that sends the rest to the bucket"""
_NAMED = ""  # --rerun-failed alone: the run that --name names


def parser(prog: str = "search.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Search a space within a budget, rank its trials and measure their energy.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    add("--space", metavar="FILE", help="a name in spaces/, or a path")
    flags.add_data()
    flags.add_set()
    add("--name", help="run name; an existing run is resumed (default: the space's name and the time)")
    add(
        "--rerun-failed",
        nargs="?",
        const=_NAMED,
        metavar="RUN",
        help="retry the failed trials of a run, a folder or a name in DIR (default: NAME), with its own "
        "space; first prints what that will cost, and with --dry-run only that",
    )
    add("--trials-file", type=Path, metavar="FILE", help="a JSON list of configurations to run as they are")
    add("--ablation", metavar="A,B", help="run only these ablation groups of the space")
    _add_earlier_runs(flags)
    add("--fresh", action="store_true", help="start a new run in NAME-2, NAME-3, ... if NAME is taken")
    flags.add_results("the run is written to DIR/NAME")
    _add_limits(flags)
    flags.add_backend("trials")
    flags.add_machine()
    add("--download", action="store_true", help="fetch pretrained weights that are missing, without asking")
    add("--skip-preflight", action="store_true", help="start without checking what the trials will need")
    add("--dashboard", action="store_true", help="start Ray's dashboard and print how to sign in")
    add("--no-report", action="store_true", help="do not write report.html and plots/ at the end")
    add("--dry-run", action="store_true", help="print the plan and the forecast, then exit")
    flags.add_output()
    return flags


def _add_earlier_runs(flags: CommandParser) -> None:
    """Add --warm-start and --portfolio."""
    add = flags.add_argument
    add(
        "--warm-start",
        action="append",
        default=[],
        metavar="RUN",
        help="let the sampler learn from the trials of an earlier run, a name in DIR or a folder; repeatable",
    )
    add(
        "--portfolio",
        action="append",
        default=[],
        metavar="RUN",
        help="begin with the best points of an earlier run of the same trainable on any data, a name in DIR "
        "or a folder; repeatable; --set search.start=portfolio takes all runs in DIR",
    )


def _add_limits(flags: CommandParser) -> None:
    """Add the flags that say how much is searched, and with what resources."""
    add = partial(flags.add_argument, type=not_empty)
    add("--trials", metavar="N", help="maximum number of trials")
    add(
        "--hours",
        metavar="H",
        help="stop after this many hours; running epochs then have limits.grace_minutes (default: 2) to end",
    )
    add("--kwh", metavar="E", help="stop after this many kilowatt-hours, as far as they are measured")
    add(
        "--co2e-kg",
        metavar="K",
        help="stop after this many kilograms of CO2 equivalents, by search.report.region or gco2_per_kwh",
    )
    add("--cost", metavar="C", help="stop after this much money for energy, at search.report.price_per_kwh")
    flags.add_argument(
        "--stop-when-flat", action="store_true", help="stop once further trials are unlikely to gain"
    )
    flags.add_budget()
    add(
        "--early-stop-threshold",
        metavar="T",
        help="stop a trial whose metric is worse than this at the end of a rung",
    )
    add("--seed", metavar="N", help="seed of the split, the subsets, the sampler and the trials")
    add("--workers", metavar="N", help="number of concurrent trials (default: as many as fit)")
    add(
        "--gpus-per-trial",
        metavar="G",
        help="0.5 lets two trials share a GPU (default: 1 if there is a GPU)",
    )


def main(options: argparse.Namespace) -> int:
    """Search, or forecast with --dry-run, and return the exit status."""
    from search import api

    _resolve_rerun(options)
    output = chosen_output(options)
    if options.dry_run:
        return _dry_run(options, output)
    result = api.search(
        options.space,
        name=options.name,
        results=options.results,
        overrides=overrides(options),
        warm_start=options.warm_start,
        portfolio=options.portfolio,
        dashboard=options.dashboard,
        rerun_failed=options.rerun_failed is not None,
        is_fresh=options.fresh,
        should_download=options.download,
        confirm_download=_asks if _can_ask(options) else None,
        output=output,
        command=sys.argv,
        **launch_settings(options),
    )
    answer = result.answer or {}
    if options.json:
        print_json(answer)
    return 0 if answer["best"] and not result.has_failed else 1


def _can_ask(options: argparse.Namespace) -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty() and not (options.quiet or options.json)


def _asks(size: str) -> bool:
    """Ask at the terminal whether to download the missing weights, and return the answer."""
    print(
        f"pretrained weights are missing: {size}. Download now? [Y/n] ", end="", file=sys.stderr, flush=True
    )
    try:
        return input().strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


def _dry_run(options: argparse.Namespace, output: Output) -> int:
    """Print the forecast, or what --rerun-failed will cost, and return the exit status."""
    from search import api
    from search.ledger import Ledger
    from search.report.plan import print_notices, print_rerun_estimate
    from search.run_names import run_folder
    from search.space import load_space

    if options.rerun_failed is not None:
        space = load_space(options.space, overrides=overrides(options))
        print_notices(space, output)
        ledger = Ledger.open(run_folder(options.name, options.results))
        estimate = print_rerun_estimate(ledger, space, output)
        if options.json:
            print_json({"rerun": vars(estimate)})
        return 0
    settings = launch_settings(options)
    del settings["governor"], settings["should_report"]  # of a run; a forecast starts none
    found = api.forecast(
        options.space,
        name=None if options.fresh else options.name,
        results=options.results,
        overrides=overrides(options),
        warm_start=options.warm_start,
        portfolio=options.portfolio,
        should_download=options.download,
        output=output,
        **settings,
    )
    if options.json:
        print_json({"forecast": found and found.to_dict()})
    return 0


def overrides(options: argparse.Namespace) -> list[str | tuple[str, Any]]:
    """The flags as overrides of the space file, so that they are checked with everything else; then --set."""
    flags = {
        "search.limits.trials": options.trials,
        "search.limits.hours": options.hours,
        "search.limits.kwh": options.kwh,
        "search.limits.co2e_kg": options.co2e_kg,
        "search.limits.cost": options.cost,
        "search.limits.stop_when_flat": "true" if options.stop_when_flat else None,
        "search.early_stop_threshold": options.early_stop_threshold,
        "search.seed": options.seed,
        "search.chosen_ablations": options.ablation,
        "search.resources.workers": options.workers,
        "search.resources.gpus_per_trial": options.gpus_per_trial,
    }
    stated = [f"{key}={value}" for key, value in flags.items() if value is not None]
    points = [("search.trials", options.trials_file.resolve())] if options.trials_file else []
    return [*stated, *points, *space_overrides(options)]


def _resolve_rerun(options: argparse.Namespace) -> None:
    """Check --rerun-failed and its related flags; if it names a run, take the run's name and space."""
    from search.run_names import named_run

    if mistake := _rerun_mistake(options):
        options.refuse(mistake)
    if options.rerun_failed:
        options.results, options.name, own_space = named_run(options.rerun_failed, options.results)
        options.space = options.space or own_space


def _rerun_mistake(options: argparse.Namespace) -> str | None:
    """What is wrong with --rerun-failed and its related flags, or None."""
    if options.rerun_failed is None:
        return None if options.space else "the following arguments are required: --space"
    if options.fresh:
        return "--fresh starts a new run, which has no failed trials: leave out --fresh or --rerun-failed"
    if options.rerun_failed == _NAMED and options.name is None:
        return "--rerun-failed needs a run: write --rerun-failed RUN, or add --name"
    if options.rerun_failed == _NAMED and options.space is None:
        return f"give --space, or write --rerun-failed {options.name} to take the run's own"
    if options.rerun_failed and options.name not in (None, Path(options.rerun_failed).name):
        return f"--rerun-failed {options.rerun_failed} and --name {options.name} name two runs: give one"
    return None
