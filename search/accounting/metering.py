"""What a run asks of its nodes' energy meters. Whoever executes trials provides them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search.energy import LeaseFigures


@dataclass(frozen=True, kw_only=True)
class ClosedLease:
    """One attempt's account with the meter of its node, final.

    Attributes:
        name: The lease's, as the rows of the attempt name it in their sources.
    """

    name: str
    figures: LeaseFigures

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the journal: integer millijoules, and the columns that are no joules."""
        columns = self.figures.columns()
        plain = {
            name: value for name, value in columns.items() if not name.endswith("_j") and value is not None
        }
        return {
            "lease": self.name,
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

    def close_leases(self, trial_id: str) -> Sequence[ClosedLease]:
        """End the trial's leases and give those that were not given before, ended by themselves or not.

        Leases of earlier calls whose answer was lost may be among them: `figures.trial` says whose one is.
        """
        ...

    def late_leases(self) -> Sequence[ClosedLease]:
        """The leases of earlier calls whose answer was lost, as far as it is to be had now."""
        ...

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        """What each device has used since the session began: rows of devices.csv."""
        ...


class NoMetering:
    """For runs whose trials carry meters of their own, and for machines without a sensor."""

    def close_leases(self, trial_id: str) -> Sequence[ClosedLease]:
        return ()

    def late_leases(self) -> Sequence[ClosedLease]:
        return ()

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        return ()
