"""What `jouletune` gives: searches from Python, thin over what scripts/search.py does.

The same files, messages and settings.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.energy.reading import to_joules

if TYPE_CHECKING:
    import pandas as pd

    from search.ledger.history import History
    from search.ranking import Configuration
    from search.space import Space

__all__ = ["Best", "Result", "open", "search"]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best configuration of a run: the largest budget first, then the metric.

    Attributes:
        trial_id: With repeats, the oldest of them that has a score.
        hparams: All of the trainable, those that were not searched too.
        value: The metric at `rung`, the highest the trial has ended; with repeats their mean.
        epochs: Of the trial.
        seconds: With repeats, of all of them.
        energy_j: Of all its attempts and repeats; None where nothing was measured.
        num_repeats: How many trials `value` is the mean of.
        std: Their sample standard deviation; None of one.
    """

    trial_id: str
    hparams: Mapping[str, Any]
    metric: str
    value: float
    rung: int
    epochs: int
    seconds: float
    energy_j: float | None
    num_repeats: int = 1
    std: float | None = None


class Result:
    """A run as it was when it was opened.

    Attributes:
        folder: Its files; results/README.md explains them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def ended(self) -> str | None:
        """Why the run ended; None while it goes on, or when it was killed."""
        return self._history.ended

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per trial, as trials.csv has them: ranked ones first, best on top."""
        import pandas as pd

        from search.tables import trial_columns, trial_rows

        rows, columns = trial_rows(self._space, self._history), trial_columns(self._space, self._history)
        return pd.DataFrame(rows, columns=columns)

    @property
    def ranked(self) -> pd.DataFrame:
        """The rows of the trials that have a score, best first.

        Where the space repeats its points: a row per configuration, as configurations.csv has them, in which
        the metric is the repeats' mean.
        """
        if self._space.repeats > 1:
            import pandas as pd

            from search.tables import configuration_columns, configuration_rows

            return pd.DataFrame(
                configuration_rows(self._space, self._history),
                columns=configuration_columns(self._space, self._history),
            )
        return self.trials[self.trials["rank"].notna()].astype({"rank": int})

    @property
    def best(self) -> Best | None:
        """The best configuration; None where no trial has a score."""
        from search.ranking import configurations

        space = self._space
        order = configurations(self._history.trials.values(), space.metric, space.mode, repeats=space.repeats)
        return _best(order[0], space) if order else None

    def report(self) -> Path:
        """Write the report, one HTML file that opens offline, and give its path.

        Raises:
            ValueError: The disk does not take it.
        """
        from search.report.page import write_page

        path: Path = _said(write_page, self.folder).path
        return path

    @cached_property
    def _space(self) -> Space:
        return self._opened[0]

    @cached_property
    def _history(self) -> History:
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[Space, History]:
        from search.cli.runs import opened_run

        _, space, history = _said(opened_run, self.folder, self.folder.parent)
        for notice in space.notices:
            warnings.warn(notice, stacklevel=4)
        return space, history

    def __repr__(self) -> str:
        best = self.best
        found = f", best {best.trial_id}: {best.metric} {best.value:.4g}" if best else ""
        return f"<jouletune run {self.folder}: {len(self._history.trials)} trials{found}>"


def search(
    space: str | Path | Mapping[str, Any],
    *,
    name: str | None = None,
    results: str | Path = "results",
    overrides: Mapping[str, Any] | None = None,
    trials: int | None = None,
    hours: float | None = None,
    kwh: float | None = None,
    epochs: int | None = None,
    subset: float | int | None = None,
    resolution: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    warm_start: Sequence[str | Path] = (),
    backend: str = "ray",
    address: str | None = None,
    is_fresh: bool = False,
    is_quiet: bool = False,
    should_preflight: bool = True,
) -> Result:
    """Search a space to its end and give what was found. A run that is there already is gone on with.

    Args:
        space: A name in spaces/, the path of a space file, or its content as a mapping.
        name: Of the run; None is the space's and the time.
        results: The run is `results`/`name`.
        overrides: Keys of the space, dotted, such as {"parameters.lr.max": 0.3}.
        epochs: Of the top rung; `subset` and `resolution` likewise. Lower rungs keep their proportions.
        warm_start: Folders of earlier runs whose trials the sampler shall know.
        backend: "ray", or "local" for this process, one trial after another, where a debugger stops.
        address: A running Ray cluster to join.
        is_fresh: A new run in name-2, name-3, ... where `name` is taken.
        is_quiet: Print nothing.

    Raises:
        ValueError: The space, the flags, the machine or the folder cannot be used; the message is the one
            that scripts/search.py prints, with every problem.
    """
    flags = {
        "search.limits.trials": trials,
        "search.limits.hours": hours,
        "search.limits.kwh": kwh,
        "search.budget.epochs": epochs,
        "search.budget.subset": subset,
        "search.budget.resolution": resolution,
        "search.seed": seed,
        "search.resources.workers": workers,
        "search.resources.gpus_per_trial": gpus_per_trial,
        "search.warm_start": [str(Path(run).absolute()) for run in warm_start] or None,
    }
    given = {key: value for key, value in flags.items() if value is not None} | dict(overrides or {})
    lines = [_override(key, value) for key, value in given.items()]
    with _restored_environment():
        result: Result = _said(
            _searched,
            _said(_loaded, space, lines),
            name=name,
            results=Path(results),
            backend=backend,
            address=address,
            is_fresh=is_fresh,
            is_quiet=is_quiet,
            should_preflight=should_preflight,
            source="SPACE" if isinstance(space, Mapping) else _words(space, overrides or {}),
        )
    return result


def open(run: str | Path, *, results: str | Path = "results") -> Result:
    """A run that is there, also one that goes on.

    Args:
        run: Its folder, or its name in `results`.

    Raises:
        ValueError: There is no run.
    """
    from search.cli.runs import run_folder

    result = Result(run_folder(run, Path(results)).absolute())
    _ = result.ended  # read now, so that what is wrong is said here
    return result


def _override(key: str, value: Any) -> str:
    """A key and its value as they stand after --set."""
    from search.space.yaml_file import of_python

    def plain(given: Any) -> Any:
        if (known := of_python(given)) is given:
            raise ValueError(
                f"{key}: must be numbers, texts, lists or mappings, got a {type(given).__name__}"
            )
        return known

    return f"{key}={json.dumps(value, default=plain)}"


def _words(space: str | Path, overrides: Mapping[str, Any]) -> str:
    from search.cli.runs import space_words

    return space_words(str(space), [_override(key, value) for key, value in overrides.items()])


def _loaded(space: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Space:
    from search.space import SPACES, load_space, space_of

    if isinstance(space, Mapping):
        return space_of(space, overrides=overrides)
    source = space if isinstance(space, str) else str(space.absolute())
    return load_space(source, overrides=overrides, spaces_dir=SPACES)


def _searched(
    space: Space,
    *,
    name: str | None,
    results: Path,
    backend: str,
    address: str | None,
    is_fresh: bool,
    is_quiet: bool,
    should_preflight: bool,
    source: str,
) -> Result:
    from search.backends.choice import chosen_backend
    from search.launch import Launch, known_trials, launch, run_name, sampler_maker
    from search.ledger import fresh_folder, named_folder
    from search.output import Output
    from search.report.summary import print_summary
    from search.run.resume import resume_command

    output = Output.silent() if is_quiet else Output()
    for notice in space.notices:
        output.note(notice)
    folder = named_folder(results.absolute(), name or run_name(space))
    folder = fresh_folder(folder) if is_fresh else folder
    how = Launch(
        folder=folder,
        command=_command(folder, backend),
        backend=chosen_backend(backend, address=address),
        space_source=source,
        should_preflight=should_preflight,
    )
    run, reason = launch(space, how, make_sampler=sampler_maker(known_trials(space, output)), output=output)
    print_summary(run, reason, output)
    if run.is_interrupted:
        output.print(f"resume: {resume_command(how.command, folder)}")
    return Result(folder)


@contextmanager
def _restored_environment() -> Iterator[None]:
    """Leave the caller's variables as they were: workers are offline, and a notebook goes on after a search.

    But for Ray's token, of which Ray keeps the first that this process has had.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        token = {name: value for name, value in os.environ.items() if name == "RAY_AUTH_TOKEN"}
        os.environ.clear()
        os.environ.update(before | token)


def _command(folder: Path, backend: str) -> list[str]:
    """What goes on with the run from a shell: its folder has the space as it was resolved."""
    return [
        *("scripts/search.py", "--space", str(folder / "space.yaml")),
        *("--name", folder.name, "--results", str(folder.parent)),
        *(() if backend == "ray" else ("--backend", backend)),
    ]


def _said(function: Any, *arguments: Any, **options: Any) -> Any:
    """What `function` gives; what a command would print and end with is a ValueError."""
    from search.cli.errors import USER_ERRORS

    try:
        return function(*arguments, **options)
    except USER_ERRORS as mistake:
        raise ValueError(str(mistake)) from mistake


def _best(configuration: Configuration, space: Space) -> Best:
    trial = configuration.first
    millijoules = [mj for each in configuration.trials if (mj := each.energy.total_mj) is not None]
    return Best(
        trial_id=trial.trial_id,
        hparams=dict(trial.hparams),
        metric=space.metric,
        value=configuration.mean,
        rung=configuration.rung,
        epochs=trial.epochs,
        seconds=sum(each.seconds for each in configuration.trials),
        energy_j=to_joules(sum(millijoules)) if len(millijoules) == len(configuration.trials) else None,
        num_repeats=len(configuration.scored),
        std=configuration.spread,
    )
