"""The load beside the trials: an actor that trains again and again on their device, until the run ends.

Energy per epoch depends on what else the device does. With `--background` every trial is measured under one
and the same load: it begins before the first trial, and if it fails the run ends, as the trials after it
would be measured without.
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
    """The process that trains. It ends with the run's: Ray ends the actors of a driver that is gone."""

    def __init__(self, task: TrialTask) -> None:
        self._task = task
        self._stack = contextlib.ExitStack()
        self._rows: Iterator[EpochRow] | None = None

    def first_epoch(self) -> Failure | None:
        """Train one epoch, so that what follows is steady work; gives why that failed."""
        return self._guarded(self._begin)

    def train_on(self) -> Failure | None:
        """Train until something fails."""
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
            except Exception as error:  # the run ends for it, with its cause
                log.write(traceback.format_exc())
                return classify(error)
        return None


class BackgroundWorkload:
    """The driver's hold on the load.

    Attributes:
        has_begun: It has trained its first epoch.
    """

    def __init__(self, background: Background) -> None:
        task = background.task
        options = {"num_cpus": task.cpus, "num_gpus": task.gpus, "max_restarts": 0}
        make: Any = ray.remote(BackgroundActor)
        self._actor = make.options(**options).remote(task)
        self._answer = self._actor.first_epoch.remote()
        self.has_begun = False

    def poll(self, *, wait_s: float = 0.0) -> Failure | None:
        """Why it trains no more; None as long as it does."""
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
        if not is_ray_lost():  # it ended with Ray
            ray.kill(self._actor)


@contextlib.contextmanager
def beside(
    run: Run, background: Background | None, say: Callable[[str], None] = lambda line: None
) -> Iterator[Callable[[], None]]:
    """Train the load as long as the block lasts, from before its first line; gives a function that checks it.

    A load that fails ends the run: trials measured without it are not what was asked for.

    Args:
        say: Called now and then while its first epoch is waited for.
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
