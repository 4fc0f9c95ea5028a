"""Check whether this machine measures what a space needs, before meters are started on it."""

from __future__ import annotations

import os
from collections.abc import Callable

from search.accounting.account import Metering, NoMetering
from search.backends.errors import SessionError
from search.energy.gpus import visible_gpus
from search.energy.node import CpuPower, CpuTdp, CpuWatts, open_node_meter
from search.energy.process_meter import meter_for
from search.energy.reading import EnergySensors
from search.energy.usable import unusable_reason
from search.space import Space, SpaceError
from search.space.limits import MeteringSection


def start_metering_if_measurable(
    space: Space, start: Callable[[CpuPower | None], Metering], *, is_here: bool
) -> tuple[Metering, str]:
    """Return the meters that `start` opens, and what cannot be measured, in words; empty if all is well.

    None are opened if all trials run on this machine and it has no sensor.

    Args:
        start: Opens the meters, given what the space states about the CPUs' power.
        is_here: Whether all trials run on this machine. Nothing is known beforehand about a cluster's nodes.

    Raises:
        SessionError: The only limits of the search are on energy, and nothing measures it.
    """
    power = cpu_power(space.metering)
    kinds = _kinds_of_device(power) if is_here else {""}
    if kinds:
        return start(power), _estimate_warning(space) if "estimated" in kinds else ""
    limits = " and ".join(limit.key for limit in space.limits.of_energy)
    if not limits:
        return NoMetering(), ""
    reason = _no_sensor_reason()
    if space.limits.trials is None and space.limits.hours is None and not space.is_listed:
        raise SessionError(f"{limits} is the only limit, but nothing measures energy here: {reason}")
    return NoMetering(), f"{limits} cannot be enforced, as nothing measures energy here: {reason}"


def cpu_power(stated: MeteringSection) -> CpuPower | None:
    """Return what a space states about its nodes' CPU power; None if it states nothing."""
    if stated.cpu_tdp_w is not None:
        return CpuTdp(tdp_w=stated.cpu_tdp_w, threads=stated.cpu_tdp_threads)
    idle_w, max_w = stated.cpu_watts_idle, stated.cpu_watts_max
    return None if idle_w is None or max_w is None else CpuWatts(idle_w=idle_w, max_w=max_w)


def _estimate_warning(space: Space) -> str:
    """Return a warning that estimated joules decide, and what; empty if they decide nothing."""
    deciding = [limit.key for limit in space.limits.of_energy]
    if space.joules_objective:
        deciding.append(f"the objective {space.joules_objective}")
    if not deciding:
        return ""
    return (
        f"{' and '.join(deciding)}: the CPU's joules are estimated (quality E) from "
        f"{space.metering.cpu_power_key}, as no sensor measures them"
    )


def _no_sensor_reason() -> str:
    meter = meter_for(gpus=1, cpus=1)
    reason = meter.sensors.reason
    meter.close()
    return reason


def _kinds_of_device(power: CpuPower | None) -> set[str]:
    """Return the kinds of devices that a node meter has.

    A meter is opened and closed to find out, which is more reliable than what drivers claim to support.
    """
    probe = open_node_meter(visible_gpus(os.environ).uuids, cpu_power=power, interval_s=None)
    kinds = {str(row["kind"]) for row in probe.device_rows()}
    probe.close()
    return kinds


def check_measurable(space: Space) -> None:
    """Check that this machine has the sensors. On a cluster, the first trial's first rung will show it.

    Raises:
        SpaceError: A sensor is missing; the message lists every key that needs it.
    """
    is_estimated = bool(space.metering.cpu_power_key)  # good enough to compare, not to end a rung
    is_cost_asked = space.joules_objective is not None and not is_estimated
    if not is_cost_asked and not space.ladder.joules:
        return
    gpus = space.resources.gpus_per_trial
    sensors = _sensors_of_lone_trial(gpus)
    problems = []
    if is_cost_asked and not sensors.scope:
        text = f"{space.joules_objective} cannot be measured on this machine ({sensors.reason}); leave it out"
        problems.append(f"search.objective: {text}")
    why = unusable_reason(sensors, is_on_gpu=bool(sensors.gpu_sensor if gpus is None else gpus))
    if space.ladder.joules and why:
        text = f"joules cannot end a rung on this machine: for a trial, {why}"
        problems.append(f"search.ladder.resource: {text}; use epochs")
    if problems:
        raise SpaceError(space.name, problems)


def _sensors_of_lone_trial(gpus: float | None) -> EnergySensors:
    """Return the sensors that a trial alone on this machine would have."""
    meter = meter_for(gpus=1.0 if gpus is None or 0 < gpus < 1 else gpus, cpus=os.cpu_count() or 1)
    meter.read()
    sensors = meter.sensors
    meter.close()
    return sensors
