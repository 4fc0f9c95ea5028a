"""What a run is told to take, as soon as that is known; kept beside it and compared at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rich.console import Console as RichConsole

from search.forecast import Forecast, earlier_costs, forecast, observed_costs
from search.ledger import Ledger
from search.ledger.history import Event
from search.ledger.journal import StorageError
from search.report.forecast import forecast_lines, ladder_table
from search.run import Run
from search.sampling.proposal import Sampler
from search.space import Space

_FILE = "forecast.json"


class Foretold:
    """Says what a run will take: by an earlier run if one trained the same, else by its own first epochs.

    Args:
        make_sampler: Of the space, for simulated searches.

    Attributes:
        told: The forecast with its time, once there is one.
    """

    def __init__(self, run: Run, make_sampler: Callable[[Space], Sampler], output: RichConsole) -> None:
        self._run, self._make_sampler, self._output = run, make_sampler, output
        self.told = kept_forecast(run.ledger)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="forecast")
        self._coming: Future[Forecast] | None = None

    def begin(self) -> None:
        """Print the ladder with the trials and epochs to come, and time and energy if they are known."""
        if self.told or self._run.space.ladder.joules:
            return  # a restart; or joules, whose rungs hold as many epochs as they turn out to
        costs = earlier_costs(self._run.space, self._run.ledger.folder.parent)
        told = forecast(self._run.space, costs, self._make_sampler)
        self._output.print(ladder_table(self._run.space, told))
        self._tell(told)

    def on_event(self, event: Event) -> None:
        """Tell the time when the first epochs have shown what they take; simulated beside the search."""
        if self.told or self._run.space.ladder.joules:
            return
        if self._coming is not None:
            if self._coming.done():
                self._tell(self._coming.result())
        elif event["event"] == "epoch":
            run = self._run
            costs = observed_costs(run.ledger.events(), run.space, run.ledger.folder)
            if costs is not None:
                self._coming = self._pool.submit(forecast, run.space, costs, self._make_sampler)

    def close(self) -> None:
        """Tell what is still being simulated: a short search may end first."""
        if self._coming is not None and not self.told:
            self._tell(self._coming.result())
        self._pool.shutdown()

    def _tell(self, told: Forecast) -> None:
        for line in forecast_lines(told):
            self._output.print(line, soft_wrap=True)
        if told.seconds is not None:
            self.told = told
            self._keep(told)

    def _keep(self, told: Forecast) -> None:
        try:
            self._run.ledger.write_json(_FILE, told.to_dict())
        except StorageError as error:
            text = f"warning: {error}; the run goes on, its end is not compared with the forecast"
            self._output.print(text, style="yellow", soft_wrap=True, markup=False)


def kept_forecast(ledger: Ledger) -> Forecast | None:
    """The forecast that a run was given; None if it had none."""
    file = ledger.folder / _FILE
    return Forecast.from_dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
