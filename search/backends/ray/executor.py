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
    """How long running work may continue once the run is to end: an epoch that hangs would keep it for ever.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._ends_s: float | None = None

    def is_over(self) -> bool:
        """Whether what still runs is to be ended now."""
        if self._run.stop_reason() is None:
            return False
        if self._ends_s is None:
            self._ends_s = self._clock() + self._run.space.limits.grace_s
        return self._clock() >= self._ends_s


class Controller(Protocol):
    """Carries a run's tasks to workers and their results back, step by step."""

    def step(self) -> None:
        """Take in what happens next.

        Raises:
            JournalError: The journal took no event.
            RayLost: Ray is gone.
        """

    def is_finished(self) -> bool:
        """Whether no task is under way and none will come."""
        ...

    def kill_workers(self) -> None:
        """End all workers at once, with what they have started."""


class Controlling(Protocol):
    """A controller of the run for a block: of `tune_adapter` or of `core_controller`."""

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
    """Run every trial of `run` to its end and give the reason the run ended.

    Once it is to end, epochs under way have the grace of its limits; what runs after that is ended, and its
    trial interrupted.

    Args:
        slots: Trials at a time.
        background: What trains beside them, from before the first until after the last.
        say: Called with what is waited for, where that takes long.

    Raises:
        JournalError: The journal took no event.
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
    return run.end()
