"""The background workload: an actor that trains repeatedly on the trials' device until the run ends.

Energy per epoch depends on what else the device does. With `--background` every trial is measured beside the
same workload. It begins before the first trial, and if it fails the run ends, because later trials would be
measured without it.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from search.backends.ray.liveness import check_ray_now, is_ray_lost
from search.backends.ray.worker import metered
from search.backends.trial_log import captured
from search.run import Run
from search.trial import EpochRow
from search.trial.background import Background, endless_rows
from search.trial.failure import Failure, classify
from search.trial.task import TrialTask

_POLL_S = 0.2
_FIRST_REPORT_S, _REPORT_EVERY_S = 60.0, 600.0


class BackgroundActor:
    """The process that trains. Ray ends it with the run's process, as it ends all actors of a lost driver."""

    def __init__(self, task: TrialTask) -> None:
        self._task = task
        self._stack = contextlib.ExitStack()
        self._rows: Iterator[EpochRow] | None = None

    def first_epoch(self) -> Failure | None:
        """Train one epoch, so that what follows is steady work; return why it failed, if it did."""
        return self._guarded(self._begin)

    def train_on(self) -> Failure | None:
        """Train until something fails, and return the failure."""
        return self._guarded(self._train)

    def _begin(self) -> None:
        meter, self._hold = self._stack.enter_context(metered(self._task, role="background"))
        self._rows = endless_rows(self._task, meter)
        next(self._rows)

    def _train(self) -> None:
        assert self._rows, "first_epoch comes first"
        self._hold()
        for _ in self._rows:
            self._hold()

    def _guarded(self, work: Callable[[], None]) -> Failure | None:
        with captured(self._task.log) as log:
            try:
                work()
            except Exception as error:  # ends the run, with this cause
                log.write(traceback.format_exc())
                return classify(error)
        return None


class BackgroundWorkload:
    """The driver's handle on the background workload.

    Attributes:
        has_begun: Whether it has trained its first epoch.
    """

    def __init__(self, background: Background) -> None:
        task = background.task
        options = {"num_cpus": task.cpus, "num_gpus": task.gpus, "max_restarts": 0}
        make: Any = ray.remote(BackgroundActor)
        self._actor = make.options(**options).remote(task)
        self._answer = self._actor.first_epoch.remote()
        self.has_begun = False

    def poll(self, *, wait_s: float = 0.0) -> Failure | None:
        """Return why the workload failed; None while it trains."""
        if not ray.wait([self._answer], timeout=wait_s)[0]:
            return None
        try:
            failure: Failure | None = ray.get(self._answer)
        except RayError as error:
            check_ray_now()
            return classify(error)
        if failure is None:
            self.has_begun = True
            self._answer = self._actor.train_on.remote()
        return failure

    def end(self) -> None:
        if not is_ray_lost():  # otherwise it ended with Ray
            ray.kill(self._actor)


@contextlib.contextmanager
def beside(
    run: Run, background: Background | None, say: Callable[[str], None] = lambda line: None
) -> Iterator[Callable[[], None]]:
    """Train the workload for the duration of the block, which begins after its first epoch.

    Yields a function that checks the workload. If the workload fails the run ends, because trials measured
    without it are not what the user requested.

    Args:
        say: Called now and then while waiting for the first epoch.
    """
    if background is None:
        yield lambda: None
        return
    load = BackgroundWorkload(background)

    def check(wait_s: float = 0.0) -> None:
        if run.stop_reason() is None and (failure := load.poll(wait_s=wait_s)):
            why = f"{failure.cause}: {failure.message} (see {background.task.log})"
            run.interrupt(f"the background load failed: {why}", is_failure=True)

    try:
        say_s = time.monotonic() + _FIRST_REPORT_S
        while not load.has_begun and run.stop_reason() is None:
            check(_POLL_S)
            if time.monotonic() > say_s:
                say(f"the trials wait for the first epoch of the background load; see {background.task.log}")
                say_s += _REPORT_EVERY_S
        yield check
    finally:
        load.end()
        run.end_background()
