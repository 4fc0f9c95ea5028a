"""Track how much of each device's memory trials hold, and which device has room for another. Pure.

The usable memory of a device, 90 % of it, is divided into fiftieths. Whole numbers of parts add up exactly,
and trials of about the same need get the same share, so that one can take over another's warm worker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from search.backends.memory_need import MemoryNeed
from search.trial.task import MemoryShare

USABLE = 0.9  # fraction of a device for trials; drivers, allocators and other programs have the rest
NUM_PARTS = 50


@dataclass(frozen=True, kw_only=True)
class NodeMemory:
    """What trials may use of one node.

    Attributes:
        devices_mib: Usable memory of each GPU; for trials on the CPU, that of the node as a single device.
    """

    num_cpus: int
    devices_mib: Sequence[float]
    is_of_gpus: bool = False


@dataclass
class _Node:
    free_cores: Fraction


@dataclass
class _Device:
    node: _Node
    mib: float
    free_parts: int = NUM_PARTS
    held: dict[str, tuple[int, Fraction]] = field(default_factory=dict)

    def parts_for(self, need: MemoryNeed | None) -> int:
        """Return the parts for this need: all of them if it is unknown or exceeds the device."""
        parts = NUM_PARTS if need is None else math.ceil(round(need.mib * NUM_PARTS / self.mib, 6))
        return max(1, min(NUM_PARTS, parts))


class Room:
    """The devices of all nodes, and what trials hold of them.

    Args:
        is_own: Whether no other program asks Ray for any of them. For a single device, the counts here then
            decide alone: a share can change in place, and any warm worker can take any trial.
    """

    def __init__(self, nodes: Iterable[NodeMemory], *, is_own: bool = False) -> None:
        self._devices: list[_Device] = []
        for node in nodes:
            cores = _Node(Fraction(node.num_cpus))
            self._devices += [_Device(cores, mib) for mib in node.devices_mib if mib > 0]
        self._is_flexible = is_own and len(self._devices) == 1

    @property
    def devices_mib(self) -> list[float]:
        return [device.mib for device in self._devices]

    @property
    def num_held(self) -> int:
        """Number of trials that have a place."""
        return sum(len(device.held) for device in self._devices)

    def place(self, trial_id: str, *, cpus: float, need: MemoryNeed | None) -> MemoryShare | None:
        """Give the trial a share of the device with the least left over; return None if none has room.

        Args:
            need: If None, the trial gets a whole device, on which it can be measured.
        """
        cores = Fraction(str(cpus))
        fitting = [
            device
            for device in self._devices
            if device.node.free_cores >= cores and device.free_parts >= device.parts_for(need)
        ]
        if not fitting:
            return None
        best = min(fitting, key=lambda device: (device.free_parts - device.parts_for(need), -device.mib))
        parts = best.parts_for(need)
        best.held[trial_id] = parts, cores
        best.free_parts -= parts
        best.node.free_cores -= cores
        return self._share(best, parts, need)

    def resize(self, trial_id: str, need: MemoryNeed) -> MemoryShare | None:
        """Change the trial's share of its device; return None if that is not possible."""
        device = next((device for device in self._devices if trial_id in device.held), None)
        if device is None or not self._is_flexible:
            return None
        (had, cores), parts = device.held[trial_id], device.parts_for(need)
        if parts - had > device.free_parts:
            return None
        device.held[trial_id] = parts, cores
        device.free_parts += had - parts
        return self._share(device, parts, need)

    def _share(self, device: _Device, parts: int, need: MemoryNeed | None) -> MemoryShare:
        return MemoryShare(
            mib=device.mib * parts / NUM_PARTS,
            fraction=parts / NUM_PARTS,
            reserved_fraction=(1 if self._is_flexible else parts) / NUM_PARTS,
            is_known=need is not None and need.is_measured,
        )

    def leave(self, trial_id: str) -> None:
        """Free what the trial held; does nothing if it had no place."""
        for device in self._devices:
            parts, cores = device.held.pop(trial_id, (0, Fraction(0)))
            device.free_parts += parts
            device.node.free_cores += cores

    def has_room_for(self, idle: Iterable[tuple[float, MemoryShare]]) -> bool:
        """Return whether idle warm workers, which hold cores and memory, can be kept beside the trials.

        Known only for a single device, because Ray chooses where workers are.
        """
        if len(self._devices) != 1:
            return not list(idle)
        device, kept = self._devices[0], list(idle)
        parts = sum(round(share.fraction * NUM_PARTS) for _, share in kept)
        cores = sum((Fraction(str(cpus)) for cpus, _ in kept), Fraction(0))
        return device.free_parts >= parts and device.node.free_cores >= cores
