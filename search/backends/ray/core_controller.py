"""A controller on Ray Core alone: actors and `ray.wait`, without Ray Tune.

Tune's controller is an interface for Ray's own developers and may change with any release (`tune_adapter.py`
overrides nine private methods of it and its actor manager). This controller uses Ray's public API, in case
Tune's internals change, and for clusters whose Ray has no Tune. Both hand out the same tasks, return the same
results and decide nothing, so a run with one worker makes the same decisions with either.

    task --take--> worker --step--> row --Run.on_epoch--> step again, or release and the next task

A worker is an actor that reserves what one trial needs for as long as it lives. There are at most `slots`
workers: a new one is made only if no warm worker with the same reservation is idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from search.backends.ray.actors import end_workers, failure_of, places_text
from search.backends.ray.deadlines import Call, Deadlines
from search.backends.ray.liveness import check_ray_now, is_ray_lost
from search.backends.ray.packing import reserved, tasks_of
from search.backends.ray.worker import TrialWorker
from search.run import Run
from search.trial.failure import Failure
from search.trial.task import TrialTask

_POLL_S = 0.1  # how often the run's limits are checked while no answer comes
_RELEASE_S = 10.0  # a released worker ends what its trial started, which takes 8 s at most


@dataclass(eq=False)
class _Stretch:
    """A trial on a worker, from its task to the result that ends it there; afterwards, the idle worker.

    Attributes:
        worker: The actor's handle.
        call: The present call to the worker.
    """

    task: TrialTask
    worker: Any
    call: Call

    @property
    def reserved(self) -> dict[str, float]:
        return reserved(self.task)


class CoreController:
    """Keeps `slots` warm workers busy with the run's tasks.

    Args:
        slots: Trials at a time.
        say: Called with a message when a wait takes long.
    """

    def __init__(self, run: Run, *, slots: int, say: Callable[[str], None] = lambda line: None) -> None:
        self._run, self._tasks = run, tasks_of(run, slots=slots, say=say)
        resources = run.space.resources
        cpus, gpus = resources.cores_per_trial, resources.gpus_per_trial or 0.0
        self._idle: list[_Stretch] = []
        self._awaited: dict[ray.ObjectRef[Any], _Stretch] = {}
        self._deadlines: Deadlines[_Stretch] = Deadlines(
            run, say=say, places=partial(places_text, cpus, gpus)
        )
        self._overdue: dict[_Stretch, Failure] = {}

    def is_finished(self) -> bool:
        """Whether no task is in progress and none will come."""
        return not self._awaited and self._tasks.is_exhausted

    def step(self) -> None:
        """Hand out tasks while slots are free, handle one answer if there is one, end what takes too long.

        Raises:
            JournalError: An event cannot be written to the journal.
            RayLost: Ray is gone.
        """
        while task := self._tasks.next_task():
            self._begin(task)
        for answer in self._answers():
            self._take_in(answer)
        overdue = self._deadlines.overdue()
        self._overdue |= {stretch: failure for stretch, failure in overdue.items() if failure}
        end_workers([stretch.worker for stretch in overdue])  # their calls then fail, which is handled next

    def kill_workers(self) -> None:
        """Kill all workers immediately, with everything they started."""
        end_workers([stretch.worker for stretch in (*self._idle, *self._awaited.values())])
        self._idle.clear()
        self._awaited.clear()

    def close(self) -> None:
        """Let idle workers finish their work after a trial, then end all workers."""
        released = [stretch.worker.release.remote() for stretch in self._idle]
        if released:
            ray.wait(released, num_returns=len(released), timeout=_RELEASE_S)
        self.kill_workers()

    def _answers(self) -> list[ray.ObjectRef[Any]]:
        """Return at most one answer; the oldest calls are checked first."""
        if not self._awaited:  # no task fits the limits now, and `ray.wait` refuses to wait for nothing
            time.sleep(_POLL_S)
            return []
        answers, _ = ray.wait(list(self._awaited), num_returns=1, timeout=_POLL_S)
        return answers

    def _begin(self, task: TrialTask) -> None:
        """Give the task to the longest idle worker with the same reservation, or to a new one."""
        fitting = [idle for idle in self._idle if idle.reserved == reserved(task)]
        if fitting:
            self._idle.remove(fitting[0])
        # Idle workers hold memory too. An actor without a handle ends once it has released its trial.
        while self._idle and not self._tasks.may_keep([idle.task for idle in self._idle]):
            del self._idle[0]
        if fitting:
            self._ask(_Stretch(task, fitting[0].worker, "reset"))
        else:
            self._begin_anew(task)

    def _begin_anew(self, task: TrialTask) -> None:
        needs = reserved(task)
        kind = ray.remote(TrialWorker).options(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0.0),
            memory=needs.get("memory"),
            max_restarts=0,
        )
        self._ask(_Stretch(task, kind.remote(), "place"))

    def _ask(self, stretch: _Stretch) -> None:
        """Call the worker; in Ray's dashboard the call is named after the training."""
        trial_id, worker = stretch.task.trial_id, stretch.worker
        if stretch.call in ("place", "reset"):
            answer = worker.take.remote(stretch.task)
        else:
            answer = worker.step.options(name=self._run.training_name(trial_id)).remote()
        self._deadlines.ask(stretch, trial_id, stretch.call)
        self._awaited[answer] = stretch

    def _take_in(self, answer: ray.ObjectRef[Any]) -> None:
        stretch = self._awaited.pop(answer)
        self._deadlines.answer(stretch)
        try:
            result = ray.get(answer)
        except RayError as error:
            self._lose(stretch, error)
            return
        if stretch.call not in ("place", "reset"):
            self._take_result(stretch, result)
        elif result:
            self._ask_next(stretch, "start")
        else:  # an earlier trial spoilt the process
            end_workers([stretch.worker])
            self._begin_anew(stretch.task)

    def _take_result(self, stretch: _Stretch, result: dict[str, Any]) -> None:
        """Pass on the result of a step; the worker of a stopped or paused trial becomes idle."""
        trial_id = stretch.task.trial_id
        call: Call = "epoch"
        if "started" in result:
            continues = True
        elif "failure" in result:
            call, continues = "start", self._tasks.on_failure(trial_id, result["failure"])
        else:
            continues = self._tasks.on_epoch(trial_id, result["row"])
        if continues:
            self._ask_next(stretch, call)
            return
        # Released now and not with the next task, since a paused trial would hold GPU memory and its lock.
        stretch.worker.release.remote()
        self._idle.append(stretch)

    def _ask_next(self, stretch: _Stretch, call: Call) -> None:
        stretch.call = call
        self._ask(stretch)

    def _lose(self, stretch: _Stretch, error: RayError) -> None:
        """End the worker whose call failed, and begin its task again if another attempt may succeed."""
        check_ray_now()  # raises RayLost: without Ray every worker dies, which is not the trial's failure
        overdue = self._overdue.pop(stretch, None)
        end_workers([stretch.worker])  # after a CUDA error the process lives, but is useless
        if stretch.call == "reset":  # the trial has not begun: the worker died of the previous one
            self._begin_anew(stretch.task)
            return
        failure = overdue or failure_of(error, stretch.task)
        if self._tasks.on_failure(stretch.task.trial_id, failure):
            self._begin(self._run.retried(stretch.task))


@contextmanager
def controlling(
    run: Run, *, slots: int, say: Callable[[str], None] = lambda line: None
) -> Iterator[CoreController]:
    """Make a controller of the run for the block; its workers end with it.

    Args:
        slots: Trials at a time.
        say: Called with a message when a wait takes long.
    """
    controller = CoreController(run, slots=slots, say=say)
    try:
        yield controller
    finally:
        if not is_ray_lost():  # calls to Ray would wait forever
            controller.close()
