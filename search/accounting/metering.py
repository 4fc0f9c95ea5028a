"""What a run asks of the energy meters of its nodes, and whether this machine has what a space asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search.energy import EnergySources, EnergySummary, meter_for
from search.space import Space, SpaceError
from search.trial.rung_energy import unusable_reason


@dataclass(frozen=True, kw_only=True)
class ClosedWindow:
    """One attempt's account with the meter of its node, final.

    Attributes:
        name: The window's, as the rows of the attempt name it in their sources.
    """

    name: str
    figures: EnergySummary

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the journal: integer millijoules, and the columns that are no joules."""
        columns = self.figures.columns()
        plain = {
            name: value for name, value in columns.items() if not name.endswith("_j") and value is not None
        }
        return {
            "window": self.name,
            "end": self.figures.end,
            "seconds": round(self.figures.seconds, 3),
            "energy": self.figures.reading.to_dict(),
            "start_s": round(self.figures.start_s, 3),
            "start_energy": self.figures.start.to_dict(),
            "reason": self.figures.sources.reason,
            "columns": plain,
        }


class Metering(Protocol):
    """The meters of all nodes together."""

    def close_windows(self, trial_id: str) -> Sequence[ClosedWindow]:
        """End the trial's windows and give those that were not given before, ended by themselves or not.

        Windows of earlier calls whose answer was lost may be among them: `figures.trial` says whose one is.
        """
        ...

    def late_windows(self) -> Sequence[ClosedWindow]:
        """The windows of earlier calls whose answer was lost, as far as it is to be had now."""
        ...

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        """What each device has used since the session began: rows of devices.csv."""
        ...


class NoMetering:
    """For runs whose trials carry meters of their own, and for machines without a sensor."""

    def close_windows(self, trial_id: str) -> Sequence[ClosedWindow]:
        return ()

    def late_windows(self) -> Sequence[ClosedWindow]:
        return ()

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        return ()


def check_measurable(space: Space) -> None:
    """See that this machine has the sensors. On a cluster the first trial's first rung tells.

    Raises:
        SpaceError: It has not; the message lists every key that asks for them.
    """
    is_estimated = space.metering.cpu_watts_max is not None  # good enough to compare, not to end a rung
    is_cost_asked = space.cost is not None and not is_estimated
    if not is_cost_asked and not space.ladder.joules:
        return
    gpus = space.resources.gpus_per_trial
    sources = _sources(gpus)
    problems = []
    if is_cost_asked and not sources.scope:
        text = f"{space.cost} cannot be measured on this machine ({sources.reason}); leave it out"
        problems.append(f"search.objective: {text}")
    why = unusable_reason(sources, is_on_gpu=bool(sources.gpu_sensor if gpus is None else gpus))
    if space.ladder.joules and why:
        text = f"joules cannot end a rung on this machine: of a trial, {why}"
        problems.append(f"search.ladder.resource: {text}; or take epochs")
    if problems:
        raise SpaceError(space.name, problems)


def _sources(gpus: float | None) -> EnergySources:
    """What a trial alone on the machine would have."""
    meter = meter_for(gpus=1.0 if gpus is None or 0 < gpus < 1 else gpus, cpus=os.cpu_count() or 1)
    meter.read()
    sources = meter.sources
    meter.close()
    return sources
