"""What a training costs in joules: counters, the meter over them, and what the numbers are worth."""

from __future__ import annotations

from search.energy.counters import Counter, SensorError
from search.energy.figures import LeaseFigures
from search.energy.gpus import VisibleGpus, visible_gpu_uuids, visible_gpus
from search.energy.hardware import describe_devices
from search.energy.leased import LeasedMeter, meter_for, open_meter
from search.energy.meter import NodeMeter
from search.energy.node import CpuWatts, Surroundings, open_node_meter
from search.energy.reading import EnergyMeter, EnergyReading, EnergySources

__all__ = [
    "Counter",
    "CpuWatts",
    "EnergyMeter",
    "EnergyReading",
    "EnergySources",
    "LeaseFigures",
    "LeasedMeter",
    "NodeMeter",
    "SensorError",
    "Surroundings",
    "VisibleGpus",
    "describe_devices",
    "meter_for",
    "open_meter",
    "open_node_meter",
    "visible_gpu_uuids",
    "visible_gpus",
]
