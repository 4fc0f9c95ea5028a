"""The joules of one trial: what its rows report, and what its leases used beside them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.energy import EnergyReading
from search.trial import EpochRow


@dataclass
class TrialEnergy:
    """Adds up to the millijoule to what the meters gave the trial.

    A lease is an attempt's account. While it is open its rows are all that is known; once it is closed its
    own figures are the truth, and what they have beyond the rows (a start that failed, the end of a killed
    attempt, the moment between the last row and the end) is a remainder.

    Attributes:
        remainders: By lease, the rung it ended in and the remainder.
        closed: The figures of each closed lease, oldest first.
    """

    remainders: dict[str, tuple[int, EnergyReading]] = field(default_factory=dict)
    closed: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _of_rows: dict[str, EnergyReading] = field(default_factory=dict)

    def row_energy(self, row: EpochRow) -> EnergyReading:
        """What the row adds: nothing if its lease is closed, for then it is in there already."""
        if row.lease in self.closed:
            return EnergyReading()
        self._of_rows[row.lease] = self._of_rows.get(row.lease, EnergyReading()) + row.energy
        return row.energy

    def close(self, event: Mapping[str, Any], rung: int) -> EnergyReading:
        """Take in the end of a lease; gives its remainder."""
        lease, total = event["lease"], EnergyReading(**event["energy"])
        of_rows = self._of_rows.get(lease)
        remainder = total if of_rows is None else total - of_rows
        self.closed[lease] = event
        self.remainders[lease] = rung, remainder
        return remainder

    @property
    def total(self) -> EnergyReading:
        """Everything together; the parts of the GPU's joules are those of the closed leases."""
        return EnergyReading.sum(self.by_lease().values())

    def by_lease(self) -> dict[str, EnergyReading]:
        """What each attempt used; of one whose account nobody closed, what its rows say."""
        closed = {name: EnergyReading(**event["energy"]) for name, event in self.closed.items()}
        return self._of_rows | closed

    @property
    def rungs(self) -> set[int]:
        """Those that have a remainder."""
        return {rung for rung, _ in self.remainders.values()}

    def at_rung(self, rung: int) -> EnergyReading:
        """The remainders that belong to `rung`."""
        return EnergyReading.sum(reading for at, reading in self.remainders.values() if at == rung)
