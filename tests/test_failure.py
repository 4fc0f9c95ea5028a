"""Causes of failure, and which may pass by themselves."""

from __future__ import annotations

import urllib.error

import pytest

from search.trial.failure import Failure, classify
from trainables.contract import BadResult, DataError, Diverged, WeightsError


class OutOfMemoryError(RuntimeError):
    """Named as torch's and Ray's are."""


class LocalEntryNotFoundError(FileNotFoundError, ValueError):
    """Named as huggingface_hub's is."""


class ActorDiedError(RuntimeError):
    """Named as Ray's is."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Diverged("loss became nan in epoch 3"), "diverged"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (ActorDiedError("Task was killed due to the node running low on memory."), "out_of_memory"),
        (
            ActorDiedError("Potential root causes: (1) SIGKILL by OOM killer due to high memory usage"),
            "lost_worker",
        ),
        (ActorDiedError("The actor died unexpectedly before finishing this task."), "lost_worker"),
        (LocalEntryNotFoundError("outgoing traffic has been disabled"), "weights_missing"),
        (WeightsError("model.safetensors is not in the cache"), "weights_missing"),
        (urllib.error.URLError("name resolution"), "network"),
        (ConnectionResetError("connection reset by peer"), "network"),
        (DataError("no images"), "data"),
        (BadResult("no val_accuracy"), "bad_result"),
        (KeyError("x"), "crash"),
    ],
)
def test_an_error_has_one_cause(error: Exception, cause: str) -> None:
    assert classify(error).cause == cause


def test_only_causes_that_can_pass_are_tried_again_and_only_once() -> None:
    assert Failure(cause="network", message="").may_pass(attempts=1)
    assert Failure(cause="lost_worker", message="").may_pass(attempts=1)
    assert not Failure(cause="lost_worker", message="").may_pass(attempts=2)
    for cause in ("weights_missing", "data", "crash", "out_of_memory", "diverged", "bad_result"):
        assert not Failure(cause=cause, message="").may_pass(attempts=1)


def test_the_message_is_one_line_and_the_traceback_is_kept() -> None:
    try:
        raise ValueError("first line\nsecond line")
    except ValueError as error:
        failure = classify(error)
    assert failure.message == "ValueError: first line"
    assert "test_failure.py" in failure.traceback


def test_a_cuda_error_leaves_the_process_unusable() -> None:
    assert classify(RuntimeError("CUDA error: device-side assert triggered")).is_sticky
    assert not classify(RuntimeError("CUDA out of memory")).is_sticky
