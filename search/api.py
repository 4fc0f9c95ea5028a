"""The library: one typed function per command. A command parses arguments, calls one of these, and prints.

Files, messages and settings are the same as the commands'. An error that the user can fix is a `ValueError`
with the text that the command would print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from search import launch, training
from search.bucket.address import is_address
from search.errors import user_errors_as_value_error
from search.export.write import export_run
from search.forecast import Forecast, forecast_here
from search.full_training import FullTraining, Promotion, train_fully
from search.ledger import Ledger
from search.output import Output
from search.preflight import PreflightError, Report
from search.preflight.local import download_weights, examine_space
from search.preflight.request import problems_of, size_text
from search.report.page import Written, watch, write_comparison, write_page
from search.report.plan import print_notices, print_plan, print_rerun_estimate
from search.report.preflight import print_reports
from search.result import Best, Result
from search.run.resume import promote_command, search_command
from search.run_names import earlier_run_overrides, one_or_more, opened_run, run_folder, space_words
from search.run_place import (
    check_nodes_are_checked,
    fetch,
    local_results,
    place_to_promote,
    place_to_search,
    place_to_watch,
    ship,
    writable_results,
)
from search.sampling.earlier_runs import with_portfolio
from search.sampling.warm_start import known_trials, make_sampler
from search.space import Space, SpaceSource, load_space
from search.space.yaml_file import Override, Overrides, override_list
from search.trial import EpochRow
from search.trial.background import background_spec
from search.trial.worker_env import restored_environment
from trainables.core.deferred import modules_to_load
from trainables.core.subprocess_pool import LoadedProcess

Confirm = Callable[[str], bool] | None  # asked with the size of a download
__all__ = [
    "Best",
    "Result",
    "export",
    "fetch",
    "forecast",
    "open_run",
    "preflight",
    "promote",
    "report",
    "search",
    "ship",
    "train",
]


@user_errors_as_value_error()
def search(
    space: SpaceSource,
    *,
    name: str | None = None,
    results: str | Path = "results",
    overrides: Overrides = (),
    trials: int | None = None,
    hours: float | None = None,
    kwh: float | None = None,
    co2e_kg: float | None = None,
    cost: float | None = None,
    stop_when_flat: bool | None = None,
    epochs: int | None = None,
    subset: float | int | None = None,
    resolution: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    warm_start: str | Path | Sequence[str | Path] = (),
    portfolio: str | Path | Sequence[str | Path] = (),
    backend: str = "ray",
    address: str | None = None,
    dashboard: bool = False,
    governor: str | None = None,
    background: str | None = None,
    background_share: float | None = None,
    rerun_failed: bool = False,
    is_fresh: bool = False,
    is_quiet: bool = False,
    should_preflight: bool = True,
    should_report: bool = False,
    should_download: bool = False,
    confirm_download: Confirm = None,
    output: Output | None = None,
    command: Sequence[str] | None = None,
) -> Result:
    """Search a space until a limit is reached, and return the result. An existing run is resumed.

    Args:
        space: A name in spaces/, the path of a space file, or its content as a mapping.
        name: Name of the run; defaults to the space's name and the time.
        results: Where runs are kept: a folder, or a bucket's address such as "s3://bucket/path". The run is
            `results`/`name`.
        overrides: Dotted keys of the space: a mapping such as {"parameters.lr.max": 0.3}, or KEY=VALUE
            strings whose values are YAML.
        trials: Limit of the whole search, as are `hours`, `kwh`, `co2e_kg` (kilograms of CO2 equivalents) and
            `cost` (of the energy, in the space's currency). Limits of the space hold for those not given.
        stop_when_flat: End once further trials are unlikely to gain anything.
        epochs: Epochs of the top rung, as `subset` and `resolution` are its subset and resolution. Lower
            rungs keep their proportions.
        warm_start: Earlier runs whose trials the sampler learns from: folders, or names in `results`.
        portfolio: Earlier runs, on any data, whose best points are tried first.
        workers: Trials at a time; defaults to as many as fit.
        gpus_per_trial: GPUs or, below 1, the fraction of one; defaults to 1 if there are GPUs.
        backend: "ray", "ray-core" without Ray Tune, or "local" for this process, one trial after another,
            where a debugger stops.
        address: A running Ray cluster to join.
        dashboard: Start Ray's dashboard and print how to sign in.
        governor: CPU frequency governor during the run; needs root.
        background: A space whose default configuration trains beside the trials, on `background_share` of
            the GPU.
        rerun_failed: Retry the run's failed trials.
        is_fresh: Start a new run as name-2, name-3, ... if `name` is taken.
        is_quiet: Print nothing.
        should_report: Write report.html at the end.
        should_download: Fetch missing pretrained weights first.
        confirm_download: Called with the number and size of the missing weights if nothing else is missing;
            returns whether to fetch them. None refuses the search and says how to fetch them.
        output: Where to print; defaults to standard output.
        command: The command line that resumes the run, for messages; made from the arguments by default.

    Raises:
        ValueError: The space, the settings, the machine or the folder cannot be used; the message is the one
            that the command prints.
        KeyboardInterrupt: A second Ctrl-C ended the search at once; the journal has everything done so far.
    """
    results = Path(results)
    output = Output.silent() if is_quiet else output or Output()
    settings = {
        "search.limits.trials": trials,
        "search.limits.hours": hours,
        "search.limits.kwh": kwh,
        "search.limits.co2e_kg": co2e_kg,
        "search.limits.cost": cost,
        "search.limits.stop_when_flat": stop_when_flat,
        "search.budget.epochs": epochs,
        "search.budget.subset": subset,
        "search.budget.resolution": resolution,
        "search.seed": seed,
        "search.resources.workers": workers,
        "search.resources.gpus_per_trial": gpus_per_trial,
    }
    given: list[Override] = [(key, value) for key, value in settings.items() if value is not None]
    given += [*earlier_run_overrides(warm_start, portfolio, results), *override_list(overrides)]
    with restored_environment():
        checked = load_space(space, overrides=given)
        print_notices(checked, output)
        chosen = launch.chosen_backend(backend, address=address, dashboard=dashboard)
        beside = background_spec(background, background_share, is_here=address is None)
        check_nodes_are_checked(results, cluster=address, should_preflight=should_preflight)
        run_name = name or launch.run_name(checked)
        with place_to_search(results, run_name, output, is_fresh=is_fresh) as place:
            if rerun_failed:
                print_rerun_estimate(Ledger.open(place.folder), checked, output)
            how = launch.Launch(
                folder=place.folder,
                command=command or search_command(place.folder, backend, place.results),
                backend=chosen,
                space_source=space_words(space, override_list(overrides)),
                rerun_failed=rerun_failed,
                should_preflight=should_preflight,
                governor=governor,
                background=beside,
                followers=place.followers,
            )
            if should_download:
                download_weights(checked, how.space_source, how.folder, how.backend, output)
            return _run(checked, how, should_report, confirm_download, output)


def _run(space: Space, how: launch.Launch, should_report: bool, confirm: Confirm, output: Output) -> Result:
    """Run a search; if only weights are missing and `confirm` agrees, fetch them and run it again."""
    try:
        return launch.run_search(space, how, should_report=should_report, output=output)
    except PreflightError as error:
        if not (error.missing and confirm and confirm(size_text(error.missing))):
            raise
    download_weights(space, how.space_source, how.folder, how.backend, output)
    return launch.run_search(space, how, should_report=should_report, output=output)


@user_errors_as_value_error()
def forecast(
    space: SpaceSource,
    *,
    name: str | None = None,
    results: str | Path = "results",
    overrides: Overrides = (),
    warm_start: str | Path | Sequence[str | Path] = (),
    portfolio: str | Path | Sequence[str | Path] = (),
    backend: str = "ray",
    address: str | None = None,
    background: str | None = None,
    background_share: float | None = None,
    should_preflight: bool = True,
    should_download: bool = False,
    output: Output | None = None,
) -> Forecast | None:
    """Print a search's plan and forecast without starting it; return the forecast.

    It is None if rungs are measured in joules, whose time is not known beforehand.

    Args:
        name: Name of the run. An existing run would be resumed, with the portfolio that it began with.
        results: Folder of earlier runs. Costs come from a run of the same space, else from a few trial steps.
        should_download: Fetch missing pretrained weights first.

    Raises:
        ValueError: The space cannot be used, or something is known to fail.
    """
    output = output or Output()
    with restored_environment():
        given = [*earlier_run_overrides(warm_start, portfolio, Path(results)), *override_list(overrides)]
        checked = load_space(space, overrides=given)
        print_notices(checked, output)
        chosen = launch.chosen_backend(backend, address=address)
        background_spec(background, background_share, is_here=address is None)
        sampling = partial(make_sampler, known=known_trials(checked, output))
        runs = local_results(Path(results)).absolute()
        checked = with_portfolio(checked, runs / (name or launch.run_name(checked)), output)
        source, folder = space_words(space, override_list(overrides)), runs / checked.name
        if should_download:
            download_weights(checked, source, folder, chosen, output)
        with LoadedProcess(modules_to_load(checked.trainable.load())) as loaded:
            if should_preflight:
                launch.check_before(checked, source=source, folder=folder, loaded=loaded, output=output)
            found = forecast_here(checked, runs, sampling, output, loaded=loaded)
    print_plan(checked, output, found)
    return found


@user_errors_as_value_error()
def promote(
    run: str | Path,
    *,
    results: str | Path = "results",
    overrides: Overrides = (),
    top: int | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    baselines: str | Sequence[str] = (),
    workers: int | None = None,
    num_processes: int | None = None,
    should_share_gpus: bool = False,
    backend: str = "ray",
    address: str | None = None,
    governor: str | None = None,
    background: str | None = None,
    background_share: float | None = None,
    should_preflight: bool = True,
    should_report: bool = True,
    output: Output | None = None,
    command: Sequence[str] | None = None,
) -> Promotion:
    """Train the best trials of a run in full with fresh seeds, test them, and compare with the default.

    Args:
        run: The run's folder, its address in a bucket, or its name in `results`.
        top: Number of best trials. This, `seeds` and `epochs` default to the space's.
        baselines: "hog_svm", "linear_probe", "knn": each adds a row that a trained network has to beat.
        workers: Trainings at a time; defaults to as many as fit.
        num_processes: Processes of each training; defaults to one, or one for each GPU available to it.
        should_share_gpus: Give each training the fraction of a GPU that a trial had.

    Raises:
        ValueError: There is no run with a scored trial, or it cannot be launched.
    """
    output = output or Output()
    check_nodes_are_checked(Path(results), cluster=address, should_preflight=should_preflight)
    baselines, given = one_or_more(baselines), override_list(overrides)
    chosen = launch.chosen_backend(backend, address=address)
    beside = background_spec(background, background_share, is_here=address is None)
    with restored_environment(), place_to_promote(run, Path(results), output) as place:
        request = FullTraining(
            folder=place.folder,
            overrides=given,
            top=top,
            num_seeds=seeds,
            epochs=epochs,
            baselines=baselines,
            workers=workers,
            num_processes=num_processes,
            should_share_gpus=should_share_gpus,
            backend=chosen,
            governor=governor,
            background=beside,
            should_preflight=should_preflight,
            should_report=should_report,
            followers=place.followers,
            command=command or promote_command(place.folder, top, seeds, epochs, baselines, given),
        )
        return train_fully(request, output)


@user_errors_as_value_error()
def train(request: training.TrainingRequest, *, output: Output | None = None) -> list[EpochRow]:
    """Train one configuration in this process, and return the rows of its epochs.

    Raises:
        ValueError: The space, the data, or the contents of the folder cannot be used.
    """
    return training.train(training.prepare_training(request), request, output or Output())


@user_errors_as_value_error()
def preflight(
    spaces: SpaceSource | Sequence[SpaceSource],
    *,
    results: str | Path = "results",
    overrides: Overrides = (),
    should_download: bool = False,
    should_train: bool = False,
    address: str | None = None,
    output: Output | None = None,
) -> tuple[dict[str, Sequence[Report]], list[str]]:
    """Check what the trials of spaces need, and print it; return the reports by space, and all problems.

    Args:
        should_download: Fetch missing weights.
        should_train: Also train each model for one epoch of 64 examples.
        address: A running Ray cluster: check each of its nodes.

    Raises:
        ValueError: The space cannot be used, or no check could be made.
    """
    output = output or Output()
    found: dict[str, Sequence[Report]] = {}
    given, runs = override_list(overrides), writable_results(Path(results))
    for space in one_or_more(spaces):
        checked = load_space(space, overrides=given, may_be_fixed=True)
        with restored_environment():
            reports = found[checked.name if isinstance(space, Mapping) else str(space)] = examine_space(
                checked,
                source=space_words(space, given),
                folder=runs / checked.name,
                should_download=should_download,
                should_train=should_train,
                backend=launch.chosen_backend(address=address),
                output=output,
            )
        output.print(checked.name, style="bold")
        print_reports(reports, output)
    problems = [line for reports in found.values() for line in problems_of(reports)]
    if not problems:
        output.print("ready: no problem found", style="green")
    return found, problems


@user_errors_as_value_error()
def report(
    run: str | Path,
    *,
    results: str | Path = "results",
    against: str | Path | None = None,
    path: str | Path | None = None,
    watch_every_s: float | None = None,
    output: Output | None = None,
) -> Written:
    """Write the report page of a run, or one that compares two runs; return where it is.

    Args:
        against: A second run, to be compared on one page.
        path: Where the page goes; None is the run's folder, or for two runs the folder of results.
        watch_every_s: Rewrite the page at this interval until the run has ended; None writes it once.

    Raises:
        ValueError: There is no such run, or the page cannot be written.
    """
    results, path = Path(results), Path(path) if path else None
    if against is not None:
        folder, other = run_folder(run, results), run_folder(against, results)
        beside = Path() if is_address(results) else results
        return write_comparison(folder, other, path or beside / f"compare-{folder.name}-{other.name}.html")
    if watch_every_s is not None:
        place = place_to_watch(run, results)
        say = (output or Output()).print
        write = partial(write_page, path=path)
        return watch(place.newest, place.lost_holder, every_s=watch_every_s, say=say, write=write)
    return write_page(run_folder(run, results), path=path)


@user_errors_as_value_error()
def export(
    run: str | Path,
    *,
    results: str | Path = "results",
    optuna: str | Path | None = None,
    sweep: str | Path | None = None,
    tensorboard: str | Path | None = None,
    mlflow: str | Path | None = None,
    output: Output | None = None,
) -> None:
    """Write a run in other programs' formats, and print the command that opens each. Nothing is overwritten.

    Args:
        optuna: A study in SQLite.
        sweep: A W&B sweep file; the table of runs goes beside it.
        tensorboard: A folder of event files.
        mlflow: A folder with an experiment.

    Raises:
        ValueError: There is no such run, or a file cannot be written; in either case none is written.
    """
    ledger, space, history = opened_run(run, Path(results))
    export_run(
        ledger.folder.name,
        space,
        history,
        optuna=Path(optuna) if optuna else None,
        sweep=Path(sweep) if sweep else None,
        tensorboard=Path(tensorboard) if tensorboard else None,
        mlflow=Path(mlflow) if mlflow else None,
        output=output or Output(),
    )


@user_errors_as_value_error()
def open_run(run: str | Path, *, results: str | Path = "results") -> Result:
    """Open an existing run, finished or still running.

    Args:
        run: The run's folder, its address in a bucket (it is fetched), or its name in `results`.

    Raises:
        ValueError: There is no run.
    """
    result = Result(run_folder(run, Path(results)).absolute())
    _ = result.ended  # reads the run, so that errors are raised here
    return result
