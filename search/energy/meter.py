"""The meter of one node: all its devices, one sampling thread, and a window for each trial.

There is one meter per node, never one per trial: four trackers on one device report four times its energy,
each NVML call takes a lock in the driver, and a list of processes takes 4.5 ms. Trials instead get windows of
the one meter. These divide each device's time into stretches during which its users do not change, and each
stretch is split once.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, get_args

from search.energy.attribution.account import Device, DeviceAccount, Kind
from search.energy.attribution.learning import KnownWatts
from search.energy.attribution.window_view import Views, WindowView, describe_sensors, read, summarise
from search.energy.attribution.windows import Role, Window
from search.energy.counters.counter import SensorError, Ticker
from search.energy.hardware import read_cpu_labels
from search.energy.processes import ProcessTable
from search.energy.reading import End, EnergyReading, EnergySensors, EnergySummary

SAMPLE_EVERY_S = 1.0

OpenGpuDevice = Callable[[str], tuple[Device, Fraction]]


class NodeMeter:
    """Splits what this node's devices use among the windows on them, to the millijoule.

    Each device is sampled once a second and whenever its windows change. All methods take and return plain
    data and may be called from any thread, so that a Ray actor on the node can hold a meter as its state.

    Args:
        cpus: The node's packages and DRAM zones, or their estimate; every window has its CPU share of them.
        open_gpu: Opens a GPU or MIG slice by UUID; returns the device and the slice's share of it.
        missing: Why a kind of device is missing, by kind.
        read_machine: Reads the present labels of the CPUs, model and governor.
        interval_s: Time between samples; None leaves calling `tick` to the caller.
        known_w: Watts of GPUs by kind of work, as earlier runs learnt them.
    """

    def __init__(
        self,
        *,
        cpus: Sequence[Device],
        open_gpu: OpenGpuDevice,
        missing: Mapping[str, str] | None = None,
        processes: ProcessTable | None = None,
        read_machine: Callable[[], EnergySensors] = read_cpu_labels,
        clock: Callable[[], float] = time.monotonic,
        interval_s: float | None = SAMPLE_EVERY_S,
        known_w: KnownWatts | None = None,
    ) -> None:
        self._known_w = known_w
        self._clock, self._read_machine = clock, read_machine
        self._open_gpu = open_gpu
        self._missing = missing or {}
        self._processes = processes or ProcessTable()
        self._accounts = {device.name: DeviceAccount(device, clock()) for device in cpus}
        self._cpus = tuple(self._accounts)
        self._gpu_shares: dict[str, tuple[str, Fraction]] = {}
        self._windows: dict[str, Window] = {}  # ended ones included: a killed attempt's joules stay readable
        self._sampler_cpu_s = 0.0
        self._lock = threading.RLock()
        self._ticker = Ticker(interval_s, self.tick) if interval_s else None

    def add_gpu(self, uuid: str) -> str:
        """Watch a GPU from now on, so that its idle levels are known before its first window.

        Returns:
            Why the GPU cannot be measured; empty if it can.
        """
        with self._lock:
            try:
                self._gpu(uuid)
            except SensorError as error:
                return str(error)
            return ""

    def open_window(
        self,
        *,
        trial: str,
        pid: int,
        gpus: Mapping[str, float | Fraction],
        cpu_share: float | Fraction,
        key: str = "",
        role: Role = "trial",
        heartbeat_timeout_s: float | None = None,
        is_starting: bool = False,
    ) -> str:
        """Start counting the joules of a trial, or of the workload beside the trials.

        Args:
            pid: The trial's process, whose children count too. The window ends when it dies.
            gpus: Reserved share, in (0, 1], of each GPU or MIG slice by UUID. One that cannot be measured
                makes the whole GPU part unknown, since a sum without it would be too small.
            cpu_share: Reserved share of the node's CPUs and DRAM, in (0, 1].
            key: The kind of work, such as trainable, batch size and resolution; trials with the same key
                share the watts learnt for it.
            role: "background" energy is split like a trial's, but has a column of its own in devices.csv.
            heartbeat_timeout_s: Silence after which the window ends; None for a window without `heartbeat`.
            is_starting: Whether to begin a start at once, as `begin_start` does.

        Returns:
            The window's name, which the other methods take.

        Raises:
            ValueError: A share is outside (0, 1].
        """
        shares = {uuid: as_share(f"share of {uuid}", share) for uuid, share in gpus.items()}
        cpu = as_share("cpu_share", cpu_share)
        with self._lock:
            now_s = self._clock()
            devices, why = self._reserve(shares)
            window = Window(
                name=f"{trial}#{len(self._windows)}",
                trial=trial,
                pid=pid,
                start_ticks=self._start_ticks(pid),
                key=key,
                role=role,
                shares={**devices, **dict.fromkeys(self._cpus, cpu)},
                missing={**self._missing, **why},
                opened_s=now_s,
                heartbeat_timeout_s=heartbeat_timeout_s,
                heard_s=now_s,
                starting_since_s=now_s if is_starting else None,
            )
            for name in window.shares:
                self._accounts[name].open(window, now_s, is_starting=is_starting)
            self._windows[window.name] = window
            return window.name

    def heartbeat(self, window: str, *, gpu_memory_mib: float | None = None) -> None:
        """Keep a window alive; its GPU memory helps to find its process from inside a container."""
        with self._lock:
            one = self._window(window)
            one.heard_s = self._clock()
            if gpu_memory_mib is not None:
                one.gpu_memory_mib = gpu_memory_mib

    def begin_start(self, window: str) -> None:
        """Count what the window uses until `end_start` as a start, not as training."""
        with self._lock:
            one = self._window(window)
            if one.is_open and one.starting_since_s is None:
                one.starting_since_s = now_s = self._clock()
                for name in one.shares:
                    self._accounts[name].begin_start(window, now_s)

    def end_start(self, window: str) -> None:
        """Count what the window uses from now on as training."""
        with self._lock:
            one = self._window(window)
            if one.is_open and one.starting_since_s is not None:
                now_s = self._clock()
                one.end_start(now_s)
                for name in one.shares:
                    self._accounts[name].end_start(window, now_s)

    def read(self, window: str) -> EnergyReading:
        """Return the millijoules of the window's training so far, without its starts.

        They are up to date to this moment, on a shared device to within a second.
        """
        with self._lock:
            self._refresh(window)
            return read(self._views(window))

    def read_start(self, window: str) -> EnergyReading:
        """Return the millijoules of the window's starts so far."""
        with self._lock:
            self._refresh(window)
            return read(self._views(window), is_start=True)

    def sensors(self, window: str) -> EnergySensors:
        """Return the sensors and quality of the latest reading."""
        with self._lock:
            return describe_sensors(self._views(window), self._read_machine())

    def summary(self, window: str) -> EnergySummary:
        """Return the window's account up to its latest reading, or its end."""
        with self._lock:
            one = self._window(window)
            return summarise(self._views(window), one, self._clock(), self._read_machine())

    def close_window(self, window: str) -> EnergySummary:
        """End a window unless it has already ended, and return its final summary, which stays readable."""
        with self._lock:
            if (one := self._window(window)).is_open:
                self._end(one, "closed", self._clock())
            return self.summary(window)

    def wanting_slots(self) -> dict[str, list[str]]:
        """Return, by GPU, the windows that a search may let work alone for 3 to 5 s to learn their watts."""
        with self._lock:
            accounts = self._accounts.items()
            wanting = {name: account.watch.watts.wanting() for name, account in accounts}
            is_gpu = {name for name, account in accounts if account.device.kind == "gpu"}
            return {name: windows for name, windows in wanting.items() if windows and name in is_gpu}

    def sharing(self, window: str) -> list[str]:
        """Return the other open windows on this one's GPUs."""
        with self._lock:
            mine = self._gpus_of(self._window(window))
            others = (one for one in self._windows.values() if one.is_open and one.name != window)
            return [one.name for one in others if self._gpus_of(one) & mine]

    def _gpus_of(self, window: Window) -> set[str]:
        return {name for name in window.shares if self._accounts[name].device.kind == "gpu"}

    def set_exclusive_slot(self, window: str, *, is_on: bool) -> None:
        """Begin or end an exclusive slot, during which all other windows on this one's GPUs are paused.

        The caller pauses them, calls this, waits 3 to 5 s, calls this again, and lets them continue.
        """
        with self._lock:
            for name in self._window(window).shares:
                account = self._accounts[name]
                account.refresh(self._clock())
                account.watch.watts.slot_of = window if is_on else ""

    def device_rows(self) -> list[dict[str, Any]]:
        """Return the rows of devices.csv up to this moment, one per device."""
        with self._lock:
            for account in self._accounts.values():
                account.cut(self._clock())
            node, sampler_cpu_s = socket.gethostname(), round(self._sampler_cpu_s, 3)
            rows = [account.row() for account in self._accounts.values()]
            return [{"node": node, **row, "sampler_cpu_s": sampler_cpu_s} for row in rows]

    def tick(self) -> None:
        """Sample all devices, and end the windows whose trial is lost."""
        started_s = time.thread_time()
        with self._lock:
            now_s = self._clock()
            for window in self._windows.values():
                if window.is_open and (cause := window.loss(self._processes, now_s)):
                    self._end(window, cause, now_s)
            for account in self._accounts.values():
                account.tick(now_s)
            self._sampler_cpu_s += time.thread_time() - started_s

    def close(self) -> None:
        """Stop sampling and release the drivers. Summaries and rows up to now can still be read."""
        if self._ticker is not None:
            self._ticker.stop()
        with self._lock:
            for account in self._accounts.values():
                account.device.counter.close()

    def _start_ticks(self, pid: int) -> int | None:
        """When the process started; None if it cannot be seen, as from another container."""
        with suppress(SensorError):
            if process := self._processes.find(pid):
                return process.start_ticks
        return None

    def _window(self, name: str) -> Window:
        try:
            return self._windows[name]
        except KeyError:
            raise KeyError(f"no window {name!r} was opened at this meter") from None

    def _refresh(self, window: str) -> None:
        one = self._window(window)
        for name in one.shares if one.is_open else ():
            self._accounts[name].refresh(self._clock())

    def _end(self, window: Window, why: End, now_s: float) -> None:
        """Settle the window's devices up to now; its records stay readable."""
        window.end_start(now_s)
        for name in window.shares:
            self._accounts[name].close(window.name, now_s)
        window.end, window.ended_s = why, now_s

    def _reserve(self, shares: Mapping[str, Fraction]) -> tuple[dict[str, Fraction], dict[str, str]]:
        """Return the shares by device, adding up slices of one GPU, or why a GPU cannot be measured."""
        devices: dict[str, Fraction] = {}
        try:
            for uuid, share in shares.items():
                name, slice_share = self._gpu(uuid)
                devices[name] = devices.get(name, Fraction(0)) + share * slice_share
        except SensorError as error:
            return {}, {"gpu": str(error)}
        return devices, {}

    def _gpu(self, uuid: str) -> tuple[str, Fraction]:
        """Return the device's name, and the share of it that `uuid` is: below 1 only for a MIG slice."""
        if uuid not in self._gpu_shares:
            device, share = self._open_gpu(uuid)
            if device.name in self._accounts:  # another slice of a GPU that is already watched
                device.counter.close()
            else:
                self._accounts[device.name] = DeviceAccount(device, self._clock(), self._known_w)
            self._gpu_shares[uuid] = device.name, share
        return self._gpu_shares[uuid]

    def _views(self, name: str) -> Views:
        """Return the window's accounts for every kind of device, also those of which it has none."""
        window = self._window(name)
        accounts = [self._accounts[device] for device in window.shares]
        views: dict[Kind, WindowView] = {}
        for kind in get_args(Kind):
            held = [account for account in accounts if account.device.kind == kind]
            views[kind] = WindowView(
                accounts=held,
                records=[account.record(name) for account in held],
                missing=window.missing.get(kind, ""),
                is_ended=not window.is_open,
            )
        return views


def as_share(name: str, share: float | Fraction) -> Fraction:
    """Return the share as an exact decimal, so that 0.29 of 100 mJ is 29 and not floor(28.999999999999996).

    Raises:
        ValueError: The share is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {share}")
    return share if isinstance(share, Fraction) else Fraction(str(share))
