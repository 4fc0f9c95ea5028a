"""The forecast of a run: printed as soon as it is known, renewed, and compared at the end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rich.table import Table

from search.budget import Limits, Spent
from search.forecast import Costs, Forecast, Span, earlier_costs, forecast_search, observed_costs
from search.ledger import Ledger
from search.ledger.history import Event
from search.ledger.journal import StorageError
from search.output import Output
from search.report.formatting import duration, rung_text
from search.run import Run
from search.sampling.proposal import Sampler
from search.space import Space

_FIRST_UPDATE_EPOCHS = 16  # the forecast is renewed after 16 epochs, then whenever their number has doubled
# Trials whose events are kept as samples of cost. Keeping all of 1,000 trials took 135 MiB more at the peak,
# and each simulated trial is compared with each known one: 250 against 500 take 0.94 s, against 200 0.33 s.
_FIRST_TRIALS, _RECENT_TRIALS = 20, 180
# Maximum seconds of simulation: the first trials wait for it once, and later it competes for cores with the
# loop that hands out trials.
_MOST_S = 0.5


class ForecastReporter:
    """Prints what a run will take: from an earlier run that trained the same, else from its own first epochs.

    While the run continues, the forecast is renewed from its own epochs. The first one is written to
    forecast.json, because the summary compares the outcome with what was promised, not with a figure
    corrected on the way.

    Args:
        make_sampler: Returns a new sampler for each simulated search.

    Attributes:
        forecast: The latest forecast that includes a time; None until there is one.
    """

    def __init__(self, run: Run, make_sampler: Callable[[Space], Sampler], output: Output) -> None:
        self._run, self._make_sampler, self._output = run, make_sampler, output
        self.forecast = kept_forecast(run.ledger, run.space.limits)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="forecast")
        self._pending: Future[Forecast] | None = None
        is_settled = self.forecast is not None or run.space.ladder.joules
        self._highest_rung = len(run.space.ladder.rungs) if is_settled else -1
        self._num_epochs = 0
        self._next_at = _FIRST_UPDATE_EPOCHS
        self._seen = _SeenTrials()
        if self.forecast is None and run.history.trials:  # resumed with other limits, or killed early
            for event in run.ledger.events():
                self._seen.take(event)

    def begin(self) -> None:
        """Print the ladder with the expected trials and epochs, and time and energy if they are known."""
        if self._highest_rung >= 0:
            return  # resumed; or rungs of joules, whose number of epochs only training shows
        costs = earlier_costs(self._run.space, self._run.ledger.folder.parent)
        forecast = self._forecast(costs)
        self._output.print(ladder_table(self._run.space, forecast))
        self._announce(forecast)
        if costs is not None:  # from whole trials: the first epochs of this run could only be rougher
            self._highest_rung = len(self._run.space.ladder.rungs)

    def on_event(self, event: Event) -> None:
        """Renew the forecast at the first epochs, at each new highest rung, and at 16, 32, 64, ... epochs.

        A new rung matters because the cost of its epochs is extrapolated until one has been run. The
        simulation runs in a thread, so that no trial waits for it.
        """
        self._num_epochs += event["event"] == "epoch"
        self._seen.take(event)
        if self._pending is not None:
            if self._pending.done():
                self._finish(self._pending)
                self._pending = None
        elif event["event"] == "epoch" and self._is_due(event["row"]["rung"]):
            run = self._run
            costs = observed_costs(self._seen.events(), run.space, run.ledger.folder)
            if costs is not None:
                self._highest_rung = max(self._highest_rung, event["row"]["rung"])
                self._next_at = max(_FIRST_UPDATE_EPOCHS, 2 * self._num_epochs)
                self._pending = self._pool.submit(self._forecast, costs)

    def _is_due(self, rung: int) -> bool:
        """Whether an epoch at `rung` is the first at a new highest rung, or doubles the number of epochs at
        the last renewal."""
        if self._run.space.ladder.joules:
            return False
        return rung > self._highest_rung or self._num_epochs >= self._next_at

    def close(self) -> None:
        """Print a first forecast that is still being simulated: a short search may end before it."""
        if self._pending is not None and not self.forecast:
            self._finish(self._pending)
        self._pool.shutdown()

    def _forecast(self, costs: Costs | None) -> Forecast:
        return forecast_search(self._run.space, costs, self._make_sampler, most_s=_MOST_S)

    def _finish(self, pending: Future[Forecast]) -> None:
        """Print the simulated forecast; if the simulation failed, warn and let the search continue."""
        try:
            forecast = pending.result()
        except Exception as error:  # a forecast is never worth the search
            self._output.warn(f"no time forecast: {type(error).__name__}: {error}")
        else:
            self._announce(forecast)

    def _announce(self, forecast: Forecast) -> None:
        """Print the first forecast in full, a later one only if its median is outside the previous range.

        Each renewal is a little different, and printing all of them would bury those that change a plan.
        """
        if self.forecast is None:
            for line in forecast_lines(forecast):
                self._output.print(line)
            if forecast.seconds is None:
                return
            self._write(forecast)
        elif (new := forecast.seconds) and (old := self.forecast.seconds) and new.median not in old:
            self._output.print(f"new forecast: {forecast_text(forecast)}")
        self.forecast = forecast

    def _write(self, forecast: Forecast) -> None:
        try:
            kept = {**forecast.to_dict(), "limits": self._run.space.limits.ends}
            self._run.ledger.write_json(self._run.ledger.forecast_file.name, kept)
        except StorageError as error:
            self._output.warn(
                f"{error}; the run continues, but its end will not be compared with the forecast"
            )


class _SeenTrials:
    """Events of the first 20 and the latest 180 trials, in order.

    The first ones show cold starts, the latest what trials cost now; those in between take memory and add
    nothing.
    """

    def __init__(self) -> None:
        self._events: dict[str | None, list[tuple[int, Event]]] = {None: []}
        self._num_seen = 0

    def take(self, event: Event) -> None:
        """Keep the event unless its trial was dropped; a new trial drops the oldest of the recent ones."""
        trial_id = event.get("trial")
        if event["event"] == "trial_asked":
            self._events[trial_id] = []
            if len(self._events) > 1 + _FIRST_TRIALS + _RECENT_TRIALS:
                del self._events[next(itertools.islice(self._events, 1 + _FIRST_TRIALS, None))]
        if trial_id in self._events and (trial_id or event["event"] == "session_started"):
            self._events[trial_id].append((self._num_seen, event))
        self._num_seen += 1

    def events(self) -> list[Event]:
        """The kept events as a journal that holds only these trials."""
        numbered = itertools.chain.from_iterable(self._events.values())
        return [event for _, event in sorted(numbered, key=lambda one: one[0])]


def kept_forecast(ledger: Ledger, limits: Limits) -> Forecast | None:
    """The forecast kept in the run's folder; None if there is none, or none that this version can read.

    One that was made for other limits is none either: a run that was resumed to try more is not late.
    """
    try:
        kept = json.loads(ledger.forecast_file.read_text(encoding="utf-8"))
        forecast = Forecast.from_dict(kept)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return forecast if kept.get("limits", limits.ends) == limits.ends else None


def ladder_table(space: Space, forecast: Forecast | None) -> Table:
    """The rungs, with what a trial has used at the end of each and the trials and epochs forecast there.

    Numbers that halve or quarter from row to row are eta at work; a top rung with one trial means that its
    winner is never compared at full budget.

    Args:
        forecast: None leaves out the forecast numbers.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    counted = ("trials completing it", "epochs run at it") if forecast else ()
    for column in ("rung", "used by a trial at its end", *counted):
        table.add_column(column)
    for rung in range(len(space.ladder.rungs)):
        spans = (forecast.rung_trials[rung], forecast.rung_epochs[rung]) if forecast else ()
        table.add_row(str(rung), rung_text(space.ladder, rung), *map(count_text, spans))
    return table


def forecast_lines(forecast: Forecast) -> list[str]:
    """What the search will take, which limit will end it, and what the costs were measured on."""
    if forecast.is_endless:
        return ["forecast: no limit ends it; it runs until it is interrupted"]
    if forecast.seconds is None:
        return [f"forecast: {forecast_text(forecast)}; the first epochs will show the time"]
    return [
        f"forecast: {forecast_text(forecast)}",
        f"ends by: {forecast.reason}; estimated from {forecast.source}",
    ]


def forecast_text(forecast: Forecast) -> str:
    """As "24 trials, 41 epochs (38 to 44), 1:40 (1:20 to 2:10), 0.03 kWh (0.02 to 0.04)", then the disk."""
    kwh, disk = forecast.kwh, forecast.disk_gib
    parts = [
        _ranged(forecast.num_trials, "{:.0f}".format, " trials"),
        _ranged(forecast.epochs, "{:.0f}".format, " epochs"),
    ]
    if forecast.seconds is not None:
        parts.append(_ranged(forecast.seconds, duration))
        parts.append("kWh unknown" if kwh is None else _ranged(kwh, "{:.2g}".format, " kWh"))
    if disk is not None:
        parts.append(f"at most {disk:.2g} GiB of checkpoints")
    if forecast.weights_gib is not None:
        parts.append(f"{forecast.weights_gib:.2g} GiB of weights to keep")
    return ", ".join(parts)


def outcome_text(forecast: Forecast, *, epochs: int, spent: Spent) -> str:
    """The outcome beside the forecast: "took 1:38 (forecast 1:40, 1:20 to 2:10), 40 epochs (41)"."""
    parts = []
    if forecast.seconds is not None:
        parts.append(f"{duration(spent.hours * 3600)} (forecast {_range_text(forecast.seconds, duration)})")
    parts.append(f"{epochs} epochs ({_range_text(forecast.epochs, '{:.0f}'.format)})")
    if forecast.kwh is not None and spent.kwh is not None:
        parts.append(f"{spent.kwh:.2g} kWh ({_range_text(forecast.kwh, '{:.2g}'.format)})")
    return "took " + ", ".join(parts)


def time_text(seconds: Span) -> str:
    """A time span as "4:01 (2:33 to 5:57)"."""
    return _ranged(seconds, duration)


def count_text(span: Span) -> str:
    """ "41", or with its range "41 (38 to 44)"."""
    return _ranged(span, "{:.0f}".format)


def _ranged(span: Span, text: Callable[[float], str], unit: str = "") -> str:
    """A median and its unit with its range in brackets; without the range if both ends read the same."""
    middle, low, high = text(span.median), text(span.low), text(span.high)
    return f"{middle}{unit}" if low == high else f"{middle}{unit} ({low} to {high})"


def _range_text(span: Span, text: Callable[[float], str]) -> str:
    """A median and its range, for use inside brackets."""
    middle, low, high = text(span.median), text(span.low), text(span.high)
    return middle if low == high else f"{middle}, {low} to {high}"
