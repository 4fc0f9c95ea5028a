"""Causes of failure, and which may pass by themselves."""

from __future__ import annotations

import errno
import os
import re
import urllib.error
from pathlib import Path
from typing import get_args

import pytest

from search.trial.failure import Cause, Failure, classify, remedy_for
from trainables.core.contract import BadResult, DataError, Diverged, WeightsError


class OutOfMemoryError(RuntimeError):
    """Named as torch's and Ray's are."""


class LocalEntryNotFoundError(FileNotFoundError, ValueError):
    """Named as huggingface_hub's is."""


class ActorDiedError(RuntimeError):
    """Named as Ray's is."""


class TransportError(Exception):
    """Named as httpx's is."""


class ConnectError(TransportError):
    """Named as httpx's is."""


class HfHubHTTPError(OSError):
    """Named as huggingface_hub's is."""


class RepositoryNotFoundError(HfHubHTTPError):
    """Named as huggingface_hub's is."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Diverged("loss became nan in epoch 3"), "diverged"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "out_of_memory"),
        (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), "crash"),
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
        (ConnectError("[Errno -2] Name or service not known"), "network"),
        (HfHubHTTPError("503 Service Unavailable"), "network"),
        (RepositoryNotFoundError("404 Client Error"), "weights_missing"),
        (DataError("no images"), "data"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/images.npy"), "disk"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "disk"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "disk"),
        (RuntimeError("unable to write to file </torch_1>: No space left on device (28)"), "disk"),
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
    for cause in set(get_args(Cause)) - {"network", "lost_worker", "timeout"}:
        assert not Failure(cause=cause, message="").may_pass(attempts=1)


def test_the_message_is_one_line_and_the_traceback_is_kept() -> None:
    try:
        raise ValueError("first line\nsecond line")
    except ValueError as error:
        failure = classify(error)
    assert failure.message == "ValueError: first line"
    assert "test_failure.py" in failure.traceback


def test_an_error_without_a_text_is_named_by_the_line_that_raised_it() -> None:
    try:
        assert [] == [1]
    except AssertionError as error:
        error.args = ()  # pytest writes a text into the asserts of tests
        failure = classify(error)
    assert re.fullmatch(r"AssertionError at test_failure\.py:\d+: assert \[\] == \[1\]", failure.message)
    assert classify(KeyError()).message == "KeyError"  # never raised


def test_a_cuda_error_leaves_the_process_unusable() -> None:
    assert classify(RuntimeError("CUDA error: device-side assert triggered")).is_sticky
    assert not classify(RuntimeError("CUDA out of memory")).is_sticky


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (
            "diverged",
            "nothing, if few did: the sampler avoids such values; otherwise lower the largest lr, or set "
            "warmup_epochs or max_grad_norm",
        ),
        (
            "out_of_memory",
            "lower batch_size or resolution, let fewer trials share the device (--workers 1, "
            "--gpus-per-trial 1), or end what else uses it; to see what one needs: python scripts/train.py "
            "--space results/mine/space.yaml --trial results/mine:trial-0003 --probe",
        ),
        (
            "weights_missing",
            "fetch them: python scripts/preflight.py --space results/mine/space.yaml --download",
        ),
        (
            "network",
            "check that this machine reaches the host, or fetch beforehand what trials load: python "
            "scripts/preflight.py --space results/mine/space.yaml --download",
        ),
        (
            "data",
            "fix the file or folder that the message names, then run: python scripts/preflight.py "
            "--space results/mine/space.yaml --trial",
        ),
        (
            "disk",
            "make room on the disk that the message names (/dev/shm is memory: fewer loader "
            "processes need less), or lower limits.cache_gib",
        ),
        (
            "crash",
            "read the traceback in the log; repeat it in one process: python scripts/train.py "
            "--space results/mine/space.yaml --trial results/mine:trial-0003",
        ),
        (
            "lost_worker",
            "its process was killed from outside: look for it in dmesg (memory) and in the node's health; "
            "lower --workers if memory was short",
        ),
        (
            "bad_result",
            "let each epoch return plain finite numbers, the metric among them; python scripts/train.py "
            "--space results/mine/space.yaml --smoke checks it",
        ),
    ],
)
def test_every_cause_has_a_remedy_with_the_commands_of_the_run(cause: str, remedy: str) -> None:
    assert remedy_for(cause, Path("results/mine"), "trial-0003") == remedy


def test_a_remedy_can_be_pasted_for_a_run_in_a_folder_with_blanks() -> None:
    assert remedy_for("weights_missing", Path("my results/a run"), "trial-0003") == (
        "fetch them: python scripts/preflight.py --space 'my results/a run'/space.yaml --download"
    )


def test_no_cause_is_without_a_remedy() -> None:
    assert all(remedy_for(cause, Path("run"), "trial-0000") for cause in get_args(Cause))
