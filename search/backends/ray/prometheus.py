"""A run as gauges of Ray's metrics endpoint: watts, joules, kWh against the limit, best score, trials.

They are for a cluster's existing dashboards; `dashboards/` has one for Grafana. Nothing in the run depends on
them. Each update adds up all trials, so updates become rarer as trials increase.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

from ray.util.metrics import Gauge

from search.accounting.spending import DeviceWatts, outcome_millijoules
from search.energy.units import to_joules
from search.ledger.history import Status
from search.run import Run

_EVERY_S = 1.0
_COST_FACTOR = 50.0  # at most 2 % of the driver's time: adding up 5,000 trials takes about 0.1 s
GAUGES = {
    "device_watts": ("Mean power since the gauge before", ("node", "device")),
    "energy_joules": ("Joules by outcome, as the last screen of a run has them", ("outcome",)),
    "running_trial_joules": ("Joules of a trial that runs", ("trial",)),
    "used_kwh": ("What the run has used of its limit on energy", ()),
    "limit_kwh": ("The limit on energy, if there is one", ()),
    "best": ("The best trial's value, or the mean over its repeats", ("metric",)),
    "trials": ("Trials by status", ("status",)),
}


class RunGauges:
    """Shows a run under `ray_jouletune_...`.

    Ray exports every 10 s, and drops what was not set since. Only running trials have series of their own, so
    there are never more of these than slots.

    Args:
        make_gauge: Called with name, description and tags.
    """

    def __init__(
        self,
        run: Run,
        *,
        clock: Callable[[], float] = time.monotonic,
        make_gauge: Callable[..., Any] = Gauge,
    ) -> None:
        self._run, self._clock = run, clock
        self._gauges = {
            name: make_gauge(f"jouletune_{name}", description=text, tag_keys=tags)
            for name, (text, tags) in GAUGES.items()
        }
        self._due_s = float("-inf")
        self._watts = DeviceWatts()

    def update(self) -> None:
        """Set the gauges if an update is due."""
        started_s = self._clock()
        if started_s < self._due_s:
            return
        self._show_devices()
        self._show_energy()
        self._show_trials()
        ended_s = self._clock()
        self._due_s = started_s + max(_EVERY_S, _COST_FACTOR * (ended_s - started_s))

    def _show_devices(self) -> None:
        self._watts.on_reading(*self._run.read_devices())
        for (node, device), watts in self._watts.now.items():
            self._set("device_watts", watts, node=node, device=device)

    def _show_energy(self) -> None:
        for outcome, mj in outcome_millijoules(self._run.history, self._run.read_devices()[1]).items():
            self._set("energy_joules", to_joules(mj), outcome=outcome)
        for trial in self._run.history.running():
            if (trial_mj := trial.energy.total_mj) is not None:
                self._set("running_trial_joules", to_joules(trial_mj), trial=trial.trial_id)
        self._set("used_kwh", self._run.spent.kwh)
        self._set("limit_kwh", self._run.space.limits.most_kwh)

    def _show_trials(self) -> None:
        statuses = Counter(trial.status for trial in self._run.history.trials.values())
        for status in get_args(Status):
            self._set("trials", statuses[status], status=status)
        for best in self._run.ranking.configurations()[:1]:
            self._set("best", best.mean, metric=self._run.space.metric)

    def _set(self, name: str, value: float | None, **tags: str) -> None:
        """Set a gauge, unless its value is unknown."""
        if value is not None:
            self._gauges[name].set(value, tags=tags)
