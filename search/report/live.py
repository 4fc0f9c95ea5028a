"""A run as one screen: best trial, rungs as a ladder, learning curves, limits, watts and time left.

Rich renders it from its own thread, four times a second, while the run's thread changes the history. So the
view reads copies (`list(...)`) of what may grow, and computes nothing slow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from search.accounting.spending import DeviceWatts
from search.energy.units import to_joules
from search.forecast import Forecast
from search.ledger.history import TrialRecord
from search.report.formatting import duration, limits_text, mean_text, rung_text, value_text, varied_text
from search.report.time_left import TimeLeft
from search.report.under_way import UnderWay
from search.run import Run

STYLES = {
    "finished": "green",
    "stopped": "yellow",
    "paused": "yellow",
    "diverged": "red",
    "failed": "red",
    "infeasible": "magenta",
    "running": "cyan",
}
_LEVELS = "▁▂▃▄▅▆▇█"
_CURVE = 12  # characters of a learning curve
_BAR = 24  # characters of the ladder's longest bar
_LEAST_ROWS = 3  # rows of the table of trials, even if the screen then scrolls
_COLUMN_GAP = 2


class LiveView:
    """The screen; rendered again whenever the terminal asks for it.

    Args:
        get_forecast: Returns the forecast, or None until there is one.
        clock: Monotonic seconds; a clock that is set back must not make the time left jump.
    """

    def __init__(
        self,
        run: Run,
        *,
        get_forecast: Callable[[], Forecast | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._clock = run, clock
        self._started_s = clock()
        self._left = TimeLeft(run, get_forecast, clock)
        self._watts = DeviceWatts()
        self._under_way = UnderWay(run, clock)

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        """The parts from top to bottom, with as many trials as fit on the screen.

        A live view taller than the terminal cannot be redrawn in place, so the parts whose height is known
        are wrapped and counted first, and the table gets the rest.
        """
        top, ladder, end = self._headline(), self._ladder(options.max_width), self._end()
        above = [top, ladder, Text(), end]
        num_lines = sum(len(part.wrap(console, options.max_width)) for part in above) + 1  # a table's head
        num_rows = max(_LEAST_ROWS, (options.height or console.height) - num_lines - 1)
        yield Group(top, ladder, self._trials(options.max_width, num_rows), Text(), end)

    def _headline(self) -> Text:
        """The space, what it trains, and the best configuration so far with its hparams."""
        space = self._run.space
        text = Text(f"{space.name}", style="bold", overflow="ellipsis")
        text.append(f"  {space.title}", style="not bold")
        for best in self._run.ranking.configurations()[:1]:
            trial = best.first
            text.append(f"\nbest {trial.trial_id}  {space.metric} ", style="not bold")
            text.append(mean_text(best), style="bold green")
            text.append(
                f"  rung {best.rung}  {varied_text(trial, space, self._run.history)}", style="not bold"
            )
        return text

    def _ladder(self, width: int) -> Text:
        """A bar for each rung, as long as its share of the trials that completed the lowest one."""
        ladder, counts = self._run.space.ladder, self._run.rungs.counts()
        names = [rung_text(ladder, rung) for rung in range(len(counts))]
        longest = max(map(len, names))
        most = max(1, *counts)
        bar = max(4, min(_BAR, width - longest - 14))
        lines = [
            f"rung {rung}  {name:<{longest}}  {'█' * math.ceil(bar * count / most)} {count}"
            for rung, (name, count) in enumerate(zip(names, counts, strict=True))
        ]
        return Text("\n".join(lines), style="dim", no_wrap=True, overflow="ellipsis")

    def _trials(self, width: int, num_rows: int) -> Table:
        """Running trials, then the best ones, with joules and as many hparams as there is room for."""
        running = self._under_way.update()
        others = [trial for trial in self._run.ranking.ranked() if trial.status != "running"]
        shown = [*running, *others][:num_rows]
        columns = ["trial", "status", "rung", "epoch", self._run.space.metric, "curve", "time"]
        rows = [self._cells(trial) for trial in shown]
        names = self._run.space.varied
        wanted = [[value_text(trial.hparams.get(name)) for name in names] for trial in shown]
        if any(trial.energy.total_mj is not None for trial in shown):
            names = ["energy", *names]
            wanted = [[_joules_text(trial), *values] for trial, values in zip(shown, wanted, strict=True)]
        num_shown = _num_columns(width, [columns, *rows], [names, *wanted])
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, _COLUMN_GAP, 0, 0))
        for column in [*columns, *names[:num_shown]]:
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        for trial, cells, values in zip(shown, rows, wanted, strict=True):
            table.add_row(*cells, *values[:num_shown], style=STYLES.get(trial.status, ""))
        return table

    def _cells(self, trial: TrialRecord) -> list[str]:
        """The cells of a trial's row; an epoch without the metric is a ! in its curve."""
        metric = self._run.space.metric
        values = [row.metrics.get(metric, math.nan) for row in trial.curve.values()]
        return [
            trial.trial_id,
            trial.status,
            "" if trial.rung is None else str(trial.rung),
            self._epochs_text(trial),
            value_text(trial.value(metric)),
            sparkline(values),
            self._time_text(trial),
        ]

    def _epochs_text(self, trial: TrialRecord) -> str:
        """The epochs done, and the batches of a long one under way: "2 + 117/219"."""
        doing = self._under_way.of(trial)
        if doing is None or doing.progress is None:
            return str(trial.epochs)
        name = "decoding " if doing.progress.doing == "decoding" else ""
        return f"{trial.epochs} + {name}{doing.progress.done}/{doing.progress.total}"

    def _time_text(self, trial: TrialRecord) -> str:
        """The time trained, including the current startup or epoch of a running trial."""
        doing = self._under_way.of(trial)
        if trial.status != "running" or doing is None:
            return duration(trial.seconds)
        return duration(trial.seconds + self._clock() - doing.since_s, whole=True)

    def _end(self) -> Text:
        """The last line: time passed and left, limits used, and the current power of all devices.

        Time counts from this session's start, limits from the run's: a resumed run has already used some.
        """
        passed_s = self._clock() - self._started_s
        parts = [duration(passed_s)]
        if (left_s := self._left.seconds()) is not None:
            parts[0] += f", about {duration(left_s)} left"
        parts.append(limits_text(self._run.space.limits, self._run.spent, self._run.ended_count))
        read_s, devices = self._run.read_devices()
        self._watts.on_reading(read_s, devices)
        if self._watts.now:
            is_estimate = any(row.get("kind") == "estimated" for row in devices)
            note = " (CPU estimated)" if is_estimate else ""
            parts.append(f"{sum(self._watts.now.values()):.0f} W{note}")
        return Text("   ".join(parts), style="dim")


def _joules_text(trial: TrialRecord) -> str:
    joules = to_joules(trial.energy.total_mj)
    return "-" if joules is None else f"{joules:.0f} J"


def sparkline(values: Sequence[float]) -> str:
    """A curve in at most twelve characters, from its lowest value to its highest; ! is a value that is not
    finite.

    A longer curve is thinned from its end, so that the last value, which decides, is always shown. A flat
    curve is drawn at half height.
    """
    shown = values[:: -max(1, math.ceil(len(values) / _CURVE))][::-1]  # the last value is among them
    finite = [value for value in shown if math.isfinite(value)]
    low, span = min(finite, default=0.0), max(finite, default=0.0) - min(finite, default=0.0)
    top = len(_LEVELS) - 1
    levels = [(value - low) / span if span else 0.5 for value in shown]
    return "".join(_LEVELS[round(level * top)] if math.isfinite(level) else "!" for level in levels)


def _num_columns(width: int, always: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> int:
    """How many columns of `wanted` fit beside those of `always`.

    Both are rows of text, headings included. The gap after the last column may be cut off.
    """
    left = width - sum(max(map(len, column)) + _COLUMN_GAP for column in zip(*always, strict=True))
    for number, column in enumerate(zip(*wanted, strict=True)):
        left -= max(map(len, column)) + _COLUMN_GAP
        if left < -_COLUMN_GAP:
            return number
    return len(wanted[0])
