"""The joules of a training's epochs, which place it on a ladder of joules if they can be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.energy.reading import EnergyMeter, EnergyReading
from search.energy.usable import Part, unknown_reason, unusable_reason


@dataclass(frozen=True, kw_only=True)
class RungEnergy:
    """Joules of the epochs that led to a training's present state.

    Starts, waiting for a turn, and epochs that were lost with a worker and repeated are left out: a kill
    takes no trial nearer to a rung.

    Attributes:
        mj: Millijoules of its GPUs or, for a training without one, of CPU and memory; None if unknown.
        scope: The parts included: joules of different parts cannot be compared.
        unusable_reason: Why they cannot end a rung; empty if they can.
    """

    mj: int | None = 0
    scope: str = ""
    unusable_reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the journal and the checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RungEnergy:
        """Restore an object from the result of `to_dict`."""
        return cls(**plain)


class RungEnergyMeter:
    """Adds up the joules of epochs; each epoch runs inside it as a context manager.

    On a shared device joules are settled once a second, so up to a second of them may be counted towards the
    next epoch.

    Args:
        is_on_gpu: Whether the training runs on a GPU, whose joules are then the ones that count.
        before: What the training's epochs had used when it was saved.
    """

    def __init__(self, meter: EnergyMeter, *, is_on_gpu: bool, before: RungEnergy | None = None) -> None:
        self._meter = meter
        self._part: Part = "gpu" if is_on_gpu else "cpu"
        self._before = before or RungEnergy()
        self._since = EnergyReading()
        self.used = self._before

    def __enter__(self) -> None:
        """Begin an epoch."""
        self._since = self._meter.read()

    def __exit__(self, *exception: object) -> None:
        """End the epoch, and add what it used."""
        reading, so_far = self._meter.read() - self._since, self.used
        if self._part == "gpu":
            reading = EnergyReading(gpu_mj=reading.gpu_mj)
        else:
            reading = EnergyReading(cpu_mj=reading.cpu_mj, dram_mj=reading.dram_mj)
        mj, scope = reading.measured_mj, reading.scope
        if mj is None or so_far.mj is None:
            why = so_far.unusable_reason or unknown_reason(self._meter.sensors.reason, self._part)
            self.used = RungEnergy(mj=None, unusable_reason=why)
        elif so_far.scope not in ("", scope):
            self.used = RungEnergy(
                mj=None, unusable_reason=f"its joules cover {scope}, those before cover {so_far.scope}"
            )
        else:
            # This attempt's split may still become better as it continues; an earlier attempt's cannot.
            why = self._before.unusable_reason or unusable_reason(
                self._meter.sensors, is_on_gpu=self._part == "gpu"
            )
            self.used = RungEnergy(mj=so_far.mj + mj, scope=scope, unusable_reason=why)
