"""The internals of Ray that this program depends on, in one table, and a check that Ray still has them.

Ray's public API is stable for years; what is listed here may change with any release, although none of it did
between 2.46 and 2.60. A Ray that lacks a name, or has it with other parameters, is refused at the start of a
search, before a journal exists, with a message on what it is needed for and what to do. `--backend ray-core`
needs only four of them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from search.backends.errors import SessionError

OTHER_RAY = "Install another Ray: pip install 'ray[default,tune]>=2.46,<2.61'"
WITHOUT_TUNE = f"Use --backend ray-core, which does without Ray Tune. {OTHER_RAY}"

_WORKER = "ray._private.worker"
_STATE = "ray._private.state"
_MANAGER = "ray.air.execution._internal"
_TUNE = "ray.tune.execution.tune_controller"


@dataclass(frozen=True)
class Internal:
    """One internal name of Ray.

    Attributes:
        module: Module from which it is imported.
        name: Name in the module; with a dot, an attribute of a class in it.
        purpose: Its use here, to complete "needed to ...".
        parameters: First parameters, after `self`, of a method that is overridden or called; None for
            anything else.
        is_set_by_init: Whether it is an instance attribute, visible only in the class's `__init__`.
    """

    module: str
    name: str
    purpose: str
    parameters: tuple[str, ...] | None = None
    is_set_by_init: bool = False


# Both engines.
OF_CORE = (
    Internal(_WORKER, "_global_node", "find and end the processes that Ray has started here"),
    Internal("ray._private.ray_constants", "ENABLE_RAY_CLUSTER", "have Ray listen on loopback alone"),
    Internal(_STATE, "actors", "find the process of a worker that is to be ended", ("actor_id",)),
    Internal(_STATE, "available_resources_per_node", "report what a trial without a place waits for", ()),
)
# Tune's controller and its parts, for `tune_adapter.py`.
OF_TUNE = (
    Internal(
        "ray.train._internal.storage", "StorageContext", "give Tune a storage that nothing is written to"
    ),
    Internal("ray.tune.execution.class_cache", "ENV_VARS_TO_PROPAGATE", "keep secrets out of Ray's logs"),
    Internal(
        "ray.tune.experiment", "Trial.update_last_result", "keep no statistics of each result", ("result",)
    ),
    Internal(_MANAGER, "RayActorManager.cleanup", "end its bookkeeping of workers that were ended", ()),
    Internal(
        _MANAGER,
        "RayActorManager.remove_actor",
        "replace a worker that a trial has spoilt",
        ("tracked_actor", "kill"),
    ),
    Internal(
        _MANAGER,
        "RayActorManager._actor_task_failed",
        "treat a kill by the memory monitor as the end of one worker",
        ("tracked_actor_task", "exception"),
    ),
    Internal(
        _MANAGER,
        "RayActorManager._schedule_tracked_actor_task",
        "name a worker's call by what it trains",
        ("tracked_actor_task", "method_name"),
    ),
    Internal(
        _MANAGER,
        "RayActorManager._live_actors_to_ray_actors_resources",
        "find the workers that are to be ended",
        is_set_by_init=True,
    ),
    Internal(_TUNE, "TuneController.step", "handle the next event", ()),
    Internal(_TUNE, "TuneController.checkpoint", "write no snapshots", ("force", "wait")),
    Internal(_TUNE, "TuneController.cleanup", "end the workers", ()),
    Internal(_TUNE, "TuneController._maybe_cache_trial_actor", "keep workers warm", ("trial",)),
    Internal(_TUNE, "TuneController._schedule_trial_actor", "count the wait for a place", ("trial",)),
    Internal(_TUNE, "TuneController._actor_started", "count the time that a start takes", ("tracked_actor",)),
    Internal(
        _TUNE,
        "TuneController._schedule_trial_task",
        "count the time that an epoch takes",
        ("trial", "method_name"),
    ),
    Internal(
        _TUNE,
        "TuneController._schedule_trial_stop",
        "end the count of a trial's time",
        ("trial", "exception"),
    ),
    Internal(_TUNE, "TuneController._on_trial_reset", "start a trial on a new worker", ("trial", "success")),
    Internal(
        _TUNE,
        "TuneController._process_trial_failure",
        "retry a trial depending on why it failed",
        ("trial", "exception"),
    ),
    Internal(
        _TUNE, "TuneController._unstage_trial_with_resources", "start a trial on a new worker", ("trial",)
    ),
    Internal(_TUNE, "TuneController._set_trial_status", "start a trial on a new worker", ("trial", "status")),
    *(
        Internal(_TUNE, f"TuneController.{name}", purpose, is_set_by_init=True)
        for name, purpose in (
            ("_resetting_trials", "start a trial on a new worker"),
            ("_trial_to_actor", "start a trial on a new worker"),
            ("_actor_to_trial", "know which trial a worker trains"),
            ("_pending_trials_list", "start a trial on a new worker"),
            ("_actor_manager", "treat a kill by the memory monitor as the end of one worker"),
            ("_actor_cache", "keep all slots' workers warm"),
            ("_max_pending_trials", "fill all slots at once"),
        )
    ),
)


def check_internals(internals: Sequence[Internal], remedy: str) -> None:
    """Check that the installed Ray has these internals as they are used here.

    Raises:
        SessionError: It lacks some; the message says what each is needed for.
    """
    if lacks := list(lacking(internals)):
        import ray  # see backend.py: 2 to 4 s

        raise SessionError(f"Ray {ray.__version__} is not supported: {'; '.join(lacks)}. {remedy}")


def lacking(internals: Sequence[Internal]) -> Iterator[str]:
    """Yield a sentence for each of these that the installed Ray does not have as it is used here."""
    for internal in internals:
        if changed := _changed(internal):
            yield f"{internal.module}.{internal.name} {changed}; it is needed to {internal.purpose}"


def _changed(internal: Internal) -> str:
    """Return what is different, as text to follow the name; empty if nothing is."""
    owner, _, attribute = internal.name.rpartition(".")
    try:
        found: Any = importlib.import_module(internal.module)
        for name in filter(None, (owner, "" if internal.is_set_by_init else attribute)):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return "is gone"
    if internal.is_set_by_init:
        return "" if attribute in found.__init__.__code__.co_names else "is gone"
    if internal.parameters is None:
        return ""
    now = [name for name in inspect.signature(found).parameters if name != "self"]
    wanted = list(internal.parameters)
    return (
        "" if now[: len(wanted)] == wanted else f"takes ({', '.join(now)}) instead of ({', '.join(wanted)})"
    )
