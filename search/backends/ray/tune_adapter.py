"""Adapt a run to Ray Tune: its search algorithm, its scheduler and its controller of workers.

Tune's parts keep their interfaces but make no decisions. The search algorithm hands out the run's next task,
the scheduler passes each result to the run and its answer back, and the controller does what stock Tune does
not: no snapshots (the journal is the truth), retries by cause, warm workers in all slots, and an end to
workers that take too long. Overriding private methods is why pyproject.toml pins ray below its next minor
version; comments say what the stock methods would do.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune import Trainable as TuneTrainable
from ray.tune.error import TuneError
from ray.tune.execution import class_cache
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.registry import register_trainable
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import SearchAlgorithm

from search.backends.ray.actors import (
    KilledForMemory,
    end_workers,
    failure_of,
    first_sentence,
    places_text,
)
from search.backends.ray.deadlines import Call, Deadlines
from search.backends.ray.liveness import check_ray_now, is_ray_lost
from search.backends.ray.packing import Slots, reserved, tasks_of
from search.backends.ray.worker import TrialWorker
from search.run import Run
from search.secrets import looks_secret
from search.trial.failure import Failure
from search.trial.task import TrialTask

_WORKER_NAME = "jouletune_trial"
_CALLS: Mapping[str, Call] = {"train": "epoch", "reset": "reset"}  # Tune's calls that have a deadline

# Stock Tune puts AWS_* into each worker's runtime environment, which Ray writes to its logs. Workers on this
# machine inherit the search's environment; those on a cluster inherit that of their node's Ray.
class_cache.ENV_VARS_TO_PROPAGATE = {
    name for name in class_cache.ENV_VARS_TO_PROPAGATE if not looks_secret(name)
}


class _Stretch(Trial):
    """Tune's trial without statistics of every reported number.

    Nothing reads them, and Tune keeps its trials until the end of a search.
    """

    def update_last_result(self, result: dict[str, Any]) -> None:
        self.run_metadata.last_result = result


class TuneTrialWorker(TrialWorker, TuneTrainable):
    """The warm worker as a Tune trainable: Tune gives it a trial's config, and neither saves nor loads."""

    def setup(self, config: dict[str, Any]) -> None:
        """Accept the first task."""
        self.take(config["task"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accept another trial; return False if it needs a new worker."""
        return self.take(new_config["task"])

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: `run_task` saves a trial's state in the run's own folder."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Do nothing: `run_task` resumes from the checkpoint it finds."""


class TaskSource(SearchAlgorithm):
    """Hands Tune the run's next task whenever a slot is free."""

    def __init__(self, tasks: Slots, storage: StorageContext) -> None:
        register_trainable(_WORKER_NAME, TuneTrialWorker)
        self._tasks, self._storage = tasks, storage
        self._num_given = 0

    def next_trial(self) -> Trial | None:
        """Return the next stretch of a trial; None while there is none, or no slot is free for it."""
        task = self._tasks.next_task()
        return None if task is None else self._trial(task)

    def is_finished(self) -> bool:
        """Whether no further task will come; Tune ends once its trials have also ended."""
        return self._tasks.is_exhausted

    def _trial(self, task: TrialTask) -> Trial:
        """Make a Tune trial, which is one stretch of our trial.

        When our trial continues or resumes, it is a new Tune trial, which resumes from the checkpoint. Tune's
        own pausing would save through its storage.
        """
        self._num_given += 1
        return _Stretch(
            _WORKER_NAME,
            config={"task": task},
            trial_id=f"{task.trial_id}-{self._num_given}",
            storage=self._storage,
            placement_group_factory=PlacementGroupFactory([reserved(task)]),
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        )


class RungScheduler(FIFOScheduler):
    """Passes each result to the run and its decision back to Tune."""

    def __init__(self, tasks: Slots) -> None:
        super().__init__()
        self._tasks = tasks
        self.starting: set[Trial] = set()  # trials whose next step begins with a start

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Pass on a step's result. A paused trial stops too: when it resumes it is a new Tune trial."""
        trial_id = trial.config["task"].trial_id
        self.starting.discard(trial)
        if "started" in result:
            return TrialScheduler.CONTINUE
        if "failure" in result:
            self.starting.add(trial)
            continues = self._tasks.on_failure(trial_id, result["failure"])
        else:
            continues = self._tasks.on_epoch(trial_id, result["row"])
        return TrialScheduler.CONTINUE if continues else TrialScheduler.STOP


class _Named:
    """A worker's actor whose calls have a name in Ray's dashboard."""

    def __init__(self, actor: Any, name: str) -> None:
        self._actor, self._name = actor, name

    def __getattr__(self, method: str) -> Any:
        return getattr(self._actor, method).options(name=self._name)


class _ActorManager(RayActorManager):
    """An actor manager that survives the memory monitor, and names each call after its training.

    Stock Tune ends the whole search when the memory monitor kills one worker, since its OutOfMemoryError is
    neither an actor's death nor a task's error. Here it is an actor's death. A warm worker is one actor with
    one name for many trials, so each call gets the name of what it trains.

    Attributes:
        name_of: Returns the name of what a worker is about to train, given Tune's handle of it. Not an
            argument of `__init__`, because stock Tune's `cleanup` calls that again.
    """

    name_of: Callable[[Any], str]

    def _schedule_tracked_actor_task(self, tracked_actor_task: Any, method_name: str, **others: Any) -> Any:
        schedule = super()._schedule_tracked_actor_task
        if method_name != "train":
            return schedule(tracked_actor_task, method_name, **others)
        tracked = tracked_actor_task._tracked_actor
        live: Any = self._live_actors_to_ray_actors_resources
        actor, resources = live[tracked]
        live[tracked] = _Named(actor, self.name_of(tracked)), resources  # stock Tune makes the call by this
        try:
            return schedule(tracked_actor_task, method_name, **others)
        finally:
            live[tracked] = actor, resources

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = KilledForMemory(error_msg=first_sentence(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


class SearchController(TuneController):
    """Tune's controller without snapshots, with retries by cause and warm workers in all slots."""

    def __init__(
        self,
        run: Run,
        storage: StorageContext,
        *,
        slots: int,
        cpus: float,
        gpus: float,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        tasks = tasks_of(run, slots=slots, say=say)
        scheduler = RungScheduler(tasks)
        super().__init__(
            search_alg=TaskSource(tasks, storage),
            scheduler=scheduler,
            storage=storage,
            reuse_actors=True,
        )
        self._run, self._tasks, self._starting = run, tasks, scheduler.starting
        places = partial(places_text, cpus, gpus)
        self._deadlines: Deadlines[Trial] = Deadlines(run, say=say, places=places)
        self._overdue: dict[Trial, Failure] = {}
        self._taken_in: Exception | None = None
        self.is_killed = False
        self._max_pending_trials = slots  # stock: 1 with a searcher, and half the slots stay empty
        self._actor_manager = _ActorManager(resource_manager=self._actor_manager._resource_manager)
        self._actor_manager.name_of = self._training_name
        if not tasks.is_packed:  # of packed workers, stock Tune keeps those that a trial waits for
            self._actor_cache.increase_max(placement(cpus, gpus), by=slots)

    def step(self) -> None:
        """Handle the next event, and end workers that take too long.

        Raises:
            JournalError: An event cannot be written to the journal.
            RayLost: Ray is gone.
        """
        try:
            super().step()
        except TuneError as error:  # Tune wraps errors of our code, and keeps only their text
            raise error.__context__ or error from None
        overdue = self._deadlines.overdue()
        self._overdue |= {trial: failure for trial, failure in overdue.items() if failure}
        # Stock Tune then learns of their death.
        end_workers([actor for trial in overdue if (actor := trial.temporary_state.ray_actor)])

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Do nothing: stock Tune would write a snapshot."""

    def _maybe_cache_trial_actor(self, trial: Trial) -> bool:
        """Keep the worker warm, and make it release the trial now.

        Stock Tune does so when the worker gets another trial, and until then a paused trial would hold GPU
        memory and its folder's lock.
        """
        actor = trial.temporary_state.ray_actor
        is_kept = super()._maybe_cache_trial_actor(trial)
        if is_kept and actor:
            actor.release.remote()  # a worker runs its calls in order, so this precedes its next trial
        return is_kept

    def kill_workers(self) -> None:
        """Kill all workers immediately, with everything they started."""
        end_workers([actor for actor, _ in self._actor_manager._live_actors_to_ray_actors_resources.values()])
        self._actor_manager.cleanup()
        self.is_killed = True  # stock Tune's `cleanup` would ask killed workers to stop

    # Whenever Tune asks Ray or a worker for something, a deadline begins.

    def _schedule_trial_actor(self, trial: Trial) -> None:
        self._deadlines.ask(trial, trial.config["task"].trial_id, "place")
        super()._schedule_trial_actor(trial)

    def _actor_started(self, tracked_actor: Any, log: str = "STARTED") -> None:
        self._starting.add(self._actor_to_trial[tracked_actor])
        super()._actor_started(tracked_actor, log)

    def _schedule_trial_task(self, trial: Trial, method_name: str, *given: Any, **named: Any) -> Any:
        call = "start" if method_name == "train" and trial in self._starting else _CALLS.get(method_name)
        if call:
            self._deadlines.ask(trial, trial.config["task"].trial_id, call)
        return super()._schedule_trial_task(trial, method_name, *given, **named)

    def _schedule_trial_stop(self, trial: Trial, exception: Any = None) -> None:
        self._deadlines.answer(trial)
        self._starting.discard(trial)
        super()._schedule_trial_stop(trial, exception)

    def _training_name(self, tracked: Any) -> str:
        return self._run.training_name(self._actor_to_trial[tracked].config["task"].trial_id)

    def _on_trial_reset(self, trial: Trial, success: bool) -> None:
        """Start the trial on its worker, or on a new one if that is unfit: stock Tune would fail it."""
        if success:
            super()._on_trial_reset(trial, success)
            return
        self._resetting_trials.discard(trial)
        self._unstage_trial_with_resources(trial)
        unfit = self._trial_to_actor.pop(trial)
        self._actor_to_trial.pop(unfit)
        trial.set_ray_actor(None)
        self._actor_manager.remove_actor(unfit, kill=True)
        self._pending_trials_list.append(trial)

    def _process_trial_failure(
        self, trial: Trial, exception: TuneError | RayTaskError | RayActorError
    ) -> None:
        if exception is self._taken_in:  # a worker's death comes twice: as the actor's and as its task's
            return
        check_ray_now()  # raises RayLost: without Ray every worker dies, which is not the trial's failure
        self._taken_in = exception
        is_resetting = trial in self._resetting_trials
        self._resetting_trials.discard(trial)  # stock Tune would wait for the dead worker forever
        overdue = self._overdue.pop(trial, None)
        if is_resetting and isinstance(exception, RayActorError):
            self._set_trial_status(
                trial, Trial.PENDING
            )  # the trial has not begun: the worker died of the previous one
            return
        task = trial.config["task"]
        will_retry = self._tasks.on_failure(task.trial_id, overdue or failure_of(exception, task))
        trial.config["task"] = self._run.retried(task)
        # Tune checks `num_failures <= max_failures`, and takes a negative maximum as endless retries.
        trial.max_failures = -1 if will_retry else 0
        trial.run_metadata.num_failures = 1
        super()._process_trial_failure(trial, exception)


def placement(cpus: float, gpus: float) -> PlacementGroupFactory:
    """Return what one trial reserves on a node."""
    return PlacementGroupFactory([{"CPU": cpus, **({"GPU": gpus} if gpus else {})}])


@contextmanager
def controlling(
    run: Run, *, slots: int, say: Callable[[str], None] = lambda line: None
) -> Iterator[SearchController]:
    """Make a controller of the run for the block; its workers end with it.

    Tune insists on a storage, so it gets a temporary folder, to which nothing is ever written.

    Args:
        slots: Trials at a time.
        say: Called with a message when a wait takes long.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    resources = run.space.resources
    with tempfile.TemporaryDirectory(prefix="jouletune-") as scratch:
        controller = SearchController(
            run,
            StorageContext(storage_path=scratch, experiment_dir_name="tune"),
            slots=slots,
            cpus=resources.cores_per_trial,
            gpus=resources.gpus_per_trial or 0.0,
            say=say,
        )
        try:
            yield controller
        finally:
            # Killed workers and a lost Ray do not answer: calls to them would wait forever.
            if not (controller.is_killed or is_ray_lost()):
                controller.cleanup()
