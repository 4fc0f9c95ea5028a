"""Execute a run on Ray: as many trials at a time as there are slots, on warm workers."""

from __future__ import annotations

import logging
import tempfile

from ray.train._internal.storage import StorageContext
from ray.tune.error import TuneError

from search.cluster.background import beside
from search.cluster.bridge import SearchController
from search.cluster.gauges import RunGauges
from search.run import Run
from search.trial.background import Background


def execute(run: Run, *, slots: int, background: Background | None = None) -> str:
    """Run every trial of `run` to its end and give the reason the run ended.

    Args:
        slots: Trials at a time.
        background: What trains beside them, from before the first until after the last.

    Raises:
        JournalError: The journal took no event.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    resources = run.space.resources
    with tempfile.TemporaryDirectory(prefix="jouletune-") as scratch:
        controller = SearchController(
            run,
            StorageContext(storage_path=scratch, experiment_dir_name="tune"),
            slots=slots,
            cpus=resources.cpus_per_trial,
            gpus=resources.gpus_per_trial or 0.0,
        )
        gauges = RunGauges(run)
        with beside(run, background) as look_beside:
            try:
                while not controller.is_finished():
                    controller.step()
                    look_beside()
                    gauges.update()
            except TuneError as error:  # what a result led to, of which Tune keeps the text
                raise error.__context__ or error from None
            finally:
                controller.cleanup()
    return run.end()
