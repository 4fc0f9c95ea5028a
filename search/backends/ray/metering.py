"""One meter per node: an actor on each node, the driver's view of all, and a trial's window at its node's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.energy.attribution.calibration_slots import CalibrationSlots
from search.energy.attribution.learning import KnownWatts
from search.energy.attribution.windows import Role
from search.energy.counters.driver import CallThread, NoAnswer
from search.energy.gpus import visible_gpus
from search.energy.node import CpuPower, open_node_meter
from search.energy.reading import EnergyReading, EnergySensors, EnergySummary
from search.printable import first_line

_NAMESPACE = "jouletune"
_ANSWER_S = 10.0  # for a lost node an error comes much sooner; a node that swaps may need longer
_HEARTBEAT_S = 10.0
_SILENCE_S = 60.0  # six heartbeats: a worker that swaps or reads from a network disk may miss some
_SLOT_POLL_S = 0.1
_NOT_CLOSED = {"is_closed": False}


class MeterActor:
    """A node's meter in a process of its own; keeps each trial's windows until the driver has them.

    Ray reuses workers and loses some, so a trial's account must not be in the process that trains it.
    """

    def __init__(self, cpu_power: CpuPower | None, known_w: KnownWatts | None = None) -> None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all GPUs from an actor that reserves none
        self._meter = open_node_meter(visible_gpus(os.environ).uuids, cpu_power=cpu_power, known_w=known_w)
        self._open: dict[str, list[str]] = {}
        self._closed: dict[str, EnergySummary] = {}
        self._slots = CalibrationSlots(self._meter, time.monotonic)
        self._slots_lock = threading.Lock()

    def has_devices(self) -> bool:
        return bool(self._meter.device_rows())

    def open_window(
        self,
        trial_id: str,
        pid: int,
        gpus: dict[str, float],
        cpu_share: float,
        key: str,
        role: Role = "trial",
    ) -> str:
        """Open a window, which begins with a start."""
        window = self._meter.open_window(
            trial=trial_id,
            pid=pid,
            gpus=gpus,
            cpu_share=cpu_share,
            key=key,
            role=role,
            heartbeat_timeout_s=_SILENCE_S,
            is_starting=True,
        )
        self._open.setdefault(trial_id, []).append(window)
        return window

    def of_window(self, method: str, window: str) -> Any:
        """Call a method of the node's meter for a window; the call counts as its worker's heartbeat."""
        self._meter.heartbeat(window)
        return getattr(self._meter, method)(window)

    def may_start_epoch(self, window: str) -> bool:
        """Return whether the trial may start its next epoch, with exclusive slots."""
        self._meter.heartbeat(window)
        with self._slots_lock:
            return self._slots.may_start_epoch(window)

    def close_windows(self, trial_id: str) -> dict[str, EnergySummary]:
        """End the trial's windows; return the summaries of all closed windows not yet acknowledged."""
        windows = self._open.pop(trial_id, [])
        with self._slots_lock:
            for window in windows:
                self._slots.leave(window)
        self._closed |= {window: self._meter.close_window(window) for window in windows}
        return self.closed_windows()

    def closed_windows(self) -> dict[str, EnergySummary]:
        """Return the closed windows not yet acknowledged, since an answer may get lost."""
        return dict(self._closed)

    def acknowledge(self, windows: Iterable[str]) -> None:
        """Drop acknowledged windows."""
        for window in windows:
            self._closed.pop(window, None)

    def device_rows(self) -> list[dict[str, Any]]:
        return self._meter.device_rows()


class NodeMeters:
    """The driver's `Metering`: an actor on every node of the cluster, including nodes that join later."""

    def __init__(self, cpu_power: CpuPower | None = None, known_w: KnownWatts | None = None) -> None:
        self._settings = cpu_power, known_w or {}
        self._actors: dict[str, Any] = {}
        self._lost: set[str] = set()
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._given: set[str] = set()  # windows already returned; returned twice, they would be booked twice
        self._silent: dict[str, Any] = {}  # by node, the first call it has not answered yet
        self._gcs = CallThread("Ray's control service")
        self.cover_nodes()

    def cover_nodes(self) -> None:
        """Start a meter on each node that has none."""
        try:
            nodes = self._gcs.ask(ray.nodes)
        except NoAnswer:  # nodes that joined meanwhile are found once it answers
            return
        for node in nodes:
            if node["Alive"] and node["NodeID"] not in self._actors.keys() | self._lost:
                self._actors[node["NodeID"]] = _start(node["NodeID"], *self._settings)

    def close_windows(self, trial_id: str) -> list[EnergySummary]:
        """End the trial's windows on all nodes where it trained, and return their final summaries."""
        return self._taken(self._ask("close_windows", trial_id))

    def late_windows(self) -> list[EnergySummary]:
        """Return the summaries of ended windows whose answer did not come in time."""
        return self._taken(self._ask("closed_windows"))

    def _taken(self, answers: Mapping[str, Mapping[str, EnergySummary]]) -> list[EnergySummary]:
        """Return the windows not returned before, and acknowledge them to their meters.

        A meter repeats a closed window in every answer until it is acknowledged, so a lost answer loses no
        joules; `_given` ensures that a repeated window is counted once.
        """
        new: list[EnergySummary] = []
        for node_id, answer in answers.items():
            for window, summary in answer.items():
                name = _global_name(node_id, window)
                if name not in self._given:
                    new.append(replace(summary, window=name))
                    self._given.add(name)
            if answer and node_id in self._actors:
                self._actors[node_id].acknowledge.remote(list(answer))
        return new

    def device_rows(self) -> list[Mapping[str, Any]]:
        """Return the rows of all nodes; for a node that does not answer its last ones, marked not closed."""
        self.cover_nodes()
        answers = self._ask("device_rows")
        self._rows |= answers
        return [
            {**row, "node": f"{row['node']}/{node_id[:8]}", **({} if node_id in answers else _NOT_CLOSED)}
            for node_id, rows in self._rows.items()
            for row in rows
        ]

    def _ask(self, method: str, *arguments: Any) -> dict[str, Any]:
        """Call a method on each node's meter and return the answers; a lost node is never asked again.

        A silent node is still called, but not waited for until it has answered; the windows it closes
        meanwhile are then among the `late_windows`.
        """
        asked = {
            node_id: getattr(actor, method).remote(*arguments) for node_id, actor in self._actors.items()
        }
        until_s, answers = time.monotonic() + _ANSWER_S, {}
        for node_id, answer in asked.items():
            # All nodes were called at once and share one deadline: ten silent ones cost 10 s, not 100 s.
            wait_s = 0.0 if self._is_silent(node_id) else max(0.0, until_s - time.monotonic())
            try:
                answers[node_id] = ray.get(answer, timeout=wait_s)
            except ActorUnavailableError:
                continue  # temporarily
            except RayActorError:
                del self._actors[node_id]
                self._lost.add(node_id)
            except GetTimeoutError:  # its counter continues, so the next answer has these joules too
                self._silent.setdefault(node_id, answer)
        return answers

    def _is_silent(self, node_id: str) -> bool:
        """Whether the node has still not given its first late answer."""
        if node_id in self._silent and ray.wait([self._silent[node_id]], timeout=0)[0]:
            del self._silent[node_id]
        return node_id in self._silent


class TrialWindow:
    """An `EnergyMeter` at this node's meter, which a worker reads around each epoch.

    Until the first `starting` has ended, everything used belongs to the start. A meter that does not answer
    costs the joules of that time, never the trial: the readings are unknown, and the reason says so.
    """

    def __init__(
        self, actor: Any, trial_id: str, *, gpus: float, cpus: float, key: str, role: Role = "trial"
    ) -> None:
        visible = visible_gpus(os.environ) if gpus else None
        self._actor = actor
        self._reason = visible.reason if visible else ""
        shares = {uuid: min(gpus, 1.0) for uuid in visible.uuids} if visible else {}
        cpu_share = min(cpus / (os.cpu_count() or 1), 1.0)
        node_id = ray.get_runtime_context().get_node_id()
        self._silent: Any = None
        self._silence_reason = ""
        self._window = ""
        self._window = self._ask("open_window", trial_id, os.getpid(), shares, cpu_share, key, role) or ""
        self.window = _global_name(node_id, self._window) if self._window else ""
        self._is_over = threading.Event()
        threading.Thread(target=self._beat, name="energy-heartbeat", daemon=True).start()

    @property
    def sensors(self) -> EnergySensors:
        """The sources of its joules; the reason also covers missing GPUs and a meter that does not answer."""
        sensors: EnergySensors = self._of_window("sensors") or EnergySensors()
        reason = "; ".join(filter(None, [self._reason, self._silence_reason, sensors.reason]))
        return replace(sensors, reason=reason)

    @contextmanager
    def starting(self) -> Iterator[None]:
        self._of_window("begin_start")
        yield
        self._of_window("end_start")  # not after an error: a start that failed is never training

    def read_start(self) -> EnergyReading:
        """Return what its starts have used."""
        return self._of_window("read_start") or EnergyReading()

    def read(self) -> EnergyReading:
        """Return what the training has used so far, without starts; empty if the meter does not answer."""
        return self._of_window("read") or EnergyReading()

    def wait_for_slot(self) -> None:
        """Wait, between two epochs, while another trial on the device works alone."""
        while self._window and self._ask("may_start_epoch", self._window) is False:
            time.sleep(_SLOT_POLL_S)

    def close(self) -> None:
        """Stop sending heartbeats. The driver closes the window, so that it is booked once."""
        self._is_over.set()

    def _beat(self) -> None:
        """Tell the meter every 10 s that this process lives: an epoch may exceed its heartbeat timeout."""
        while self._window and not self._is_over.wait(_HEARTBEAT_S):
            self._actor.of_window.remote("heartbeat", self._window)

    def _of_window(self, method: str) -> Any | None:
        """Return the meter's answer about the window; None if there is no window or no answer."""
        return self._ask("of_window", method, self._window) if self._window else None

    def _ask(self, method: str, *arguments: Any) -> Any | None:
        """Return the meter's answer; None if it is late, or an earlier one is still missing."""
        # A silent meter is called again, because it may have recovered, but not waited for: a meter that
        # hangs costs its trial 10 s altogether, not 10 s per epoch.
        answer = getattr(self._actor, method).remote(*arguments)
        is_owing = self._silent is not None and not ray.wait([self._silent], timeout=0)[0]
        try:
            given = ray.get(answer, timeout=0.0 if is_owing else _ANSWER_S)
        except GetTimeoutError:
            self._silent = self._silent if is_owing else answer
            self._silence_reason = f"the node's meter gave no answer in {_ANSWER_S:g} s"
        except RayError as error:  # the meter is gone, or could not take the call
            self._silent, self._silence_reason = None, f"the node's meter: {first_line(error)}"
        else:
            self._silent, self._silence_reason = None, ""
            return given
        return None


def node_meter() -> Any | None:
    """Return this node's meter, for a worker; None if there is none, or it has no devices or no answer."""
    if not ray.is_initialized():  # asking would start Ray, whose loss ends this process after 60 s
        return None
    name = _name(ray.get_runtime_context().get_node_id())
    try:
        actor = ray.get_actor(name, namespace=_NAMESPACE)
        return actor if ray.get(actor.has_devices.remote(), timeout=_ANSWER_S) else None
    except (ValueError, RayActorError, GetTimeoutError):
        return None


def _global_name(node_id: str, window: str) -> str:
    """Return a window's name, unique among all nodes and sessions: on a cluster each session is a job."""
    return f"{node_id[:8]}/{_job()}/{window}"


def _start(node_id: str, cpu_power: CpuPower | None, known_w: KnownWatts) -> Any:
    options = {
        "name": _name(node_id),
        "namespace": _NAMESPACE,
        "num_cpus": 0,
        "max_concurrency": 8,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
    }
    return ray.remote(MeterActor).options(**options).remote(cpu_power, known_w)


def _name(node_id: str) -> str:
    """Return the meter's name. Searches on one cluster have separate meters: others' work is external."""
    return f"meter-{_job()}-{node_id}"


def _job() -> str:
    """Return the id of the driver's job, also in its workers."""
    job: str = ray.get_runtime_context().get_job_id()
    return job
