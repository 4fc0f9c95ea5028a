"""What a training costs in joules: counters, the meter over them, and what the numbers are worth.

Each name loads its module when it is first used: most of the program reads figures and opens no meter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.energy.counters.counter import Counter, SensorError
    from search.energy.gpus import VisibleGpus, visible_gpu_uuids, visible_gpus
    from search.energy.hardware import describe_devices
    from search.energy.meter import NodeMeter
    from search.energy.node import CpuWatts, NodePaths, open_node_meter
    from search.energy.process_meter import ProcessMeter, meter_for, open_meter
    from search.energy.reading import EnergyMeter, EnergyReading, EnergySources
    from search.energy.summary import EnergySummary

_HOMES = {
    "Counter": "counters.counter",
    "CpuWatts": "node",
    "EnergyMeter": "reading",
    "EnergyReading": "reading",
    "EnergySources": "reading",
    "EnergySummary": "summary",
    "ProcessMeter": "process_meter",
    "NodeMeter": "meter",
    "SensorError": "counters.counter",
    "NodePaths": "node",
    "VisibleGpus": "gpus",
    "describe_devices": "hardware",
    "meter_for": "process_meter",
    "open_meter": "process_meter",
    "open_node_meter": "node",
    "visible_gpu_uuids": "gpus",
    "visible_gpus": "gpus",
}
__all__ = [
    "Counter",
    "CpuWatts",
    "EnergyMeter",
    "EnergyReading",
    "EnergySources",
    "EnergySummary",
    "NodeMeter",
    "NodePaths",
    "ProcessMeter",
    "SensorError",
    "VisibleGpus",
    "describe_devices",
    "meter_for",
    "open_meter",
    "open_node_meter",
    "visible_gpu_uuids",
    "visible_gpus",
]


def __getattr__(name: str) -> Any:
    """The name from its module; see PEP 562."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(import_module(f"{__name__}.{_HOMES[name]}"), name))
