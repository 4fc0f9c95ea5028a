"""The energy a run has used so far: what its trials reported, and what the meters know beyond that.

A limit on energy counts what devices used, not what trials reported: an epoch may take an hour, and idle
seconds between trials use energy too. The meters are therefore read every second, and what they know beyond
the trials' rows counts immediately. When those rows arrive they are not added a second time: see `spent_j`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from search.accounting.unreported import lost_mj
from search.energy.reading import EnergySummary
from search.energy.units import to_joules
from search.ledger.history import History
from search.ledger.sessions import DeviceRow, beside_trials_mj, millijoules
from search.tariff import JOULES_PER_KWH
from search.trial.background import BACKGROUND_ID

_POLL_S = 1.0  # as often as the meters sample
_KEEP_S = 60.0  # a kill loses at most this much of what the devices used, and of the time


class Metering(Protocol):
    """The meters of all nodes together."""

    def close_windows(self, trial_id: str) -> Sequence[EnergySummary]:
        """End the trial's windows and return the summaries not returned before, including of ended windows.

        They may include windows of other trials from earlier calls whose answer was lost; `trial` names the
        owner.
        """
        ...

    def late_windows(self) -> Sequence[EnergySummary]:
        """Return the windows of earlier calls whose answer was lost, as far as available by now."""
        ...

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        """Return what each device has used since the session began: rows of devices.csv."""
        ...


class NoMetering:
    """For runs whose trials have meters of their own, and for machines without a sensor."""

    def close_windows(self, trial_id: str) -> Sequence[EnergySummary]:
        return ()

    def late_windows(self) -> Sequence[EnergySummary]:
        return ()

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        return ()


class EnergyAccount:
    """Reads the meters at most once a second, adds up, and records what would otherwise be lost.

    Args:
        record: Adds a line to the journal, given its kind, its trial, and further fields as keywords.
        clock: Monotonic seconds.
    """

    def __init__(self, metering: Metering, record: Callable[..., None], clock: Callable[[], float]) -> None:
        self._metering, self._record, self._clock = metering, record, clock
        self._rows: Sequence[DeviceRow] = ()
        self._polled_s = self._kept_s = self._opened_s = float("-inf")
        self._earlier_mj = self._earlier_beside_mj = self._earlier_lost_mj = 0

    def begin(self, history: History) -> None:
        """Remember what earlier sessions used; the present one has begun, and has read no meter yet."""
        self._earlier_mj = history.reported_mj or 0
        self._earlier_beside_mj = history.sessions.beside_mj
        self._earlier_lost_mj = lost_mj(history)

    def open_devices(self) -> None:
        """Record which devices the session has.

        A session that is killed before it records what they used then shows as one that was not closed,
        rather than as one without devices.
        """
        self.refresh()
        self._record_devices(is_final=False)
        self._opened_s = self._clock()

    def close_windows(self, trial_id: str) -> None:
        """End the account of a trial, or of the background workload."""
        self._record_windows(self._metering.close_windows(trial_id))

    def end(self) -> None:
        """Record what is still outstanding: late answers, and what the devices used."""
        self._record_windows(self._metering.late_windows())
        self._rows = self._metering.device_rows()
        self._keep_devices(is_final=True)

    def on_epoch(self) -> None:
        """Read the meters, and record the devices' rows if due."""
        self.refresh()
        if self._clock() - self._kept_s >= _KEEP_S:
            self._keep_devices(is_final=False)

    def keep_if_due(self) -> None:
        """Record the devices' rows, if they have not been for a minute: an epoch may take hours.

        Without devices the line still says how long the session has lasted by now.
        """
        if self._clock() - max(self._kept_s, self._opened_s) >= _KEEP_S:
            self.refresh()
            self._kept_s = self._clock()
            self._record("devices_read", None, rows=[dict(row) for row in self._rows], is_final=False)

    def refresh(self) -> None:
        """Read the meters, unless they were read within the last second."""
        if self._clock() - self._polled_s >= _POLL_S:
            self._rows = self._metering.device_rows()
            self._polled_s = self._clock()

    def read(self) -> tuple[float, Sequence[DeviceRow]]:
        """Return when the devices' rows of this session were read, and these rows, at most a second old."""
        self.refresh()
        return self._polled_s, self._rows

    def spent_j(self, history: History) -> float | None:
        """Return the joules of trials, background and idle devices of all sessions, without others' use.

        For this session the devices know what trials have used by now, and the journal what they reported;
        the larger of the two counts. For earlier sessions only the journal is left, with the joules of
        epochs whose rows a kill kept from it: their devices' last reading has them.
        """
        reported_mj = history.reported_mj
        if reported_mj is None and not (self._rows or self._earlier_beside_mj or self._earlier_lost_mj):
            return None
        reported_mj = reported_mj or 0
        columns = ("energy_trials_j", "energy_starts_j")
        known_mj = sum(millijoules(row, column) for row in self._rows for column in columns)
        # A resumed trial may report an epoch of an earlier session: it is then lost no longer.
        unreported_mj = max(0, self._earlier_lost_mj + known_mj - (reported_mj - self._earlier_mj))
        beside_mj = sum(map(beside_trials_mj, self._rows)) + self._earlier_beside_mj
        return to_joules(reported_mj + unreported_mj + beside_mj)

    def would_overspend(self, limit_kwh: float, history: History, num_training: int) -> bool:
        """Whether the epochs in progress may use up the limit, so that nothing else should start."""
        spent_j = self.spent_j(history)
        if spent_j is None or not num_training:
            return False
        return spent_j + num_training * history.epoch_j >= limit_kwh * JOULES_PER_KWH

    def _record_windows(self, windows: Sequence[EnergySummary]) -> None:
        """Record the accounts of attempts, and those of the background workload, which belong to no trial."""
        for window in windows:
            if window.trial == BACKGROUND_ID:
                self._record("background_ended", None, **window.to_dict())
            else:
                self._record("window_closed", window.trial, **window.to_dict())

    def _keep_devices(self, *, is_final: bool) -> None:
        self._kept_s = self._clock()
        self._record_devices(is_final=is_final)

    def _record_devices(self, *, is_final: bool) -> None:
        """Record what each device has used since the session began; the latest record of a session counts."""
        if self._rows:
            self._record("devices_read", None, rows=[dict(row) for row in self._rows], is_final=is_final)
