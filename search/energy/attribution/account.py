"""The ledger of one device: each millijoule of its counter is a window's, external, idle or unaccounted.

Three things happen at different rates:

- The counter is sampled every second and whenever the windows change.
- Who uses the device is observed every second on a GPU, every five seconds on CPUs.
- What the counter moved is settled, that is, split among the windows by what was observed meanwhile: every
  five seconds if windows share the device, at each sample if one window has all of it, since that split
  needs no utilisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from search.energy.attribution.activity import Activity, ActivitySource
from search.energy.attribution.learning import SHORTEST_S, KnownWatts, Watch
from search.energy.attribution.tick import Tick, Usage, split
from search.energy.attribution.windows import Window, WindowRecord
from search.energy.counters.counter import Counter, SensorError
from search.energy.counters.gpu import GpuTelemetry
from search.energy.units import to_joules

# 50 driver samples. Over single seconds, with 10 samples, the split is biased towards trials that draw less.
SETTLE_EVERY_S = 5.0

_LONGEST_S = 10.0  # the length of the driver's sample buffer: over longer stretches samples are lost

Kind = Literal["gpu", "cpu", "dram", "estimated"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device as the meter opened it.

    Attributes:
        name: UUID of a GPU, zone of a CPU.
        activity: Tells who uses the device; if None, its energy is split by reserved share.
        is_rest_external: Whether the unreserved share belongs to users that cannot be seen; see `tick.Tick`.
        reason: What readers of its numbers must know; empty if all is well.
    """

    name: str
    kind: Kind
    counter: Counter
    activity: ActivitySource | None = None
    telemetry: GpuTelemetry | None = None
    is_rest_external: bool = False
    reason: str = ""


class DeviceAccount:
    """Samples one device and splits what it used among the open windows.

    Not thread-safe: the meter holds the lock. The windows do not change between two settlements, since
    opening or closing a window and beginning or ending a start is a `cut`, which settles first.

    Args:
        known_w: Watts that earlier runs learnt.

    Attributes:
        lost: Why the counter did not answer the latest sample; empty if it did.
        external_mj: Used by processes of no window since the meter was opened; `idle_mj` by nothing at all.
        gap_mj: Moved while it was unknown who worked: over 10 s without a sample, or across a change of
            windows during which the counter did not answer.
    """

    def __init__(self, device: Device, now_s: float, known_w: KnownWatts | None = None) -> None:
        self.device = device
        self.model = device.telemetry.model if device.telemetry else ""
        self.watch = Watch(device.activity, now_s, (known_w or {}).get(self.model) if self.model else None)
        self.lost = ""
        self.external_mj = self.idle_mj = self.gap_mj = 0
        self._open: dict[str, WindowRecord] = {}
        self._ended: dict[str, WindowRecord] = {}
        self._metered_mj = self._unsettled_mj = 0
        self._sampled_s = self._settled_s = now_s
        self._is_broken = False

    def open(self, window: Window, now_s: float, *, is_starting: bool = False) -> None:
        """Start counting for a window; with `is_starting`, for its start before its training."""
        self.cut(now_s)
        record = WindowRecord(share=window.shares[self.device.name], role=window.role)
        if is_starting:
            record.begin_start()
        self._open[window.name] = record
        self.watch.open(window, now_s)

    def close(self, window: str, now_s: float) -> None:
        """Stop counting for a window; its record stays readable."""
        self.cut(now_s)
        self._open[window].lost = self.lost
        self._ended[window] = self._open.pop(window)
        self.watch.close(window)

    def begin_start(self, window: str, now_s: float) -> None:
        """Book what the window uses from now on as part of its start, not of its training."""
        self.cut(now_s)
        self._open[window].begin_start()

    def end_start(self, window: str, now_s: float) -> None:
        """Book what the window uses from now on as training."""
        self.cut(now_s)
        self._open[window].end_start()

    def record(self, window: str) -> WindowRecord:
        """Return the record of an open or ended window."""
        return self._open[window] if window in self._open else self._ended[window]

    def tick(self, now_s: float) -> None:
        """Sample, and observe and settle if due."""
        if self._sample(now_s):
            is_due = now_s - self._settled_s >= SETTLE_EVERY_S
            # A GPU is observed every second, so that no 3 s of a window alone are missed. Process trees cost
            # more to list, and nothing waits for the watts of their CPU time to be learnt.
            if is_due or self.device.kind == "gpu":
                self._observe()
            if is_due or self._is_plain():
                self._settle()

    def refresh(self, now_s: float) -> None:
        """Bring the records up to date: on a shared device to within a second, else to this moment."""
        if self._sample(now_s) and self._is_plain():
            self._settle()
        elif not self.lost and now_s - self._settled_s >= SHORTEST_S:
            self._observe()
            self._settle()

    @property
    def lag_s(self) -> float:
        """Seconds by which the records trail the latest sample."""
        return self._sampled_s - self._settled_s

    def cut(self, now_s: float) -> None:
        """Settle up to this moment, however short the stretch, before windows change or rows are written."""
        is_answering = self._sample(now_s)
        self._observe()
        self._settle()
        # Without an answer now, the next increment spans two sets of windows, and it would be wrong to split
        # it among either. It becomes a gap.
        self._is_broken = self._is_broken or not is_answering

    def row(self) -> dict[str, Any]:
        """Return the device's row of devices.csv, up to the latest settlement.

        `residual_j` is computed rather than assumed. It is 0 as long as each increment went to exactly one
        place; any other value is a bug, which the table then shows.
        """
        counter = self.device.counter
        device_mj = self._metered_mj - self._unsettled_mj + counter.jumped_mj
        trials_mj = sum(record.used_mj for record in self._records() if record.role == "trial")
        background_mj = self._background_mj()
        unaccounted_mj = self.gap_mj + counter.jumped_mj
        starts_mj = sum(record.start_mj for record in self._records() if record.role == "trial")
        of_windows_mj = trials_mj + starts_mj + background_mj
        residual_mj = device_mj - of_windows_mj - self.external_mj - self.idle_mj - unaccounted_mj
        levels, telemetry = self.watch.levels, self.device.telemetry
        return {
            "device": self.device.name,
            "kind": self.device.kind,
            "sensor": counter.sensor,
            "counter_start_mj": counter.counter_start_mj,
            "counter_end_mj": counter.counter_start_mj + device_mj,
            "energy_device_j": to_joules(device_mj),
            "energy_trials_j": to_joules(trials_mj),
            "energy_starts_j": to_joules(starts_mj),
            "energy_background_j": to_joules(background_mj),
            "energy_external_j": to_joules(self.external_mj),
            "energy_idle_j": to_joules(self.idle_mj),
            "energy_unaccounted_j": to_joules(unaccounted_mj),
            "residual_j": to_joules(residual_mj),
            "idle_power_w": levels.bare.power_w if levels.bare.is_known else None,
            "context_power_w": levels.context.power_w if levels.context.is_known else None,
            "counter_power_ratio": counter.power_ratio,
            "driver_version": telemetry.driver_version if telemetry else "",
            "gpu_model": self.model,
            "learnt_w": self.watch.watts.learnt_w if self.model else {},
        }

    def _records(self) -> list[WindowRecord]:
        return [*self._open.values(), *self._ended.values()]

    def _background_mj(self) -> int:
        """What the background workload used, starts included: no single one of its trainings matters."""
        loads = (record for record in self._records() if record.role == "background")
        return sum(record.used_mj + record.start_mj for record in loads)

    def _is_plain(self) -> bool:
        """Whether the split needs no utilisation, so that it can be made at any moment, even after a gap.

        This is the case if reserved shares are all there is to split by, or if one window has the whole
        device and no external process was seen on it.
        """
        if self._is_rest_external:
            return True
        is_whole = [record.share for record in self._open.values()] == [1]
        return is_whole and (self._answers_for_guests or not self.watch.has_external)

    @property
    def _is_rest_external(self) -> bool:
        return self.device.is_rest_external and self._reserved < 1

    @property
    def _reserved(self) -> Fraction:
        return sum((record.share for record in self._open.values()), Fraction(0))

    @property
    def _answers_for_guests(self) -> bool:
        """Whether the windows are charged for external processes too.

        Windows that reserved all cores also pay for the system's daemons. This does not apply to GPUs.
        """
        return self.device.kind != "gpu" and self._reserved >= 1

    def _sample(self, now_s: float) -> bool:
        """Read the counter and return whether it answered.

        The increment waits to be settled, or is put aside as a gap.
        """
        try:
            metered_mj = self.device.counter.read_mj()
        except SensorError as error:
            self.lost = str(error)
            return False
        self.lost = ""
        increment_mj, self._metered_mj = metered_mj - self._metered_mj, metered_mj
        since_s, self._sampled_s = now_s - self._sampled_s, now_s
        if self._is_broken or (since_s > _LONGEST_S and not self._is_plain()):
            self._leave_out(increment_mj)
        else:
            self._unsettled_mj += increment_mj
            self.watch.pass_by(increment_mj)
            self._show(since_s)
        return True

    def _show(self, since_s: float) -> None:
        """Add the device's present power, temperature and clocks to the records of its open windows."""
        if self.device.telemetry and self._open:
            state = self.device.telemetry.state()
            for record in self._open.values():
                record.current.show(state, since_s)

    def _leave_out(self, increment_mj: int) -> None:
        """Put a gap aside, together with the unsettled seconds before it: their utilisation is lost too."""
        self.gap_mj += self._unsettled_mj + increment_mj
        self._unsettled_mj = 0
        self._settled_s = self._sampled_s
        self._is_broken = False
        self.watch.interrupt(self._sampled_s)

    def _settle(self) -> None:
        """Split what the counter moved since the last settlement by the activity observed meanwhile."""
        increment_mj, self._unsettled_mj = self._unsettled_mj, 0
        duration_s, self._settled_s = self._sampled_s - self._settled_s, self._sampled_s
        if increment_mj or duration_s:
            self._book(increment_mj, duration_s, self.watch.take())

    def _observe(self) -> None:
        """Observe who uses the device, unless the split is by reserved shares anyway."""
        if not self._is_rest_external:
            self.watch.observe(self._sampled_s)

    def _book(self, increment_mj: int, duration_s: float, activity: Activity) -> None:
        """Split one tick and add each part to its account.

        The label "by an earlier run" is needed only if two or more windows worked at once: a window that
        works alone gets the whole active layer, whatever its watts are taken to be.
        """
        known_w, levels = self.watch.watts.known_w, self.watch.levels
        usages = {
            window: Usage(
                share=record.share,
                utilisation_s=activity.use_s.get(window),
                watts_per_utilisation=known_w(window),
            )
            for window, record in self._open.items()
        }
        tick = Tick(
            increment_mj=increment_mj,
            duration_s=duration_s,
            usages=usages,
            external_s=0.0 if self._answers_for_guests else activity.external_s,
            bare_w=levels.bare.power_w,
            context_w=self.watch.idle_w,
            is_rest_external=self._is_rest_external,
        )
        result = split(tick)
        self.external_mj += result.external_mj
        self.idle_mj += result.idle_mj
        working = [window for window, usage in usages.items() if usage.utilisation_s]
        origins = {self.watch.watts.origin(window) for window in working} if len(working) > 1 else set()
        is_alone = len(usages) == 1 and not tick.external_s and not tick.is_rest_external
        for window, share in result.shares.items():
            assert result.method
            if result.method == "calibrated" and "earlier_run" in origins:
                self._open[window].current.is_by_earlier_run = True
            self._open[window].current.book(
                share, result.method, whole_device_mj=increment_mj, duration_s=duration_s, is_alone=is_alone
            )
