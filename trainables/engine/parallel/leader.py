"""Rank 0 of a training in several processes: it starts the others, leads them through epochs, and ends them.

The others are children of the process that runs the trial, so that whatever finds or ends a trial's processes
(the energy meter's process tree, a worker's clean-up) finds them too.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import TrainableRef
from trainables.core.subprocess_pool import FreshContext
from trainables.engine.parallel.follower import Failed, Job, follow
from trainables.engine.parallel.ranks import Ranks, RanksLost
from trainables.engine.precision import may_be_of_precision
from trainables.engine.supervised import SupervisedTraining

_EXPLAINED_S = 10.0  # a rank that fails says why within milliseconds, but may have to write a core dump first
_ENDED_S = 2.0  # a rank that waits for its next epoch ends at once


class LostRank(Exception):
    """A process of a training ended without reporting an error, as a killed one does."""


class RankTraceback(Exception):
    """The traceback of a rank as text, used as the cause of its error when that is raised in rank 0."""


def start(ref: TrainableRef, hparams: Any, budget: Budget, context: TrainingContext) -> Any:
    """Start the training of `ref` in `context.num_processes` processes.

    Raises:
        Exception: Whatever starting it raises in any of them.
        LostRank: One of them was killed.
    """
    own = _own_part(context)
    leader = Leader(ref, hparams, budget, own)
    try:
        training = ref.load().start(hparams, budget, own)
        if not isinstance(training, SupervisedTraining):
            raise TypeError(f"{ref.title} says that it is data parallel, but returns no SupervisedTraining")
        leader.await_start()
    except BaseException:
        leader.end()
        raise
    training.lead(leader)
    return training


def _own_part(context: TrainingContext) -> TrainingContext:
    """The context of each process, with its part of the threads."""
    return replace(context, num_workers=max(1, context.num_workers // context.num_processes))


class Leader:
    """The other ranks of one training, as rank 0 sees them. They end when this object is deleted."""

    def __init__(self, ref: TrainableRef, hparams: Any, budget: Budget, context: TrainingContext) -> None:
        self._number, self._device = context.num_processes, torch.device(context.device)
        self._folder = Path(tempfile.mkdtemp(prefix="jouletune-ranks-"))
        self._others: list[_Other] = []
        self._ranks: Ranks | None = None
        self._threads = torch.get_num_threads()
        self._end = weakref.finalize(self, _end, self._others, self._folder, self._threads)
        threads = max(1, self._threads // self._number) if self._device.type == "cpu" else self._threads
        torch.set_num_threads(threads)
        values = {each.name: getattr(hparams, each.name) for each in fields(hparams) if each.init}
        context = replace(context, progress_file=None)  # this rank writes it for all
        for rank in range(1, self._number):
            job = Job(ref, values, budget, context, rank, self._folder / "meeting", threads)
            self._others.append(_Other.started(job))

    @property
    def note(self) -> str:
        """How many processes train, for the trial's row."""
        return f"{self._number}: each computes its share of every batch, and gradients are added up"

    def await_start(self) -> None:
        """Wait until all ranks have built their training.

        Raises:
            Exception: The error that kept one of them from it.
            LostRank: One of them was killed.
        """
        for other in self._others:
            self._answer_of(other)

    @contextmanager
    def epoch(self, budget: Budget, state: Mapping[str, Any]) -> Iterator[Ranks]:
        """Context in which the other ranks train the same epoch from `state`.

        Raises:
            Exception: The error that ended one of the others, with its traceback.
            LostRank: One of them was killed.
        """
        buffer = io.BytesIO()
        torch.save((budget, dict(state)), buffer)
        for other in self._others:
            with suppress(OSError):  # it is gone; the reason shows below
                other.pipe.send_bytes(buffer.getbuffer())
        if self._ranks is None:
            self._await_all()  # they are about to join the group, which would wait in vain for a lost one
        try:
            self._ranks = self._ranks or Ranks(0, self._number, self._folder / "meeting", self._device)
            yield self._ranks
        except RanksLost as lost:  # in a step, or on the way to the meeting
            self._end_for(lost)
        except BaseException as error:
            # Such an error occurs in all ranks at the same step, and they wait for the next epoch. Any other
            # error is unknown to them.
            if isinstance(error, Exception) and may_be_of_precision(error):
                self._await_all()
            else:
                self.end()
            raise
        self._await_all()

    def end(self) -> None:
        """End the other ranks; none of them is left when this returns."""
        self._end()

    def _end_for(self, lost: RanksLost) -> NoReturn:
        """End the other ranks and raise the lost one's error, with its traceback as the cause."""
        reason = self._reason()
        self.end()
        raise reason or lost

    def _await_all(self) -> None:
        """Wait until every rank has done its part, or one of them has failed."""
        waiting = list(self._others)
        while waiting:
            ready = wait([other.pipe for other in waiting])
            for other in [each for each in waiting if each.pipe in ready]:
                self._answer_of(other)
                waiting.remove(other)

    def _answer_of(self, other: _Other) -> None:
        answer = other.answer()
        if answer is None:
            return
        # A rank that only lost its connection is not the one that failed.
        raise (answer if not isinstance(answer, RanksLost) else self._reason() or answer)

    def _reason(self) -> BaseException | None:
        """The error of the rank that failed first; None if each of them only lost another."""
        ends_s, waiting = time.monotonic() + _EXPLAINED_S, list(self._others)
        while waiting and time.monotonic() < ends_s:
            for other in waiting:
                if other.pipe in wait([other.pipe], 0.05):
                    answer = other.answer()
                    if answer is not None and not isinstance(answer, RanksLost):
                        return answer
                    waiting.remove(other)
                    break
        return None


@dataclass(frozen=True, eq=False)
class _Other:
    """One of the other ranks, as rank 0 sees it."""

    rank: int
    process: BaseProcess
    pipe: Connection

    @classmethod
    def started(cls, job: Job) -> _Other:
        context = FreshContext()
        here, there = context.Pipe()
        process = context.Process(target=follow, args=(job, there), name=f"rank-{job.rank}", daemon=True)
        process.start()
        there.close()  # otherwise its end would go unnoticed here
        return cls(job.rank, process, here)

    def answer(self) -> BaseException | None:
        """Wait for its answer: None if it has done its part, else the error."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_ENDED_S)
            return LostRank(f"the process of rank {self.rank} {_ending(self.process.exitcode)}")
        if not isinstance(answer, Failed):
            return None
        error = answer.error
        error.__cause__ = RankTraceback(f'\n"""\nin the process of rank {self.rank}:\n{answer.traceback}"""')
        return error


def _ending(status: int | None) -> str:
    if status is None:
        return "has closed its pipe"
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def _end(others: Sequence[_Other], folder: Path, threads: int) -> None:
    """End all other ranks, and give the threads that they had back to this one."""
    for other in others:
        other.pipe.close()
    for other in others:
        other.process.join(_ENDED_S)
        if other.process.is_alive():
            other.process.kill()
            other.process.join()
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(threads)
