"""The training loop: one epoch at a time, advanced, saved and restored from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from trainables.contract import Budget, Diverged
from trainables.engine.averaging import WeightAverage
from trainables.engine.batches import Batch, Batches, TrainEpoch
from trainables.engine.metrics import ClassificationMetrics
from trainables.engine.precision import MixedPrecision
from trainables.engine.schedule import Schedule
from trainables.engine.seeds import restore_rng, rng_state

_STEPS_PER_CHECK = 32  # reading a loss waits for the GPU, so they are read in lots
_MIB = 2**20


class SupervisedTraining:
    """A `contract.Training` put together from parts.

    Args:
        loss: From logits (batch, classes) in fp32 and labels (batch,) to the mean loss.
        batch_size: Examples per forward pass.
        accumulate: Forward passes per optimiser step.
        clip_norm: Largest norm of all gradients together; None does not clip.
        frozen: Modules that keep their weights and their statistics.
        average: Scored and tested instead of the trained weights; None scores those.
        notes: Automatic choices of whoever put the parts together, with their reasons.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        batches: Batches,
        loss: Callable[[Tensor, Tensor], Tensor],
        metrics: ClassificationMetrics,
        precision: MixedPrecision,
        batch_size: int,
        accumulate: int = 1,
        clip_norm: float | None = None,
        frozen: Sequence[nn.Module] = (),
        average: WeightAverage | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.batches = batches
        self.epochs_done = 0
        self._loss = loss
        self._metrics = metrics
        self._precision = precision
        self._batch_size = batch_size
        self._accumulate = accumulate
        self._clip_norm = clip_norm
        self._frozen = frozen
        self._average = average
        self._notes = dict(notes or {})
        self._has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())

    def run_epoch(self, budget: Budget) -> dict[str, float]:
        """Train one epoch and score validation; see `contract.Training.run_epoch`."""
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
        started_s = perf_counter()
        values = self._train(self.batches.epoch(budget, self.epochs_done))
        trained_s = perf_counter()
        if self._average:  # by the next epoch's examples, whose augmentation was not trained on
            self._average.settle(self.batches.epoch(budget, self.epochs_done + 1), self._logits)
        values |= {
            f"val_{name}": value for name, value in self._scores(self.batches.validation(budget)).items()
        }
        scored_s = perf_counter()
        self.epochs_done += 1
        self.schedule.observe(self.epochs_done, values["val_loss"])
        if torch.cuda.is_initialized():
            values["peak_memory_mib"] = torch.cuda.max_memory_allocated() / _MIB
        return values | {"train_s": trained_s - started_s, "eval_s": scored_s - trained_s}

    def test(self) -> dict[str, float]:
        """Score the test set; see `contract.Training.test`."""
        return {f"test_{name}": value for name, value in self._scores(self.batches.test()).items()}

    def notes(self) -> dict[str, str]:
        return {"precision": self._precision.reason, **self._notes}

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs_done": self.epochs_done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self._average.state_dict() if self._average else {},
            "precision": self._precision.state_dict(),
            "rng": rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._precision.load_state_dict(state["precision"])
        self.epochs_done = state["epochs_done"]
        restore_rng(state["rng"])

    def _train(self, epoch: TrainEpoch) -> dict[str, float]:
        self.model.train()
        for module in self._frozen:
            module.training = False  # not eval(): that would reach down to modules that learn
        steps = epoch.steps(self._batch_size * self._accumulate, drop_single=self._has_batch_norm)
        losses: list[float] = []
        unread: list[Tensor] = []
        for number, indices in enumerate(steps):
            self.schedule.set_position(self.epochs_done + (number + 0.5) / len(steps))
            unread.append(self._step(epoch, indices))
            if len(unread) == _STEPS_PER_CHECK or number == len(steps) - 1:
                losses += self._read(unread, first_step=len(losses))
                unread.clear()
        sizes = [len(indices) for indices in steps]
        mean_loss = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
        return {"train_loss": mean_loss, "lr": self.schedule.lr, "num_samples": float(sum(sizes))}

    def _step(self, epoch: TrainEpoch, indices: Tensor) -> Tensor:
        """One optimiser step on these examples; returns their mean loss, still on the device."""
        losses = []
        for part in indices.split(self._batch_size):
            batch = epoch.batch(part)
            loss = self._loss(self._logits(self.model, batch), batch.labels) * (len(part) / len(indices))
            self._precision.backward(loss)
            losses.append(loss.detach())
        self._precision.step(self.optimizer, clip_norm=self._clip_norm)
        if self._average:
            self._average.update(self.model)
        return torch.stack(losses).sum()

    def _read(self, losses: Sequence[Tensor], *, first_step: int) -> list[float]:
        values: list[float] = torch.stack(list(losses)).tolist()
        for step, value in enumerate(values, start=first_step + 1):
            self._check_finite(value, "loss", f", step {step}")
        return values

    @torch.inference_mode()
    def _scores(self, batches: Iterable[Batch]) -> dict[str, float]:
        model = self._average.model if self._average else self.model
        model.eval()
        for batch in batches:
            self._metrics.update(self._logits(model, batch), batch.labels)
        scores = self._metrics.compute()
        self._check_finite(scores["loss"], "loss on held-out images")
        return scores

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        with self._precision.autocast():
            logits: Tensor = model(batch.images)
        return logits.float()

    def _check_finite(self, value: float, what: str, where: str = "") -> None:
        if not math.isfinite(value):
            raise Diverged(f"{what} became {value} in epoch {self.epochs_done + 1}{where}")
