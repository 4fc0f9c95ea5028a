"""Execute a run on Ray: as many trials at a time as there are slots, on warm workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from search.backends.ray.background import beside
from search.backends.ray.liveness import check_ray
from search.backends.ray.prometheus import RunGauges
from search.run import Run
from search.trial.background import Background


class Grace:
    """How long running work may continue once the run should end: a hanging epoch would delay it forever.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._ends_s: float | None = None

    def is_over(self) -> bool:
        """Whether what still runs must be ended now."""
        if self._run.stop_reason() is None:
            return False
        if self._ends_s is None:
            self._ends_s = self._clock() + self._run.space.limits.grace_s
        return self._clock() >= self._ends_s


class Controller(Protocol):
    """Carries a run's tasks to workers and their results back, step by step."""

    def step(self) -> None:
        """Handle the next event.

        Raises:
            JournalError: An event cannot be written to the journal.
            RayLost: Ray is gone.
        """

    def is_finished(self) -> bool:
        """Whether no task is in progress and none will come."""
        ...

    def kill_workers(self) -> None:
        """Kill all workers immediately, with everything they started."""


class Controlling(Protocol):
    """Makes a controller of the run for a block; `tune_adapter` and `core_controller` each have one."""

    def __call__(
        self, run: Run, *, slots: int, say: Callable[[str], None]
    ) -> AbstractContextManager[Controller]: ...


def execute(
    run: Run,
    *,
    controlling: Controlling,
    slots: int,
    background: Background | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Execute `run` to its end and return the reason it ended.

    Once the run should end, epochs in progress get the grace period of its limits; whatever still runs after
    that is ended, and its trial interrupted.

    Args:
        slots: Trials at a time.
        background: Trains beside the trials, from before the first until after the last.
        say: Called with a message when a wait takes long.

    Raises:
        JournalError: An event cannot be written to the journal.
        RayLost: Ray is gone.
    """
    gauges = RunGauges(run)
    with (
        beside(run, background, say) as look_beside,
        controlling(run, slots=slots, say=say) as controller,
    ):
        grace = Grace(run)
        while not controller.is_finished():
            check_ray()
            controller.step()
            if grace.is_over():
                controller.kill_workers()
                break
            look_beside()
            gauges.update()
            run.keep_time_and_energy()
    return run.end()
