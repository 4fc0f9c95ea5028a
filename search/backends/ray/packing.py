"""Choose the next task and its share of a device: a fixed one, or packed by memory.

Both engines get tasks here, and pass results through here to the run. Without packing that is all. With
packing a task waits until a device has room for what similar trials were measured to need; if nothing is
known about it, it gets a whole device until it has been measured. A trial that outgrows its share, or has far
more than it needs while others wait, is moved: it leaves its worker with its state saved, and is placed again
like a waiting task.

Ray chooses where a trial is placed, among nodes that have its share free: a fraction of a GPU, or bytes of a
node's memory. The same is counted here, so that an admitted task is placed immediately. On a single device of
the search's own session the counts here decide alone: Ray reserves the same small part for each trial, whose
share then grows and shrinks in place as far as there is room.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.backends.errors import SessionError
from search.backends.memory_need import HEADROOM, MemoryNeed, MemoryNeeds
from search.backends.ray.cluster import is_own_session
from search.backends.room import USABLE, NodeMemory, Room
from search.energy.counters.counter import SensorError
from search.energy.gpu_memory import GpuMemory
from search.energy.gpus import visible_gpus
from search.preflight.machine import free_memory_gib, memory_gib
from search.run import Run
from search.trial import EpochRow
from search.trial.failure import Failure
from search.trial.task import MemoryShare, TrialTask

_MIB = 2**20
_GIB_MIB = 1024
_ASKING_S = 60.0  # a worker on a busy node starts within seconds
# Tasks that wait for room while smaller ones are admitted. With more, tasks would be decided earlier than
# necessary, on fewer results.
_MOST_WAITING = 2
_MOST_PASSED = 4  # a task that let this many others pass is placed before any other


class Slots:
    """Hands out tasks while fewer trials train than there are slots."""

    is_packed = False

    def __init__(self, run: Run, slots: int) -> None:
        self._run, self._slots = run, slots

    @property
    def is_exhausted(self) -> bool:
        """Whether no further task will come."""
        return self._run.is_exhausted

    def next_task(self) -> TrialTask | None:
        """Return the next task, or None if none should start now."""
        return self._run.next_task() if self._run.num_training < self._slots else None

    def on_epoch(self, trial_id: str, row: EpochRow) -> bool:
        """Record an epoch and return whether the trial continues on its worker."""
        return self._run.on_epoch(trial_id, row) == "continue"

    def on_failure(self, trial_id: str, failure: Failure) -> bool:
        """Record a failed attempt and return whether to retry the trial at once, with the same resources."""
        return self._run.on_failure(trial_id, failure)

    def may_keep(self, idle: Sequence[TrialTask]) -> bool:
        """Return whether the warm workers of these ended tasks can be kept beside those that train."""
        return True


@dataclass
class _Waiting:
    task: TrialTask
    num_passed: int = 0


class Packing(Slots):
    """Hands out tasks while a device has room for them.

    Args:
        slots: Most trials at a time, as cores or the space allow.
        room: What trials may hold of each device.
        needs: Needs of trials measured so far.
        has_gpus: Whether the devices are GPUs.
        say: Called with each move of a trial that has outgrown its share.
    """

    is_packed = True

    def __init__(
        self,
        run: Run,
        slots: int,
        room: Room,
        needs: MemoryNeeds,
        *,
        has_gpus: bool,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(run, slots)
        self._room, self._has_gpus, self._say = room, has_gpus, say
        self._needs = needs
        self._shares: dict[str, MemoryShare] = {}
        self._left: dict[str, MemoryShare] = {}  # shares of trials that left: the most their workers hold
        self._waiting: list[_Waiting] = []
        command = run.space.trainable.command
        self._can_resume = command is None or bool(command.get("resume"))

    @property
    def is_exhausted(self) -> bool:
        return self._run.is_exhausted and (not self._waiting or self._run.stop_reason() is not None)

    def next_task(self) -> TrialTask | None:
        """Return the first waiting task that has room, else the run's next one, unless that must wait."""
        if self._run.stop_reason() is not None or len(self._shares) >= self._slots:
            return None
        for waiting in self._waiting:
            if placed := self._placed(waiting.task):
                self._waiting.remove(waiting)
                return self._let_through(placed)
            if waiting.num_passed >= _MOST_PASSED:
                return None
        while len(self._waiting) < _MOST_WAITING and (task := self._run.next_task()):
            if placed := self._placed(task):
                return self._let_through(placed)
            self._waiting.append(_Waiting(task))
        return None

    def on_epoch(self, trial_id: str, row: EpochRow) -> bool:
        continues = super().on_epoch(trial_id, row)
        resolution = self._run.space.ladder.rungs[row.rung].resolution
        self._needs.add_measured(self._run.history.trials[trial_id].hparams, resolution, row.memory_mib)
        if not continues:
            self._leave(trial_id)
            return False
        need = self.need(trial_id)
        share = self._shares[trial_id]
        if need and (resized := self._resized(trial_id, share, need)):
            self._shares[trial_id] = share = resized
        if reason := self._moving_reason(share, need):
            self._move(trial_id, need.mib if need else None, reason)
            return False
        return True

    def on_failure(self, trial_id: str, failure: Failure) -> bool:
        """Record a failed attempt; if the trial's share was too small, give it twice as much instead."""
        share = self._shares[trial_id]
        if failure.cause == "out_of_memory" and share.fraction < 1:
            self._move(
                trial_id, 2 * share.mib, f"{failure.message}: it had {share.mib:.0f} MiB, and gets twice that"
            )
            return False
        if super().on_failure(trial_id, failure):
            return True
        self._leave(trial_id)
        return False

    def may_keep(self, idle: Sequence[TrialTask]) -> bool:
        return self._room.has_room_for((task.cpus, self._left[task.trial_id]) for task in idle)

    def need(self, trial_id: str) -> MemoryNeed | None:
        """Return what the trial's next epoch needs, judging by similar trials; None if unknown."""
        return self._needs.need(*self._next_epoch(trial_id))

    def _next_epoch(self, trial_id: str) -> tuple[Mapping[str, Any], int | None]:
        """Return what decides its memory: the trial's hparams and its image resolution in pixels."""
        trial, ladder = self._run.history.trials[trial_id], self._run.space.ladder
        return trial.hparams, ladder.rungs[trial.next_rung(ladder)].resolution

    def _placed(self, task: TrialTask) -> TrialTask | None:
        """Place the task and return it with its share of a device; None if no device has room."""
        share = self._room.place(task.trial_id, cpus=task.cpus, need=self.need(task.trial_id))
        if share is None:
            return None
        self._shares[task.trial_id] = share
        return replace(task, memory=share, gpus=share.fraction if self._has_gpus else 0.0)

    def _let_through(self, task: TrialTask) -> TrialTask:
        for waiting in self._waiting:
            waiting.num_passed += 1
        return task

    def _resized(self, trial_id: str, share: MemoryShare, need: MemoryNeed) -> MemoryShare | None:
        """Resize the trial's share in place if it needs more or is known to need less, and return it."""
        is_other = need.mib > HEADROOM * share.mib or (not share.is_known and need.is_measured)
        return self._room.resize(trial_id, need) if is_other else None

    def _moving_reason(self, share: MemoryShare, need: MemoryNeed | None) -> str:
        """Return why a trial with this share must move before its next epoch; empty if it stays."""
        if need is None:
            return "" if share.fraction == 1 else "its next epochs are to be measured on a device of its own"
        held = f"trials like it hold {need.mib / HEADROOM:.0f} MiB"
        if share.fraction < 1 and need.mib > HEADROOM * share.mib:
            return f"{held}, more than its {share.mib:.0f}"
        # Its state was saved after this epoch, because it had not been measured before.
        is_saved = not share.is_known and self._can_resume
        if is_saved and self._waiting and need.mib <= share.mib / 2:
            return f"{held}, and it leaves others the rest of its {share.mib:.0f}"
        return ""

    def _move(self, trial_id: str, need_mib: float | None, reason: str) -> None:
        had = self._shares[trial_id]
        self._leave(trial_id)
        task = self._run.move(trial_id, need_mib=need_mib, reason=reason)
        if task is not None:
            self._needs.add(*self._next_epoch(trial_id), need_mib)
            self._waiting.insert(0, _Waiting(task))  # first, because its epochs are already paid for
            if had.is_known:
                self._say(f"{trial_id}  is moved, which costs it no attempt: {reason}")

    def _leave(self, trial_id: str) -> None:
        self._room.leave(trial_id)
        self._left[trial_id] = self._shares.pop(trial_id)


def tasks_of(run: Run, *, slots: int, say: Callable[[str], None]) -> Slots:
    """Make what hands out the tasks of `run`.

    Raises:
        SessionError: The space packs by memory, but the devices' memory is unknown or all in use.
    """
    resources = run.space.resources
    if resources.pack is None:
        return Slots(run, slots)
    has_gpus = bool(resources.gpus_per_trial)
    nodes = _nodes(partial(_node_memory, has_gpus=has_gpus, stated_gib=resources.memory_gib))
    room = Room(nodes, is_own=is_own_session())
    if not room.devices_mib:
        raise SessionError(
            "search.resources.pack: memory: no device has memory to spare now; end what else uses it, "
            "or leave it out"
        )
    sizes = ", ".join(f"{mib:,.0f}" for mib in room.devices_mib)
    what = "GPU" if has_gpus else "node"
    say(f"trials are packed by memory: {what}s with {sizes} MiB for them, at most {slots} trials at a time")
    return Packing(run, slots, room, needs_of(run, say=say), has_gpus=has_gpus, say=say)


def needs_of(run: Run, *, say: Callable[[str], None]) -> MemoryNeeds:
    """Return the needs known before the first task, from the run's journal and from packed runs beside it."""
    needs = MemoryNeeds(run.space)
    if earlier := needs.add_earlier(run.ledger.folder):
        count = "an earlier run" if len(earlier) == 1 else f"{len(earlier)} earlier runs"
        say(f"the memory of similar trials is known from {count}: {', '.join(earlier)}")
    needs.add_all(run.history.trials.values(), run.space.ladder)
    return needs


def reserved(task: TrialTask) -> dict[str, float]:
    """Return what a task's worker reserves on its node, by Ray's names; packed memory is in bytes."""
    if (share := task.memory) is None:
        return {"CPU": task.cpus, **({"GPU": task.gpus} if task.gpus else {})}
    if task.gpus:
        return {"CPU": task.cpus, "GPU": share.reserved_fraction}
    return {"CPU": task.cpus, "memory": float(int(share.reserved_mib * _MIB))}


def _nodes(measure: Callable[[], NodeMemory]) -> list[NodeMemory]:
    """Return what trials may use of each node, as the nodes themselves report."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    here = ray.get_runtime_context().get_node_id()
    asked = {node["NodeID"]: _ask(node, measure) for node in nodes if node["NodeID"] != here}
    found = []
    for node in nodes:
        known = measure() if node["NodeID"] == here else ray.get(asked[node["NodeID"]], timeout=_ASKING_S)
        found.append(_within_reserved(known, node["Resources"]))
    return found


def _ask(node: dict[str, Any], measure: Callable[[], NodeMemory]) -> Any:
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(measure_unhidden).options(num_cpus=0, scheduling_strategy=there).remote(measure)


def measure_unhidden(measure: Callable[[], NodeMemory]) -> NodeMemory:
    """Measure in a Ray task, showing it the GPUs that Ray hides from tasks that reserve none."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return measure()


def _within_reserved(known: NodeMemory, resources: dict[str, float]) -> NodeMemory:
    """Limit a node's memory to what Ray hands out: cores, GPUs and, if its own memory is packed, bytes."""
    num_gpus = int(resources.get("GPU", 0))
    if known.is_of_gpus:
        devices = list(known.devices_mib)[:num_gpus]
    else:
        devices = [min(mib, resources.get("memory", 0.0) / _MIB) for mib in known.devices_mib]
    return replace(known, num_cpus=int(resources.get("CPU", 0)), devices_mib=devices)


def _node_memory(*, has_gpus: bool, stated_gib: float | None) -> NodeMemory:
    """Return what trials may use of this node: 90 % of each device, less what others hold of it now.

    Raises:
        SessionError: The memory of a GPU, or of the node, is unknown.
    """
    if not has_gpus:
        total_gib, free_gib = memory_gib(), free_memory_gib()
        if total_gib is None or free_gib is None:
            raise SessionError(
                "search.resources.pack: memory: /proc/meminfo does not say how much memory there is"
            )
        usable = _usable_mib(total_gib * _GIB_MIB, (total_gib - free_gib) * _GIB_MIB, stated_gib)
        return NodeMemory(num_cpus=0, devices_mib=[usable])
    devices = []
    for uuid in visible_gpus(os.environ).uuids:
        try:
            with GpuMemory(uuid) as gpu:
                devices.append(_usable_mib(*gpu.total_and_used_mib(), stated_gib))
        except SensorError as error:
            raise SessionError(
                f"search.resources.pack: memory needs NVML, which says how much memory a GPU has: {error}; "
                "leave it out, and give each trial a fraction: gpus_per_trial: 0.5"
            ) from error
    return NodeMemory(num_cpus=0, devices_mib=devices, is_of_gpus=True)


def _usable_mib(total_mib: float, used_mib: float, stated_gib: float | None) -> float:
    usable = USABLE * total_mib - used_mib
    return max(0.0, usable if stated_gib is None else min(usable, USABLE * stated_gib * _GIB_MIB))
