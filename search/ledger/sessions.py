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
    """One process's work on a run, from its first event to its last.

    Attributes:
        elapsed_s: How long it lasted, up to its latest event, by a monotonic clock.
        devices: What each device had used at the latest reading: rows of devices.csv.
        auto_precision: What the precision "auto" meant on its CPUs, with the reason; empty without a choice.
        batch_sizes: What batch_size "auto" meant, by model, with the reason.
        portfolio: The points that the search begins with after the default configuration, as plain data; None
            without a portfolio.
        is_closed: The latest reading came after the last trial's end; False if the session was killed.
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
        """Apply an event of the journal, of any kind."""
        if event["event"] == "session_started":
            choices = {name: event[name] for name in _CHOICES if name in event}
            self.all.append(RunSession(**choices))
        if not self.all:
            return
        # The largest, because the next session writes what a kill left undone, and resumes interrupted
        # trials, before its own first event: the seconds of these events are of its clock.
        self.all[-1].elapsed_s = max(self.all[-1].elapsed_s, event.get("elapsed_s", 0.0))
        if event["event"] == "devices_read":
            self.all[-1].devices, self.all[-1].is_closed = event["rows"], event["is_final"]

    @property
    def earlier_s(self) -> float:
        """How long the sessions before the present one lasted."""
        return sum(session.elapsed_s for session in self.all[:-1])

    @property
    def learnt_w(self) -> dict[str, dict[str, float]]:
        """The watts that the meters learnt, by GPU model and kind of work; the latest of each."""
        learnt: dict[str, dict[str, float]] = {}
        for session in self.all:
            for row in session.devices:
                learnt.setdefault(row.get("gpu_model", ""), {}).update(row.get("learnt_w", {}))
        return {model: watts for model, watts in learnt.items() if model and watts}

    @property
    def auto_precision(self) -> str:
        """The choice of the first session that made one, kept so that all trials can be compared."""
        return next((session.auto_precision for session in self.all if session.auto_precision), "")

    @property
    def batch_sizes(self) -> dict[str, str]:
        """For each model, the choice of the first session that made one."""
        return {model: text for session in reversed(self.all) for model, text in session.batch_sizes.items()}

    @property
    def portfolio(self) -> Sequence[Mapping[str, Any]] | None:
        """The points of the first session that had a portfolio; None if none had."""
        return next((each.portfolio for each in self.all if each.portfolio is not None), None)

    def choices(
        self,
        *,
        auto_precision: str,
        batch_sizes: Mapping[str, str],
        portfolio: Sequence[Mapping[str, Any]] | None,
    ) -> dict[str, Any]:
        """The choices for the first event of a further session: what an earlier session chose stays.

        Args:
            auto_precision: Empty without a choice; `batch_sizes` likewise.
            portfolio: The space's own, which in a resumed run is already the earlier one. It may be empty.
        """
        found = {
            "auto_precision": self.auto_precision or auto_precision,
            "batch_sizes": {**batch_sizes, **self.batch_sizes},
            "portfolio": portfolio,
        }
        return {name: value for name, value in found.items() if value not in ("", {}, None)}

    @property
    def beside_mj(self) -> int:
        """Millijoules that all devices used for the run beside its trials, as far as they were read."""
        return sum(beside_trials_mj(row) for session in self.all for row in session.devices)


def millijoules(row: DeviceRow, column: str) -> int:
    """A column of joules as the whole number of millijoules that it was made from.

    A column that did not exist yet when the row was written counts as 0.
    """
    return to_millijoules(float(row.get(column, 0)))


def beside_trials_mj(row: DeviceRow) -> int:
    """What a device used idling and for the background load: the run's, but no trial's."""
    return millijoules(row, "energy_idle_j") + millijoules(row, "energy_background_j")
