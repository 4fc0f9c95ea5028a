"""The picture of a search: when each trial trained, the learning curves, and the best score over time. Pure.

"Best" is never the highest score so far. Scores from different rungs do not compare, so at each moment it is
the trial that would rank first: of the largest budget any trial has completed, then by the metric.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search.ledger.history import TrialRecord
from search.ranking import is_comparable
from search.report.charts.chart import GREY, Chart, Mark, Scale, Series, evenly, rung_colour, rung_symbol
from search.report.formatting import value_text
from search.report.page.elements import Element, Points, Section, Text
from search.report.page.run_data import RunData
from search.report.page.timeline import timeline
from search.report.portfolio import portfolio_points, portfolio_sentence
from search.trial import EpochRow

_MOST_POINTS = 2000  # in a chart; more overlap, and each costs 60 bytes and 50 µs
_MOST_CURVES = 300  # more lines are slow to draw and cannot be distinguished


@dataclass(frozen=True, kw_only=True)
class Result:
    """A score at the end of a rung.

    Attributes:
        value: The metric at that point.
        num_epochs: Epochs that all trials of the run had spent by then.
        best: The score of the trial that ranked first from then on.
    """

    trial_id: str
    rung: int
    value: float
    num_epochs: int
    best: float


def results(run: RunData) -> list[Result]:
    """Every score at the end of a rung, in chronological order; those of failed trials are left out.

    The best is the score that would rank first, so it may get worse: the first trial to complete a higher
    rung takes the first rank with whatever score it has there.
    """
    sign = 1 if run.space.mode == "max" else -1
    found: list[Result] = []
    best: tuple[int, float] | None = None
    epochs = (event for event in run.events if event["event"] == "epoch")
    for num_epochs, event in enumerate(epochs, start=1):  # repeated ones too, since they were paid for
        if not event["row"].get("completes_rung"):  # as JSON: making 15,000 EpochRows takes a second
            continue
        trial, rung = run.history.trials[event["trial"]], EpochRow.from_dict(event["row"]).ended_rung
        value = None if rung is None else trial.value_at(run.metric, rung)
        if value is None or rung is None or not is_comparable(trial, run.metric):
            continue
        # Compared as (rung, signed score): the larger budget first. The sign makes larger better in both
        # modes.
        best = max(best or (-1, 0.0), (rung, sign * value))
        found.append(
            Result(
                trial_id=trial.trial_id,
                rung=rung,
                value=value,
                num_epochs=num_epochs,
                best=sign * best[1],
            )
        )
    return found


def history_section(run: RunData) -> Section:
    """The timeline, the learning curves and the best score over time."""
    bars = timeline(run)
    elements: list[Element] = [bars] if bars else []
    found = results(run)
    if not found:
        none = Text(text="No trial has completed a rung with a score, so there is no curve to draw yet.")
        return Section(key="history", title="The search", elements=[none, *elements])
    note = (
        "The line is the score of the trial that ranks first at that moment, the largest budget first. It "
        "may step back where a trial is the first to complete a rung: scores of different rungs cannot be "
        "compared."
    )
    elements += [learning_curves(run), Text(text=note), by_epochs(run, found), by_trials(run)]
    if sentence := portfolio_sentence(run.trials, run.space):
        elements += [
            Text(text=f"{sentence[0].upper()}{sentence[1:]}."),
            Points(points=portfolio_points(run.trials, run.space)),
        ]
    if len(run.history.gains) > 1:
        elements.append(expected_gains(run))
    return Section(key="history", title="The search", elements=elements)


def by_epochs(run: RunData, found: Sequence[Result]) -> Chart:
    """The best over the epochs that all trials together have spent, with every score as a point.

    A line that still improves at its right end suggests more epochs; one that is level for half of the chart
    suggests that they would find little.
    """
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
        y=Scale(title=run.metric_title),
        series=[_best_line(line), *_rung_points(run, points)],
        is_narrow=True,
    )


def by_trials(run: RunData) -> Chart:
    """The best over the trials in the order in which they were proposed, each with its last score.

    If later trials are better than earlier ones, the sampler has learnt something. If not, it has not, or
    there is little to learn.
    """
    sign = 1 if run.space.mode == "max" else -1
    sound = [trial for trial in run.trials if is_comparable(trial, run.metric)]
    keys = [(trial.rung or 0, sign * (trial.value(run.metric) or 0.0)) for trial in sound]
    best = [sign * value for _, value in itertools.accumulate(keys, max)]
    points: dict[int, list[tuple[int, float, str]]] = {}
    shown = evenly(sound, _MOST_POINTS)
    for trial in shown:
        value = trial.value(run.metric)
        assert value is not None, "is_comparable"
        points.setdefault(trial.rung or 0, []).append((trial.number + 1, value, trial.trial_id))
    line = _corners(list(zip((trial.number + 1 for trial in sound), best, strict=True)))
    return Chart(
        key="history_trials",
        title="Score of each trial at its highest rung" + thinned_text(len(shown), len(sound), "trials"),
        x=Scale(title="trials, in the order they started", is_whole=True),
        y=Scale(title=run.metric_title),
        series=[_best_line(line), *_rung_points(run, dict(sorted(points.items())))],
        is_narrow=True,
    )


def thinned_text(num_shown: int, num_all: int, what: str) -> str:
    """The end of a chart's title that says how many points are shown; empty if all are.

    Points are thinned, the line never is: a reader must know that a missing point proves nothing.
    """
    return (
        ""
        if num_shown == num_all
        else f" ({num_shown:,} of {num_all:,} {what}, evenly spaced; the line shows all)"
    )


def _corners(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points at which steps rise or fall, and the two ends: the same line in fewer points.

    Over 5,000 trials the best changes some ten times, and the page is a file that people send around.
    """
    ends = {0, len(points) - 1}
    return [point for place, point in enumerate(points) if place in ends or point[1] != points[place - 1][1]]


def expected_gains(run: RunData) -> Chart:
    """What the most promising further trial was expected to gain, and the smallest gain that means anything.

    Once the first is below the second twice in a row, further trials are unlikely to gain.
    """
    gains = run.history.gains
    epochs = [each.num_epochs for each in gains]
    return Chart(
        key="expected_gain",
        title="Expected gain of a further trial",
        x=Scale(title="epochs spent by all trials", is_whole=True),
        y=Scale(title=f"gain in {run.metric}"),
        series=[
            Series(
                name="of the most promising trial",
                x=epochs,
                y=[each.expected_gain for each in gains],
                hover=[f"{each.expected_gain:.3g} after {each.num_trials} trials" for each in gains],
                style="line",
                has_points=True,
            ),
            Series(
                name="the smallest that is more than noise",
                x=epochs,
                y=[each.least_gain for each in gains],
                hover=[f"{each.least_gain:.3g}: {each.least_is}" for each in gains],
                style="line",
                is_dashed=True,
                colour=GREY,
            ),
        ],
        height_px=300,
    )


def learning_curves(run: RunData) -> Chart:
    """The metric over the epochs of every trial, coloured by the rung at whose budget an epoch ran, with the
    ladder: a dotted line where each rung ends.

    Jumps between colours are changes of budget: at a larger resolution or subset the same weights score
    differently. Crossing curves show where a low rung would have stopped the later winner. With more than 300
    trials only the best are drawn, ranked ones first.
    """
    having = [trial for trial in run.in_order if trial.rows]
    shown = having[:_MOST_CURVES]
    title = "Learning curves on the ladder, coloured by rung"
    if len(shown) < len(having):
        title += f" (the best {len(shown)} trials)"
    rungs = sorted({row.rung for trial in shown for row in trial.rows})
    return Chart(
        key="curves",
        title=title,
        x=Scale(title="epoch", is_whole=True),
        y=Scale(title=run.metric_title),
        series=[_curves_at(run, shown, rung) for rung in rungs],
        marks=_ladder(run),
    )


def _ladder(run: RunData) -> list[Mark]:
    """The ends of the rungs below the top one; none for a ladder of joules, whose rungs end anywhere."""
    ends = () if run.space.ladder.joules else run.space.ladder.ends[:-1]
    return [Mark(at=float(end), text=f"rung {rung} ends") for rung, end in enumerate(ends)]


def _curves_at(run: RunData, trials: Sequence[TrialRecord], rung: int) -> Series:
    """The stretches of all curves at one rung, each with the point that it continues from.

    They are one series, with a None between two trials: 300 series would be 300 entries in the legend.
    """
    points: list[tuple[int | None, float | None, str]] = []
    for trial in trials:
        stretch = list(_stretch(run.metric, trial, rung))
        points += [
            *((x, y, f"{trial.trial_id}, epoch {x}: {value_text(y)}") for x, y in stretch),
            (None, None, ""),
        ]
    # Each trial adds its None, so there is always something to transpose.
    x, y, hover = zip(*points, strict=True)
    return Series(
        name=run.rung_name(rung),
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
    """Epoch and score of a trial's epochs at one rung, from the last point before each stretch.

    Scores that are missing or not finite are left out, and the line bridges them.
    """
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


def _best_line(points: Sequence[tuple[int, float]]) -> Series:
    """The line of the trial that ranks first, which holds its score until another one takes over."""
    x, y = zip(*points, strict=True)
    return Series(name="ranks first", x=x, y=y, style="steps", colour=GREY)


def _rung_points(run: RunData, points: dict[int, list[tuple[int, float, str]]]) -> list[Series]:
    """A series for each rung, so that the legend names rungs and points of one rung look alike."""
    return [
        Series(
            name=run.rung_name(rung),
            x=[x for x, *_ in of_rung],
            y=[y for _, y, _ in of_rung],
            hover=[f"{trial}: {value_text(y)}" for _, y, trial in of_rung],
            colour=rung_colour(rung),
            symbol=rung_symbol(rung),
        )
        for rung, of_rung in points.items()
    ]
