"""The joules of one trial: what its rows report, and what its windows used beside them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from search.energy.reading import KINDS, EnergyReading
from search.energy.summary import EnergySummary
from search.ledger.settlement import Settlement
from search.trial import EpochRow


@dataclass
class TrialEnergy:
    """Adds up to the millijoule to what the meters gave the trial.

    A window is an attempt's account. While it is open its rows are all that is known; once it is closed its
    own figures are the truth, and what they have beyond the rows (the end of a killed attempt, the moment
    between the last row and the end) is a remainder. Starts are counted apart.

    Attributes:
        remainders: By window, the rung it ended in and the remainder.
        closed: The figures of each closed window, oldest first.
    """

    remainders: dict[str, tuple[int, EnergyReading]] = field(default_factory=dict)
    closed: dict[str, EnergySummary] = field(default_factory=dict)
    _of_rows: dict[str, EnergyReading] = field(default_factory=dict)
    _of_starts: dict[str, EnergyReading] = field(default_factory=dict)
    _windows_with_start: set[str] = field(default_factory=set)
    _settlements: dict[str, Settlement] = field(default_factory=dict, repr=False, compare=False)

    def book(self, row: EpochRow, rows: list[EpochRow]) -> EpochRow:
        """Add the row to `rows`, and to those before it what it brings for them; gives what it adds in all.

        A row whose window is closed adds nothing: it is in there already.
        """
        if row.start_s is not None:
            self._windows_with_start.add(row.window)
        if row.window in self.closed:
            row = replace(row, energy=EnergyReading(), start_energy=EnergyReading(), lag_s={})
            rows.append(row)
            return row
        self._of_rows[row.window] = self._of_rows.get(row.window, EnergyReading()) + row.energy
        self._of_starts[row.window] = self._of_starts.get(row.window, EnergyReading()) + row.start_energy
        if row.sensors or row.window not in self._settlements:  # an attempt's first row
            self._settlements[row.window] = Settlement()
        rows.append(row)
        self._settlements[row.window].add(rows)
        return row

    def close(self, summary: EnergySummary, rows: list[EpochRow]) -> tuple[EnergyReading, EnergyReading]:
        """Take in the account of a window that ended; gives its remainder, and that of its starts.

        Rows that waited for their joules get their share of the remainder.
        """
        window = summary.window
        remainder = _beyond(summary.reading, self._of_rows.get(window))
        self.closed[window] = summary
        settlement = self._settlements.pop(window, None) or Settlement()
        left = settlement.close(rows, remainder, summary.seconds)
        self.remainders[window] = (rows[-1].rung if rows else 0), left
        return remainder, _beyond(summary.start, self._of_starts.get(window))

    def end_own(self) -> None:
        """Drop the settlement of the trial's own meter: its account is never closed, and the next attempt has
        another."""
        self._settlements.pop("", None)

    @property
    def total(self) -> EnergyReading:
        """Everything but starts; the parts of the GPU's joules are those of the closed windows."""
        return EnergyReading.sum(self.by_window().values())

    @property
    def start_total(self) -> EnergyReading:
        """Of all starts."""
        return EnergyReading.sum(self.starts_by_window().values())

    @property
    def closed_s(self) -> float:
        """How long all closed windows were open, starts left out."""
        return float(sum(summary.seconds for summary in self.closed.values()))

    @property
    def start_s_without_rows(self) -> float:
        """Wall time of starts without a row: of attempts that ended before their first epoch did."""
        unseen = self.closed.keys() - self._windows_with_start
        return float(sum(self.closed[window].start_s for window in unseen))

    def by_window(self) -> dict[str, EnergyReading]:
        """What each attempt used; of one whose account was never closed, what its rows have."""
        return self._of_rows | {name: summary.reading for name, summary in self.closed.items()}

    def starts_by_window(self) -> dict[str, EnergyReading]:
        """The same for starts."""
        return self._of_starts | {name: summary.start for name, summary in self.closed.items()}

    @property
    def rungs(self) -> set[int]:
        """Those that have a remainder."""
        return {rung for rung, _ in self.remainders.values()}

    def at_rung(self, rung: int) -> EnergyReading:
        """The remainders that belong to `rung`."""
        return EnergyReading.sum(reading for at, reading in self.remainders.values() if at == rung)


def _beyond(total: EnergyReading, of_rows: EnergyReading | None) -> EnergyReading:
    """What is in `total` beyond the rows; a part that no row knew is there as a whole."""
    if of_rows is None:
        return total
    kinds = [kind for kind in KINDS if of_rows.part_mj(kind) is None]
    whole = EnergyReading.sum(total.only(kind) for kind in kinds)
    return (total - of_rows).without(kinds) + whole
