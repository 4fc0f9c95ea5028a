"""A training that runs out of memory continues with the same steps in smaller pieces."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, TrainingContext
from trainables.core.gpu import release_memory
from trainables.core.load import load_trainable
from trainables.core.optional import probed_memory
from trainables.engine.memory import MicroBatch, is_out_of_memory
from trainables.engine.supervised import SupervisedTraining

SMALL = Budget(epochs=3, subset=0.05, resolution=8)


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8, validation_subset=50
    )


def limited(training: SupervisedTraining[Any], most: int, error: Exception | None = None) -> list[int]:
    """Let the model's forward pass in training run out of memory above `most` examples.

    Returns the sizes that have passed, which grow as it trains.
    """
    passed: list[int] = []

    def check(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        passed.append(len(inputs[0]))

    training.model.register_forward_pre_hook(check)
    return passed


def without_batch_norm(context: TrainingContext) -> SupervisedTraining[Any]:
    """A ResNet-20 whose norms do not depend on the batch."""
    training = start(Hparams(batch_size=32, grad_accum_steps=2, lr=0.02, augment="light"), SMALL, context)
    for module in list(training.model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                module.register_module(name, nn.GroupNorm(4, child.num_features))
    training._stepper._has_batch_norm = False
    return training


def test_half_the_batch_at_once_gives_the_same_loss_curve(context: TrainingContext) -> None:
    whole, halved = without_batch_norm(context), without_batch_norm(context)
    passed = limited(halved, 10)
    curves = [[training.run_epoch(SMALL) for _ in range(3)] for training in (whole, halved)]
    for name in ("train_loss", "val_loss"):
        expected, found = ([values[name] for values in curve] for curve in curves)
        assert found == pytest.approx(expected, abs=1e-5)
    assert [values["num_examples"] for values in curves[1]] == [63.0] * 3  # one step of 64 an epoch
    assert max(passed[:8]) == 8
    assert [values["micro_batch"] for values in curves[1]] == [8.0] * 3
    assert halved.notes()["memory"] == (
        "32 examples at once were too much (epoch 1, step 1); 8 at a time fit, and the step is the same"
    )
    assert "micro_batch" not in curves[0][0]
    assert "memory" not in whole.notes()


def test_with_batch_norm_the_row_says_what_it_sees(context: TrainingContext) -> None:
    training = start_limited(context, 4)
    assert training.run_epoch(SMALL)["micro_batch"] == 4.0
    assert training.notes()["memory"].endswith("the step is the same; BatchNorm sees 4")


def test_with_batch_norm_pieces_are_not_halved_below_two(context: TrainingContext) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        start_limited(context, 1).run_epoch(SMALL)


def start_limited(context: TrainingContext, most: int) -> SupervisedTraining[Any]:
    training = start(Hparams(batch_size=32), SMALL, context)
    limited(training, most)
    return training


def test_scoring_is_halved_too_and_gives_the_same_scores(context: TrainingContext) -> None:
    whole, halved = (start(Hparams(batch_size=8), SMALL, context) for _ in range(2))
    limited(halved, 16)
    names = ("val_loss", "val_accuracy", "val_f1_macro")
    expected, found = (
        {name: training.run_epoch(SMALL)[name] for name in names} for training in (whole, halved)
    )
    assert found == pytest.approx(expected, rel=1e-6)
    assert "50 examples at once were too much (scoring, epoch 1)" in halved.notes()["scoring_memory"]


def test_what_fits_is_remembered_in_the_checkpoint(context: TrainingContext, tmp_path: Path) -> None:
    first = start_limited(context, 8)
    first.run_epoch(SMALL)
    save_checkpoint(tmp_path / "state.pt", first.state_dict())
    second = start(Hparams(batch_size=32), SMALL, context)
    second.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert second.run_epoch(SMALL) | TIMES == first.run_epoch(SMALL) | TIMES
    assert second.notes() == first.notes()


TIMES = {"train_s": 0.0, "eval_s": 0.0}


def test_other_errors_reach_the_caller_at_once(context: TrainingContext) -> None:
    training = start(Hparams(batch_size=32), SMALL, context)
    limited(training, 8, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        training.run_epoch(SMALL)
    assert training.notes().keys() == {"precision"}


def test_pieces_are_halved_until_the_smallest_and_what_was_done_is_undone() -> None:
    micro, tried, undone = MicroBatch(), [], []  # type: ignore[var-annotated]

    def attempt(size: int) -> int:
        tried.append(size)
        if size > 3:
            raise MemoryError
        return size

    options: dict[str, Any] = {"num_examples": 20, "where": "here", "undo": lambda: undone.append(1)}
    assert micro.run_with_smaller_batches(attempt, **options) == 3
    assert (tried, len(undone)) == ([20, 10, 5, 3], 3)
    assert micro.run_with_smaller_batches(attempt, **options) == 3
    assert tried[4:] == [3]
    with pytest.raises(MemoryError):
        MicroBatch().run_with_smaller_batches(attempt, num_examples=20, where="here", smallest=4)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("level_zero backend failed with error: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), False),
        (RuntimeError("out of resource: shared memory, Required: 147456, Hardware limit: 101376"), False),
    ],
)
def test_errors_of_memory_are_distinguished_from_others(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_a_probe_takes_two_steps_and_scores_one_batch(context: TrainingContext) -> None:
    training = start(Hparams(batch_size=16), SMALL, context)
    passed = limited(training, 64)
    probe = probed_memory(training, SMALL)
    assert probe is not None
    assert passed == [16, 16, 50]
    assert probe.what.startswith("of the whole process, libraries and data included")
    assert probe.peak_mib > 100  # torch alone is more
    assert probe.notes == training.notes()


def test_a_probe_says_what_had_to_be_halved(context: TrainingContext) -> None:
    training = start(Hparams(batch_size=32), SMALL, context)
    limited(training, 16)
    probe = probed_memory(training, SMALL)
    assert probe is not None
    assert probe.notes["memory"].startswith(
        "32 examples at once were too much (epoch 1, step 1); 16 at a time fit"
    )


def test_a_training_without_a_probe_has_none() -> None:
    toy = load_trainable("toy")
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=Path())
    assert probed_memory(toy.start(toy.hparams(), SMALL, context), SMALL) is None


def test_a_workers_gpu_is_cleared_where_torch_holds_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("emptied"))
    release_memory()
    assert calls == ["emptied"]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    release_memory()
    monkeypatch.delitem(sys.modules, "torch")
    release_memory()
    assert calls == ["emptied"]


@pytest.mark.gpu
def test_on_a_gpu_memory_that_runs_out_gives_the_same_loss_curve(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is made small: to what half of a batch needs."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # it rounds to 1e-3
    on_gpu = replace(context, device="cuda", precision="fp32", resolution=64)
    budget = replace(SMALL, resolution=64)
    hparams = Hparams(model="convnext_atto", batch_size=64, lr=0.01)
    whole = start(hparams, budget, on_gpu)
    expected = [whole.run_epoch(budget) for _ in range(3)]
    total_mib = torch.cuda.get_device_properties(0).total_memory / 2**20
    most = 0.7 * expected[0]["peak_memory_mib"] / total_mib
    del whole
    release_memory()
    halved = start(hparams, budget, on_gpu)
    torch.cuda.set_per_process_memory_fraction(most)
    try:
        found = [halved.run_epoch(budget) for _ in range(3)]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found[0]["micro_batch"] < 64
    for name in ("train_loss", "val_loss"):
        assert [row[name] for row in found] == pytest.approx([row[name] for row in expected], abs=1e-5)
