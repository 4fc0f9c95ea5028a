"""How a run went: its best over time, and the learning curves. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search.ledger.history import TrialRecord
from search.ranking import is_comparable
from search.report.chart import GREY, Chart, Scale, Series, evenly, rung_colour, rung_symbol
from search.report.formatting import value_text
from search.report.page.elements import Part, Section, Text
from search.report.page.run_data import Facts
from search.trial import EpochRow

_MOST_POINTS = 2000  # of a chart: more lie on top of each other, and each costs 60 bytes and 50 µs
_MOST_CURVES = 300  # an SVG of more lines is slow, and nobody can tell them apart


@dataclass(frozen=True, kw_only=True)
class Result:
    """A score at the end of a rung.

    Attributes:
        num_epochs: What the run had spent by then, in all trials.
        best: The score of the trial that ranked first from then on.
    """

    trial_id: str
    rung: int
    value: float
    num_epochs: int
    best: float


def results(facts: Facts) -> list[Result]:
    """Every score at a rung's end in the order in which they came; those of failed trials are left out.

    The best is the one that would rank first: of the largest budget so far. So it may get worse where a
    trial is the first to end a rung.
    """
    sign = 1 if facts.space.mode == "max" else -1
    found: list[Result] = []
    best: tuple[int, float] | None = None
    for num_epochs, trial, row in _epochs(facts):
        value = trial.value_at(facts.metric, row.ended_rung) if row.ended_rung is not None else None
        if value is None or row.ended_rung is None or not is_comparable(trial, facts.metric):
            continue
        best = max(best or (-1, 0.0), (row.ended_rung, sign * value))
        found.append(
            Result(
                trial_id=trial.trial_id,
                rung=row.ended_rung,
                value=value,
                num_epochs=num_epochs,
                best=sign * best[1],
            )
        )
    return found


def course_section(facts: Facts) -> Section:
    """The optimisation history and the learning curves."""
    found = results(facts)
    if not found:
        none = "No trial has ended a rung with a score, so there is nothing to draw yet."
        return Section(key="history", title="Optimisation history", parts=[Text(text=none)])
    note = (
        "The line is the score of the trial that ranks first at that moment, the largest budget first. Where "
        "a trial is the first to end a rung it may step back: scores of different rungs do not compare."
    )
    parts: list[Part] = [Text(text=note), by_epochs(facts, found), by_trials(facts), learning_curves(facts)]
    return Section(key="history", title="Optimisation history", parts=parts)


def by_epochs(facts: Facts, found: Sequence[Result]) -> Chart:
    """The best over the epochs that all trials together have spent."""
    shown = evenly(found, _MOST_POINTS)
    points = {
        rung: [(each.num_epochs, each.value, each.trial_id) for each in shown if each.rung == rung]
        for rung in sorted({each.rung for each in shown})
    }
    line = _corners([(each.num_epochs, each.best) for each in found])
    return Chart(
        key="history_epochs",
        title="Best score over the epochs spent" + thinned_text(len(shown), len(found), "scores"),
        x=Scale(title="epochs spent by all trials", is_whole=True),
        y=Scale(title=facts.metric_title),
        series=[_best_line(line), *_rung_points(facts, points)],
    )


def by_trials(facts: Facts) -> Chart:
    """The best over the trials in the order in which they were asked for, each with its last score."""
    sign = 1 if facts.space.mode == "max" else -1
    sound = [trial for trial in facts.trials if is_comparable(trial, facts.metric)]
    keys = [(trial.rung or 0, sign * (trial.value(facts.metric) or 0.0)) for trial in sound]
    best = [sign * value for _, value in itertools.accumulate(keys, max)]
    points: dict[int, list[tuple[int, float, str]]] = {}
    shown = evenly(sound, _MOST_POINTS)
    for trial in shown:
        value = trial.value(facts.metric)
        assert value is not None, "is_comparable"
        points.setdefault(trial.rung or 0, []).append((trial.number + 1, value, trial.trial_id))
    line = _corners(list(zip((trial.number + 1 for trial in sound), best, strict=True)))
    return Chart(
        key="history_trials",
        title="Score of each trial at its highest rung" + thinned_text(len(shown), len(sound), "trials"),
        x=Scale(title="trials, in the order they were asked for", is_whole=True),
        y=Scale(title=facts.metric_title),
        series=[_best_line(line), *_rung_points(facts, dict(sorted(points.items())))],
    )


def thinned_text(num_shown: int, num_all: int, what: str) -> str:
    """What a title says of a chart that shows a part: nothing where it shows all."""
    return (
        ""
        if num_shown == num_all
        else f" ({num_shown:,} of {num_all:,} {what}, evenly taken; the line is of all)"
    )


def _corners(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Those at which steps rise or fall, and the two ends: the same line."""
    ends = {0, len(points) - 1}
    return [point for place, point in enumerate(points) if place in ends or point[1] != points[place - 1][1]]


def learning_curves(facts: Facts) -> Chart:
    """The metric over the epochs of every trial, coloured by the rung at whose budget an epoch ran."""
    ranks = {trial.trial_id for trial in facts.ranked}
    others = [trial for trial in facts.trials if trial.rows and trial.trial_id not in ranks]
    shown = [*facts.ranked, *others][:_MOST_CURVES]
    title = "Learning curves, coloured by rung"
    if len(shown) < sum(bool(trial.rows) for trial in facts.trials):
        title += f" (the best {len(shown)} trials)"
    rungs = sorted({row.rung for trial in shown for row in trial.rows})
    return Chart(
        key="curves",
        title=title,
        x=Scale(title="epoch", is_whole=True),
        y=Scale(title=facts.metric_title),
        series=[_curves_at(facts, shown, rung) for rung in rungs],
    )


def _curves_at(facts: Facts, trials: Sequence[TrialRecord], rung: int) -> Series:
    """The stretches of all curves at one rung, each with the point that it goes on from."""
    points: list[tuple[int | None, float | None, str]] = []
    for trial in trials:
        stretch = list(_stretch(facts.metric, trial, rung))
        points += [
            *((x, y, f"{trial.trial_id}, epoch {x}: {value_text(y)}") for x, y in stretch),
            (None, None, ""),
        ]
    x, y, hover = zip(*points, strict=True)
    return Series(
        name=facts.rung_name(rung),
        x=x,
        y=y,
        hover=hover,
        style="line",
        has_points=True,
        colour=rung_colour(rung),
        symbol=rung_symbol(rung),
        width_px=1.3,
        size_px=5,
        opacity=0.75,
    )


def _stretch(metric: str, trial: TrialRecord, rung: int) -> Iterator[tuple[int, float]]:
    last: tuple[int, float] | None = None
    for epoch, row in trial.curve.items():
        value = row.metrics.get(metric)
        if value is None or value != value or abs(value) == float("inf"):
            continue
        if row.rung == rung:
            if last:
                yield last
            yield epoch, value
            last = None
        else:
            last = epoch, value


def _epochs(facts: Facts) -> Iterator[tuple[int, TrialRecord, EpochRow]]:
    """Each epoch as it came, with how many had been spent by then; repeated ones count too."""
    epochs = (event for event in facts.events if event["event"] == "epoch")
    for number, event in enumerate(epochs, start=1):
        yield number, facts.history.trials[event["trial"]], EpochRow.from_dict(event["row"])


def _best_line(points: Sequence[tuple[int, float]]) -> Series:
    x, y = zip(*points, strict=True)
    return Series(name="ranks first", x=x, y=y, style="steps", colour=GREY)


def _rung_points(facts: Facts, points: dict[int, list[tuple[int, float, str]]]) -> list[Series]:
    return [
        Series(
            name=facts.rung_name(rung),
            x=[x for x, *_ in of_rung],
            y=[y for _, y, _ in of_rung],
            hover=[f"{trial}: {value_text(y)}" for _, y, trial in of_rung],
            colour=rung_colour(rung),
            symbol=rung_symbol(rung),
        )
        for rung, of_rung in points.items()
    ]
