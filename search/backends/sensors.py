"""Whether this machine measures energy at all, before meters are started on it."""

from __future__ import annotations

import os
from collections.abc import Callable

from search.accounting.metering import Metering, NoMetering
from search.backends.errors import SessionError
from search.energy.gpus import visible_gpus
from search.energy.node import CpuWatts, open_node_meter
from search.energy.process_meter import meter_for
from search.space import Space


def start_metering_if_measurable(
    space: Space, start: Callable[[CpuWatts | None], Metering], *, is_here: bool
) -> tuple[Metering, str]:
    """The meters that `start` opens, and what cannot be measured, in words; empty if all is well.

    None is opened where this machine is all there is and has no sensor.

    Args:
        start: Opens them, given the watts of the CPUs that the space states.
        is_here: All trials run on this machine. Of the nodes of a cluster nothing is known beforehand.

    Raises:
        SessionError: The only limit of the search is on energy, and nothing measures it.
    """
    settings = space.metering
    idle_w, max_w = settings.cpu_watts_idle, settings.cpu_watts_max
    cpu_watts = None if idle_w is None or max_w is None else CpuWatts(idle_w=idle_w, max_w=max_w)
    if not is_here or _has_sensor(cpu_watts):
        return start(cpu_watts), ""
    if space.limits.kwh is None:
        return NoMetering(), ""
    reason = _no_sensor_reason()
    if space.limits.trials is None and space.limits.hours is None and not space.is_listed:
        raise SessionError(f"search.limits.kwh is the only limit, and nothing measures energy here: {reason}")
    return NoMetering(), f"search.limits.kwh cannot be held, nothing measures energy here: {reason}"


def _no_sensor_reason() -> str:
    meter = meter_for(gpus=1, cpus=1)
    reason = meter.sensors.reason
    meter.close()
    return reason


def _has_sensor(cpu_watts: CpuWatts | None) -> bool:
    """Whether a node meter has any device; one is opened and closed to see, as drivers lie about less."""
    probe = open_node_meter(visible_gpus(os.environ).uuids, cpu_watts=cpu_watts, interval_s=None)
    has_sensor = bool(probe.device_rows())
    probe.close()
    return has_sensor
