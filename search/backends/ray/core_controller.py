"""A controller by Ray Core alone: actors and `ray.wait`, nothing of Ray Tune.

Tune's controller is an interface for developers of Ray, which may change with any release (`tune_adapter.py`
overrides ten private methods of it). This one stands on Ray's public API, for the day Tune's inside moves,
and for clusters whose Ray has no Tune. Both carry the same tasks out and the same results back, and decide
nothing, so that a run with one worker takes the same decisions with either.

    task --take--> worker --step--> row --Run.on_epoch--> step again, or release and the next task

A worker is an actor that reserves what one trial needs, for as long as it lives. At most `slots` of them
exist: a new one is made only while no warm one with the same is idle.
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

_POLL_S = 0.1  # without an answer the run's limits are checked as often as this
_RELEASE_S = 10.0  # a released worker ends what its trial has started: 8 s at most


@dataclass(eq=False)
class _Stretch:
    """A trial on a worker, from a task that it is given to the result that ends it there; then the worker
    that is idle.

    Attributes:
        worker: The actor's handle.
        call: What it is asked now.
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
        say: Called with what is waited for, where that takes long.
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
        """Whether no task is under way and none will come."""
        return not self._awaited and self._tasks.is_exhausted

    def step(self) -> None:
        """Hand out tasks while slots are free, take in one answer if one is there, end what takes too long.

        Raises:
            JournalError: The journal took no event.
            RayLost: Ray is gone.
        """
        while task := self._tasks.next_task():
            self._begin(task)
        for answer in self._answers():
            self._take_in(answer)
        overdue = self._deadlines.overdue()
        self._overdue |= {stretch: failure for stretch, failure in overdue.items() if failure}
        end_workers([stretch.worker for stretch in overdue])  # their calls fail, which is taken in next

    def kill_workers(self) -> None:
        """End all workers at once, with what they have started."""
        end_workers([stretch.worker for stretch in (*self._idle, *self._awaited.values())])
        self._idle.clear()
        self._awaited.clear()

    def close(self) -> None:
        """Let idle workers finish what they do after a trial, and end all."""
        released = [stretch.worker.release.remote() for stretch in self._idle]
        if released:
            ray.wait(released, num_returns=len(released), timeout=_RELEASE_S)
        self.kill_workers()

    def _answers(self) -> list[ray.ObjectRef[Any]]:
        """The answer that came first, as one at most; those asked last are last to be looked at."""
        if not self._awaited:  # no task fits the limits now; `ray.wait` refuses to wait for nothing
            time.sleep(_POLL_S)
            return []
        answers, _ = ray.wait(list(self._awaited), num_returns=1, timeout=_POLL_S)
        return answers

    def _begin(self, task: TrialTask) -> None:
        """Give the task to the worker that has been idle for longest with what it needs, or to a new one."""
        fitting = [idle for idle in self._idle if idle.reserved == reserved(task)]
        if fitting:
            self._idle.remove(fitting[0])
        # An idle one holds memory too. Without a handle an actor ends, once it has released its trial.
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
        """Call the worker; the call bears the name of what it trains in Ray's dashboard."""
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
        else:  # an earlier trial has spoilt the process
            end_workers([stretch.worker])
            self._begin_anew(stretch.task)

    def _take_result(self, stretch: _Stretch, result: dict[str, Any]) -> None:
        """Pass on what a step came to; the worker of a trial that is stopped or paused becomes idle."""
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
        # Now, not with its next task: a paused trial would hold GPU memory and the lock on its folder.
        stretch.worker.release.remote()
        self._idle.append(stretch)

    def _ask_next(self, stretch: _Stretch, call: Call) -> None:
        stretch.call = call
        self._ask(stretch)

    def _lose(self, stretch: _Stretch, error: RayError) -> None:
        """End the worker whose call failed, and begin its task again if another attempt may do better."""
        check_ray_now()  # without Ray every worker dies, which is no trial's failure: raises RayLost then
        overdue = self._overdue.pop(stretch, None)
        end_workers([stretch.worker])  # after a CUDA error its process lives, and is of no use
        if stretch.call == "reset":  # it has not begun: the worker died of the trial before
            self._begin_anew(stretch.task)
            return
        failure = overdue or failure_of(error, stretch.task)
        if self._tasks.on_failure(stretch.task.trial_id, failure):
            self._begin(self._run.retried(stretch.task))


@contextmanager
def controlling(
    run: Run, *, slots: int, say: Callable[[str], None] = lambda line: None
) -> Iterator[CoreController]:
    """A controller of the run for the block; its workers end with it.

    Args:
        slots: Trials at a time.
        say: Called with what is waited for, where that takes long.
    """
    controller = CoreController(run, slots=slots, say=say)
    try:
        yield controller
    finally:
        if not is_ray_lost():  # what is asked of Ray would wait for ever
            controller.close()
