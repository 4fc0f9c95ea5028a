"""What a run is told to take, as soon as that is known; kept beside it and compared at its end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rich.console import Console as RichConsole

from search.forecast import Costs, Forecast, earlier_costs, forecast, observed_costs
from search.ledger import Ledger
from search.ledger.history import Event
from search.ledger.journal import StorageError
from search.report.forecast import forecast_lines, forecast_text, ladder_table
from search.run import Run
from search.sampling.proposal import Sampler
from search.space import Space

_FILE = "forecast.json"
_DOUBTED_AFTER = 16  # epochs: of as many, what they take is told again, and of twice as many each time
# By these a run is forecast. All of 1,000 were 135 MiB more at the peak, and each simulated trial is compared
# with each known one: 250 among 500 take 0.94 s, among 200 they take 0.33 s.
_FIRST_TRIALS, _RECENT_TRIALS = 20, 180
_MOST_S = 0.5  # of simulating: the first trials wait for it once, and what hands trials out slows down


class ForecastReporter:
    """Says what a run will take: by an earlier run if one trained the same, else by its own first epochs.

    As the run goes on it is forecast again by what its own epochs take.

    Args:
        make_sampler: Of the space, for simulated searches.

    Attributes:
        told: The latest forecast with its time, once there is one. The first is kept.
    """

    def __init__(self, run: Run, make_sampler: Callable[[Space], Sampler], output: RichConsole) -> None:
        self._run, self._make_sampler, self._output = run, make_sampler, output
        self.told = kept_forecast(run.ledger)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="forecast")
        self._coming: Future[Forecast] | None = None
        is_settled = self.told is not None or run.space.ladder.joules
        self._highest_rung = len(run.space.ladder.rungs) if is_settled else -1
        self._num_epochs = 0
        self._next_at = _DOUBTED_AFTER
        self._seen = _SeenTrials()
        if self.told is None and run.history.trials:  # killed before its first epochs had told
            for event in run.ledger.events():
                self._seen.take(event)

    def begin(self) -> None:
        """Print the ladder with the trials and epochs to come, and time and energy if they are known."""
        if self._highest_rung >= 0:
            return  # a restart; or joules, whose rungs hold as many epochs as they turn out to
        costs = earlier_costs(self._run.space, self._run.ledger.folder.parent)
        told = self._forecast(costs)
        self._output.print(ladder_table(self._run.space, told))
        self._tell(told)
        if costs is not None:  # of whole trials: nothing that the first epochs show is better
            self._highest_rung = len(self._run.space.ladder.rungs)

    def on_event(self, event: Event) -> None:
        """Tell the time when the first epochs have shown what they take, again with each higher rung, and
        whenever twice as many epochs have been seen.

        It is simulated beside the search: what an epoch at a rung takes is a guess until one was seen.
        """
        self._num_epochs += event["event"] == "epoch"
        self._seen.take(event)
        if self._coming is not None:
            if self._coming.done():
                self._take(self._coming)
                self._coming = None
        elif event["event"] == "epoch" and self._is_due(event["row"]["rung"]):
            run = self._run
            costs = observed_costs(self._seen.events(), run.space, run.ledger.folder)
            if costs is not None:
                self._highest_rung = max(self._highest_rung, event["row"]["rung"])
                self._next_at = max(_DOUBTED_AFTER, 2 * self._num_epochs)
                self._coming = self._pool.submit(self._forecast, costs)

    def _is_due(self, rung: int) -> bool:
        if self._run.space.ladder.joules:
            return False
        return rung > self._highest_rung or self._num_epochs >= self._next_at

    def close(self) -> None:
        """Tell what is still being simulated: a short search may end first."""
        if self._coming is not None and not self.told:
            self._take(self._coming)
        self._pool.shutdown()

    def _forecast(self, costs: Costs | None) -> Forecast:
        return forecast(self._run.space, costs, self._make_sampler, most_s=_MOST_S)

    def _take(self, coming: Future[Forecast]) -> None:
        try:
            told = coming.result()
        except Exception as error:  # the search is more than what is said of it
            text = f"warning: no time is foretold: {type(error).__name__}: {error}"
            self._output.print(text, style="yellow", soft_wrap=True)
        else:
            self._tell(told)

    def _tell(self, told: Forecast) -> None:
        if self.told is None:
            for line in forecast_lines(told):
                self._output.print(line, soft_wrap=True)
            if told.seconds is None:
                return
            self._keep(told)
        elif told.seconds and self.told.seconds and told.seconds.median not in self.told.seconds:
            self._output.print(f"forecast now: {forecast_text(told)}", soft_wrap=True)
        self.told = told

    def _keep(self, told: Forecast) -> None:
        try:
            self._run.ledger.write_json(_FILE, told.to_dict())
        except StorageError as error:
            text = f"warning: {error}; the run goes on, its end is not compared with the forecast"
            self._output.print(text, style="yellow", soft_wrap=True)


class _SeenTrials:
    """The events of the first trials, whose workers were cold, and of the latest ones, in their order."""

    def __init__(self) -> None:
        self._events: dict[str | None, list[tuple[int, Event]]] = {None: []}
        self._num_seen = 0

    def take(self, event: Event) -> None:
        """Keep it, unless it is of a trial that was dropped."""
        trial_id = event.get("trial")
        if event["event"] == "trial_asked":
            self._events[trial_id] = []
            if len(self._events) > 1 + _FIRST_TRIALS + _RECENT_TRIALS:
                del self._events[next(itertools.islice(self._events, 1 + _FIRST_TRIALS, None))]
        if trial_id in self._events and (trial_id or event["event"] == "session_started"):
            self._events[trial_id].append((self._num_seen, event))
        self._num_seen += 1

    def events(self) -> list[Event]:
        """A journal of these trials alone."""
        numbered = itertools.chain.from_iterable(self._events.values())
        return [event for _, event in sorted(numbered, key=lambda one: one[0])]


def kept_forecast(ledger: Ledger) -> Forecast | None:
    """The forecast that a run was given; None if it had none."""
    file = ledger.folder / _FILE
    return Forecast.from_dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
