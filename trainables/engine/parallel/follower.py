"""A rank above 0: a process that trains the epochs that rank 0 requests, and waits in between."""

from __future__ import annotations

import io
import signal
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from trainables.core.contract import Budget, Diverged, TrainingContext
from trainables.core.load import TrainableRef
from trainables.core.subprocess_pool import end_with_parent
from trainables.engine.parallel.ranks import Ranks
from trainables.engine.precision import may_be_of_precision
from trainables.engine.seeds import derived_seed, seed_all
from trainables.engine.supervised import SupervisedTraining


@dataclass(frozen=True)
class Job:
    """The plain data that a rank is started with.

    Attributes:
        hparams: Values by name, as their class may come from a user's own file.
        meeting: The file where ranks find each other.
        threads: Number of torch threads of each rank.
    """

    ref: TrainableRef
    hparams: Mapping[str, Any]
    budget: Budget
    context: TrainingContext
    rank: int
    meeting: Path
    threads: int


@dataclass(frozen=True)
class Failed:
    """The error of a rank, and its traceback as text."""

    error: BaseException
    traceback: str


def follow(job: Job, pipe: Connection) -> None:
    """Build the training and train its epochs on request, until the other end of `pipe` is closed.

    Sends on `pipe`: None once the training is built, once before its first epoch, and after each epoch;
    `Failed` before it ends with an error.
    """
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that decides
    try:
        training = _started(job)
        pipe.send(None)
        _train_as_asked(training, job, pipe)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # rank 0 no longer needs this one
    except BaseException as error:  # whatever it is, rank 0 raises it again
        pipe.send(_failed(error))


def _started(job: Job) -> SupervisedTraining[Any]:
    torch.set_num_threads(job.threads)
    if job.context.device.startswith("cuda"):
        torch.cuda.set_device(job.rank)  # "cuda" means this one from here on
    trainable = job.ref.load()
    training = trainable.start(trainable.hparams(**job.hparams), job.budget, job.context)
    assert isinstance(training, SupervisedTraining)  # rank 0 reports one that is not
    return training


def _train_as_asked(training: SupervisedTraining[Any], job: Job, pipe: Connection) -> None:
    ranks: Ranks | None = None
    while True:
        # To the CPU: tensors on rank 0's GPU would open that GPU in every rank.
        received = io.BytesIO(pipe.recv_bytes())
        budget, state = torch.load(received, map_location="cpu", weights_only=False)
        if ranks is None:
            pipe.send(None)
            device = torch.device(job.context.device)
            ranks = Ranks(job.rank, job.context.num_processes, job.meeting, device)
        training.follow(state)
        # Each rank draws its own dropout, the same after a resume.
        seed_all(derived_seed("rank", job.context.seed, training.epochs_done, job.rank))
        try:
            training.train_along(budget, ranks)
        except (Diverged, RuntimeError) as error:
            if not may_be_of_precision(error):
                raise
            # Rank 0 has seen the same error and may train the epoch again, in fp32.
        pipe.send(None)


def _failed(error: BaseException) -> Failed:
    """The error in a form that can be sent, without its cause and context."""
    text = "".join(traceback.format_exception(error))
    plain = error.with_traceback(None)
    plain.__cause__ = plain.__context__ = None
    try:
        pickled = io.BytesIO()
        torch.save(plain, pickled)
        torch.load(io.BytesIO(pickled.getvalue()), weights_only=False)
    except Exception:  # its class takes other arguments, or was defined in a function
        plain = RuntimeError(f"{type(error).__name__}: {error}")
    return Failed(plain, text)
