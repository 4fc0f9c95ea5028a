"""The sessions of a run: how long each lasted, and what its devices used. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.energy.units import to_millijoules

DeviceRow = Mapping[str, Any]
_CHOICES = ("auto_precision", "batch_sizes", "portfolio")  # of a session, in its first event


@dataclass
class RunSession:
    """One process's life on a run, from its first event to its last.

    Attributes:
        elapsed_s: How long it lasted, until its latest event, by a clock that cannot be set.
        devices: What each device had used at the latest reading: rows of devices.csv.
        auto_precision: What the precision "auto" meant on its CPUs, with the reason; empty without a choice.
        batch_sizes: What batch_size "auto" meant, by model, with the reason.
        portfolio: The points that the search begins with after the default configuration, as plain data; None
            without a portfolio.
        is_closed: That reading came after the last trial's end; not so if the session was killed.
    """

    elapsed_s: float = 0.0
    devices: Sequence[DeviceRow] = ()
    auto_precision: str = ""
    batch_sizes: Mapping[str, str] = field(default_factory=dict)
    portfolio: Sequence[Mapping[str, Any]] | None = None
    is_closed: bool = False


@dataclass
class RunSessions:
    """All sessions, the present one last. Nothing runs between two of them."""

    all: list[RunSession] = field(default_factory=list)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take in any event of the journal."""
        if event["event"] == "session_started":
            choices = {name: event[name] for name in _CHOICES if name in event}
            self.all.append(RunSession(**choices))
        if not self.all:
            return
        self.all[-1].elapsed_s = event.get("elapsed_s", self.all[-1].elapsed_s)
        if event["event"] == "devices_read":
            self.all[-1].devices, self.all[-1].is_closed = event["rows"], event["is_final"]

    @property
    def earlier_s(self) -> float:
        """How long the sessions before the present one lasted."""
        return sum(session.elapsed_s for session in self.all[:-1])

    @property
    def learnt_w(self) -> dict[str, dict[str, float]]:
        """By model of GPU and kind of work, the watts that the meters learnt; the latest of each."""
        learnt: dict[str, dict[str, float]] = {}
        for session in self.all:
            for row in session.devices:
                learnt.setdefault(row.get("gpu_model", ""), {}).update(row.get("learnt_w", {}))
        return {model: watts for model, watts in learnt.items() if model and watts}

    @property
    def auto_precision(self) -> str:
        """What the first session chose: its trials and those that come compare."""
        return next((session.auto_precision for session in self.all if session.auto_precision), "")

    @property
    def batch_sizes(self) -> dict[str, str]:
        """By model what the first session chose that had to."""
        return {model: text for session in reversed(self.all) for model, text in session.batch_sizes.items()}

    @property
    def portfolio(self) -> Sequence[Mapping[str, Any]] | None:
        """The points that the first session chose; None where it chose none."""
        return next((each.portfolio for each in self.all if each.portfolio is not None), None)

    def choices(
        self,
        *,
        auto_precision: str,
        batch_sizes: Mapping[str, str],
        portfolio: Sequence[Mapping[str, Any]] | None,
    ) -> dict[str, Any]:
        """The choices for the first event of a further session: what an earlier one chose stays.

        Args:
            auto_precision: Empty without a choice; `batch_sizes` likewise.
            portfolio: The space's: of a run that is resumed it is the earlier one already. It may be empty.
        """
        found = {
            "auto_precision": self.auto_precision or auto_precision,
            "batch_sizes": {**batch_sizes, **self.batch_sizes},
            "portfolio": portfolio,
        }
        return {name: value for name, value in found.items() if value not in ("", {}, None)}

    @property
    def beside_mj(self) -> int:
        """What all devices used for the run beside its trials, as far as it was read."""
        return sum(beside_trials_mj(row) for session in self.all for row in session.devices)


def millijoules(row: DeviceRow, column: str) -> int:
    """A column of joules as the whole number of millijoules that it was made of.

    A column that was not there yet when the row was written had nothing in it.
    """
    return to_millijoules(float(row.get(column, 0)))


def beside_trials_mj(row: DeviceRow) -> int:
    """What a device used idling and for the background load: the run's, but no trial's."""
    return millijoules(row, "energy_idle_j") + millijoules(row, "energy_background_j")
