"""Which earlier runs a search begins from, and the points it takes from them: its portfolio, chosen once.

The list is written to the run's own space.yaml and to its journal before the first trial. A resumed run
therefore tries the same points whatever runs lie beside it by then, and so does a run started from that file.
Nothing is taken unless the user asks for it: two searches beside each other would no longer be independent,
and the second one of a comparison would begin with the best points of the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.ledger import Ledger, LedgerError, RunFolder
from search.ledger.run_folder import runs_in
from search.output import Output
from search.printable import first_line
from search.sampling.warm_start import ENDED, as_known, differing_scores
from search.space import Portfolio, PortfolioPoint, Space, SpaceError
from search.space.parameters import identity, is_same
from search.space.record import is_same_code, read_record
from trainables.core.contract import Recipe, UnknownTrainable

if TYPE_CHECKING:
    from search.sampling.portfolio import EarlierRun

_MOST_RUNS = 16  # the newest: reading all the runs of a decade would take minutes
_OFF = "search.start: default begins without them"


@dataclass
class _Found:
    """The runs that a portfolio is made of, and those that were left out.

    Attributes:
        left_out: The other runs, each with the reason.
        num_older: Usable runs beyond the newest 16.
    """

    runs: list[tuple[float, EarlierRun]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    num_older: int = 0

    @property
    def oldest_first(self) -> list[EarlierRun]:
        return [run for _, run in sorted(self.runs, key=lambda each: (each[0], each[1].name))]

    def say(self, output: Output) -> None:
        """Name the runs that were left out."""
        if self.left_out:
            output.note(f"portfolio: left out {'; '.join(self.left_out)}")
        if self.num_older:
            output.note(f"portfolio: of the newest {_MOST_RUNS} runs; {self.num_older} older ones left out")


def with_portfolio(space: Space, folder: Path, output: Output) -> Space:
    """Return the space with the points that its search begins with, and print where they come from.

    Args:
        folder: The run's folder. A resumed run keeps its points, and `search.portfolio.points` are taken as
            they are. Otherwise the points come from the named runs, else from runs of the same trainable
            beside this one, else from published recipes.

    Raises:
        LedgerError: A named run cannot be used.
    """
    if space.is_listed:
        return space
    if RunFolder(folder).has_run:
        return _resumed(space, folder, output)
    if space.start == "default":
        return space
    others = _warm_starts_on_other_data(space)
    if space.portfolio.points is not None:
        return _with_points(space, _inside(space, space.portfolio.points, output), output)
    if space.start is None and not space.portfolio.runs and not others:
        if near := _num_beside(space, folder):
            runs = "an earlier run" if near == 1 else f"{near} earlier runs"
            output.print(
                f"{runs} of {space.trainable.title} in {folder.parent}: "
                "--set search.start=portfolio begins with what was best there",
                style="dim",
            )
        return space
    return _chosen(space, folder, others, output)


def _chosen(space: Space, folder: Path, others: Sequence[Path], output: Output) -> Space:
    """Return the space with the points of earlier runs, or of published recipes."""
    from search.sampling.portfolio import most_points, portfolio_of  # NumPy, 0.1 s: only for portfolios

    count = most_points(space.limits.trials)
    if not count:
        output.note(f"portfolio: empty, as it has a quarter of search.limits.trials, {space.limits.trials}")
        return _with_points(space, [], output)
    defaults = space.default_hparams(space.trainable.load())
    named = [*map(Path, space.portfolio.runs), *others]
    found = _named(space, named) if named else _beside(space, folder)
    found.say(output)
    if runs := found.oldest_first:
        points = portfolio_of(runs, space, defaults, count=count)
        for note in _differing_hparams(points, runs, space, defaults):
            output.note(note)
        text = _counted(points)
        if not points:
            output.note("portfolio: none of the best points of the earlier runs lies in this space")
    else:
        recipes = space.trainable.load().recipes
        points = recipe_points(recipes, space, defaults)[:count]
        title = space.trainable.title
        text = f"no earlier run of {title} in {folder.parent} can be used; of "
        text += f"its {len(recipes)} published recipes {len(points)} fit this space"
    return _with_points(space, points, output, text)


def recipe_points(
    recipes: Sequence[Recipe], space: Space, defaults: Mapping[str, Any]
) -> list[PortfolioPoint]:
    """Return the recipes that lie in this space and are valid for its settings, each once."""
    from search.sampling.portfolio import within  # as in `_chosen`

    points: dict[Any, PortfolioPoint] = {}
    for recipe in recipes:
        hparams = dict(recipe.hparams)
        fits = True
        for name, values in recipe.only_with.items():
            parameter = space.parameters.get(name)
            if parameter is None:
                fits = fits and any(is_same(defaults.get(name), value) for value in values)
            else:
                hparams[name] = next((each for each in values if parameter.contains(each)), values[0])
        point = within(space, defaults, hparams) if fits else None
        if point and any(name in recipe.hparams for name in point):
            points.setdefault(identity(point), PortfolioPoint(hparams=point, source=recipe.source))
    return list(points.values())


def _with_points(space: Space, points: Sequence[PortfolioPoint], output: Output, text: str = "") -> Space:
    if text or points:
        output.print(f"portfolio: {text or _counted(points)}; {_OFF}", style="dim")
    return replace(space, portfolio=space.portfolio.model_copy(update={"points": tuple(points)}))


def _counted(points: Sequence[PortfolioPoint]) -> str:
    """Return a phrase with the number of points and how many come from each source."""
    sources = Counter(point.source.rpartition("/")[0] or point.source for point in points)
    listed = ", ".join(f"{source} {count}" for source, count in sources.items())
    count = "1 point is" if len(points) == 1 else f"{len(points)} points are"
    return f"{count} tried after the default configuration" + (f" ({listed})" if listed else "")


def _inside(space: Space, points: Sequence[PortfolioPoint], output: Output) -> list[PortfolioPoint]:
    """Return the points that lie in the space, whose ranges may have changed since they were written."""
    defaults = space.default_hparams(space.trainable.load())
    kept = [point for point in points if space.contains({**defaults, **point.hparams})]
    if num_outside := len(points) - len(kept):
        output.note(f"portfolio: {num_outside} of {len(points)} points no longer lie in this space")
    return kept


def _resumed(space: Space, folder: Path, output: Output) -> Space:
    """Return the space with the points that the run began with, according to its journal."""
    ledger = Ledger(folder)
    try:
        began = ledger.read_space().portfolio if ledger.space_file.exists() else None
        history = ledger.read_history() if began is not None and began.points is not None else None
    except (LedgerError, SpaceError):
        return space  # resuming it will report the error
    if began is None or began.points is None:
        if space.start == "portfolio" and began is not None:
            output.note("portfolio: this run began without one, and resumes without one")
        return replace(space, start=None, portfolio=Portfolio())
    kept = None if history is None else history.sessions.portfolio
    points = began.points if kept is None else [PortfolioPoint(**each) for each in kept]
    return replace(
        space,
        start="portfolio",
        portfolio=began.model_copy(update={"points": tuple(_inside(space, points, output))}),
    )


def _warm_starts_on_other_data(space: Space) -> list[Path]:
    """Return the runs of `search.warm_start` with incomparable scores: only their points are used."""
    folders = [Path(folder) for folder in space.warm_start]
    return [folder for folder in folders if differing_scores(Ledger.open(folder).read_space(), space)]


def _named(space: Space, folders: Sequence[Path]) -> _Found:
    """Return the runs that the user named.

    Raises:
        LedgerError: Some cannot be used; the message lists all of these.
    """
    found, refused = _Found(), []
    for folder in dict.fromkeys(each.resolve() for each in folders):
        try:
            ledger = Ledger.open(folder)
            before = ledger.read_space()
            if not is_same_code(folder, before.trainable, space.trainable):
                refused.append(f"{folder}: its trainable is {before.trainable}, here {space.trainable}")
                continue
            _take(ledger, before, space, found)
        except (LedgerError, SpaceError, UnknownTrainable) as error:
            refused.append(str(error))  # its text begins with the folder
    if refused := [*refused, *found.left_out]:
        raise LedgerError(
            "\n  ".join(["a portfolio cannot be made of these runs; leave them out:", *refused])
        )
    return found


def _beside(space: Space, folder: Path) -> _Found:
    """Return the newest runs of the same trainable beside `folder`."""
    found = _Found()
    for other in runs_in(folder.parent):
        if other.resolve() == folder.resolve():
            continue
        try:
            ledger = Ledger.open(other)
            before = ledger.read_space()
            if not is_same_code(other, before.trainable, space.trainable):
                continue
            if len(found.runs) == _MOST_RUNS:
                found.num_older += 1
            else:
                _take(ledger, before, space, found)
        except (LedgerError, SpaceError, UnknownTrainable, OSError, KeyError) as error:
            found.left_out.append(f"{other.name} ({first_line(error)})")
    return found


def _take(ledger: Ledger, before: Space, space: Space, found: _Found) -> None:
    from search.sampling.portfolio import FEWEST_RESULTS, EarlierRun  # as in `_chosen`

    history = ledger.read_history()
    trials = {
        name: as_known(trial, before, space.metric)
        for name, trial in history.trials.items()
        if trial.status in ENDED | {"infeasible"}
    }
    run = EarlierRun(name=ledger.folder.name, mode=space.mode, trials=trials)
    if run.regrets:
        found.runs.append((min(trial.asked_at for trial in history.trials.values()), run))
    else:
        num_results = max(
            Counter(step for trial in trials.values() for step in trial.values).values(), default=0
        )
        found.left_out.append(
            f"{ledger.folder.name} (at most {num_results} trials have {space.metric} at one rung, "
            f"{FEWEST_RESULTS} are needed)"
        )


def _num_beside(space: Space, folder: Path) -> int:
    """Return the number of other runs of the same trainable, from their records alone: milliseconds."""
    if space.trainable.command is not None:
        return 0  # the record of a script is its space, which takes longer to read
    num = 0
    for other in runs_in(folder.parent):
        try:
            record = None if other.resolve() == folder.resolve() else read_record(other)
        except UnknownTrainable:
            continue
        num += record is not None and record.trainable == str(space.trainable)
    return num


def _differing_hparams(
    points: Sequence[PortfolioPoint], runs: Sequence[EarlierRun], space: Space, defaults: Mapping[str, Any]
) -> list[str]:
    """Return a note for each run whose points were good with named settings that differ here."""
    trials = {f"{run.name}/{name}": (run.name, trial) for run in runs for name, trial in run.trials.items()}
    notes: dict[str, dict[str, str]] = {}
    for point in points:
        run, trial = trials[point.source]
        for name, value in trial.hparams.items():
            if name in space.parameters or not isinstance(value, str) or name not in defaults:
                continue
            if not is_same(value, defaults[name]):
                notes.setdefault(run, {})[name] = f"{name} {value} there, {defaults[name]} here"
    return [f"portfolio: {run} had {', '.join(texts.values())}" for run, texts in notes.items()]
