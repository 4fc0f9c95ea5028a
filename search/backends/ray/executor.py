"""Execute a run on Ray: as many trials at a time as there are slots, on warm workers."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable

from ray.train._internal.storage import StorageContext
from ray.tune.error import TuneError

from search.backends.ray.background import beside
from search.backends.ray.liveness import check_ray, is_ray_lost
from search.backends.ray.prometheus import RunGauges
from search.backends.ray.tune_adapter import SearchController
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


def execute(
    run: Run,
    *,
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
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="jouletune-") as scratch:
        controller = _make_controller(run, scratch, slots=slots, say=say)
        gauges = RunGauges(run)
        with beside(run, background, say) as look_beside:

            def after_step() -> None:
                look_beside()
                gauges.update()

            try:
                _drive(run, controller, after_step)
            finally:
                # Neither answers any more: what is asked of them would wait for ever.
                if not (controller.is_killed or is_ray_lost()):
                    controller.cleanup()
    return run.end()


def _make_controller(run: Run, scratch: str, *, slots: int, say: Callable[[str], None]) -> SearchController:
    """The controller of the run. Tune insists on a storage; in `scratch` nothing is ever written."""
    resources = run.space.resources
    return SearchController(
        run,
        StorageContext(storage_path=scratch, experiment_dir_name="tune"),
        slots=slots,
        cpus=resources.cpus_per_trial,
        gpus=resources.gpus_per_trial or 0.0,
        say=say,
    )


def _drive(run: Run, controller: SearchController, after_step: Callable[[], None]) -> None:
    """Let the controller take one step after another until the run has ended or its grace is over.

    Raises:
        JournalError: The journal took no event.
        RayLost: Ray is gone.
    """
    grace = Grace(run)
    try:
        while not controller.is_finished():
            check_ray()
            controller.step()
            if grace.is_over():
                controller.kill_workers()
                return
            after_step()
    except TuneError as error:  # what a result led to, of which Tune keeps the text
        raise error.__context__ or error from None
