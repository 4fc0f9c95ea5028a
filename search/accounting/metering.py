"""What a run asks of the energy meters of its nodes, and whether this machine has what a space asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from search.energy.process_meter import meter_for
from search.energy.reading import EnergySensors, EnergySummary
from search.energy.usable import unusable_reason
from search.space import Space, SpaceError


class Metering(Protocol):
    """The meters of all nodes together."""

    def close_windows(self, trial_id: str) -> Sequence[EnergySummary]:
        """End the trial's windows and give those that were not given before, ended by themselves or not.

        Windows of earlier calls whose answer was lost may be among them: `trial` names the owner.
        """
        ...

    def late_windows(self) -> Sequence[EnergySummary]:
        """The windows of earlier calls whose answer was lost, as far as it is to be had now."""
        ...

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        """What each device has used since the session began: rows of devices.csv."""
        ...


class NoMetering:
    """For runs whose trials carry meters of their own, and for machines without a sensor."""

    def close_windows(self, trial_id: str) -> Sequence[EnergySummary]:
        return ()

    def late_windows(self) -> Sequence[EnergySummary]:
        return ()

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        return ()


def check_measurable(space: Space) -> None:
    """Check that this machine has the sensors. On a cluster the first trial's first rung shows it.

    Raises:
        SpaceError: It has not; the message lists every key that asks for them.
    """
    is_estimated = space.metering.cpu_watts_max is not None  # good enough to compare, not to end a rung
    is_cost_asked = space.cost is not None and not is_estimated
    if not is_cost_asked and not space.ladder.joules:
        return
    gpus = space.resources.gpus_per_trial
    sensors = _sensors(gpus)
    problems = []
    if is_cost_asked and not sensors.scope:
        text = f"{space.cost} cannot be measured on this machine ({sensors.reason}); leave it out"
        problems.append(f"search.objective: {text}")
    why = unusable_reason(sensors, is_on_gpu=bool(sensors.gpu_sensor if gpus is None else gpus))
    if space.ladder.joules and why:
        text = f"joules cannot end a rung on this machine: of a trial, {why}"
        problems.append(f"search.ladder.resource: {text}; or take epochs")
    if problems:
        raise SpaceError(space.name, problems)


def _sensors(gpus: float | None) -> EnergySensors:
    """What a trial alone on the machine would have."""
    meter = meter_for(gpus=1.0 if gpus is None or 0 < gpus < 1 else gpus, cpus=os.cpu_count() or 1)
    meter.read()
    sensors = meter.sensors
    meter.close()
    return sensors
