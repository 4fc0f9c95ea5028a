"""Execute a run on Ray: as many trials at a time as there are slots, on warm workers."""

from __future__ import annotations

import logging
import tempfile

from ray.train._internal.storage import StorageContext
from ray.tune.error import TuneError

from search.cluster.bridge import SearchController
from search.cluster.gauges import RunGauges
from search.cluster.session import Session, SessionError
from search.run import Run
from search.space import Resources


def execute(run: Run, *, slots: int) -> str:
    """Run every trial of `run` to its end and give the reason the run ended.

    Args:
        slots: Trials at a time.

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
        try:
            while not controller.is_finished():
                controller.step()
                gauges.update()
        except TuneError as error:  # what a result led to, of which Tune keeps the text
            raise error.__context__ or error from None
        finally:
            controller.cleanup()
    return run.end()


def fitted(resources: Resources, session: Session) -> Resources:
    """The resources with what was left open chosen from what the session has.

    A GPU each where there are GPUs; as many trials at a time as cores or GPUs allow.

    Raises:
        SessionError: One trial needs more than the whole session has.
    """
    gpus = resources.gpus_per_trial
    gpus = float(min(session.num_gpus, 1)) if gpus is None else gpus
    fits = session.num_cpus // resources.cpus_per_trial
    if gpus:
        fits = min(fits, session.num_gpus // gpus)
    if fits < 1:
        raise SessionError(
            f"a trial wants {resources.cpus_per_trial:g} CPUs and {gpus:g} GPUs, "
            f"but there are {session.num_cpus} CPUs and {session.num_gpus} GPUs"
        )
    workers = int(fits) if resources.workers is None else min(resources.workers, int(fits))
    return resources.model_copy(update={"gpus_per_trial": gpus, "workers": workers})
