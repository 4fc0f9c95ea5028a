"""The look at this machine, in a process of its own beside whatever else starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from search.fresh_processes import fresh_processes
from search.preflight.examine import examine, look_at_data
from search.preflight.order import Order, PreflightError, Report
from search.trial.task import TrialTask
from trainables.contract import DataError


@contextmanager
def examining(order: Order) -> Iterator[Future[Report]]:
    """A look that has begun, in a fresh Python that has this process's environment, as workers have.

    In this process it would load torch, which takes 0.5 GiB, and a user's file could end it. The process
    ends with the look, not with the context, which may be a whole search.
    """
    with fresh_processes(1) as pool:
        looking = pool.submit(examine, order)
        looking.add_done_callback(lambda _: pool.shutdown(wait=False))
        yield looking


def report_of(looking: Future[Report]) -> Report:
    """What the look found.

    Raises:
        PreflightError: It died on the way.
    """
    try:
        return looking.result()
    except BrokenProcessPool as error:
        what = "the look itself was killed, by a trainable that exits on import or for want of memory"
        raise PreflightError([f"{what}; python scripts/train.py shows which"]) from error


def data_of(task: TrialTask) -> Sequence[str]:
    """What there is in the data of a trial, looked at in a fresh Python: a `DataSummary`, or notes.

    Raises:
        DataError: It cannot be used.
        PreflightError: The look died on the way.
    """
    with fresh_processes(1) as pool:
        try:
            return pool.submit(look_at_data, task).result()
        except DataError as error:
            raise DataError(f"data: {error}") from error
        except BrokenProcessPool as error:
            what = (
                "data: the look at it was killed, by a trainable that exits on import or for want of memory"
            )
            raise PreflightError([what], has_way_round=False) from error
