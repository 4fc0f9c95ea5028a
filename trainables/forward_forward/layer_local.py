"""A training loop without backpropagation: each layer takes steps on a loss of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from trainables.core.contract import Budget, Diverged, TrainingContext
from trainables.core.optional import Table
from trainables.engine.averaging import WeightAverage
from trainables.engine.classifiers.metrics import ClassificationMetrics
from trainables.engine.classifiers.predictions import Predictions
from trainables.engine.images.batches import Batch, Batches
from trainables.engine.precision import MixedPrecision
from trainables.engine.schedule import Schedule
from trainables.engine.seeds import generator, restore_rng, rng_state
from trainables.forward_forward.goodness import GoodnessNet, goodness_loss


class LayerLocalTraining:
    """A `Training` of layers, each with its own optimiser and schedule.

    With the horizon "anytime" averaged weights are scored.

    Args:
        net: Already on the device.
        optimizers: One per layer, from the bottom up.
        threshold: Goodness that right labels should exceed and wrong ones stay below.
    """

    def __init__(
        self,
        context: TrainingContext,
        *,
        net: GoodnessNet,
        optimizers: Sequence[torch.optim.Optimizer],
        schedules: Sequence[Schedule],
        batches: Batches,
        batch_size: int,
        threshold: float,
        details: Predictions,
    ) -> None:
        device = torch.device(context.device)
        self.epochs_done = 0
        self.net, self.optimizers, self.batches = net, optimizers, batches
        self._context, self._schedules, self._details = context, schedules, details
        self._batch_size, self._threshold = batch_size, threshold
        self._num_classes = len(batches.data.class_names)
        self._average = WeightAverage(net) if context.horizon == "anytime" else None
        self._precision = MixedPrecision.of(context)
        self._metrics = ClassificationMetrics(self._num_classes, device)

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        return self._precision.run_epoch(lambda: self._epoch(budget), self, resolution=budget.resolution)

    def _epoch(self, budget: Budget) -> Mapping[str, float]:
        """Train an epoch, score validation, and let each layer's schedule see the loss."""
        started_s = perf_counter()
        values = self._train(budget)
        trained_s = perf_counter()
        scores = self._scores(self.batches.validation(budget))
        self.epochs_done += 1
        for schedule in self._schedules:
            schedule.observe(self.epochs_done, scores["loss"])
        times = {"train_s": trained_s - started_s, "eval_s": perf_counter() - trained_s}
        return {**values, **{f"val_{name}": value for name, value in scores.items()}, **times}

    def test(self) -> Mapping[str, float]:
        scores = self._scores(self.batches.test(), self._details)
        return {f"test_{name}": value for name, value in scores.items()}

    def test_tables(self) -> Mapping[str, Table]:
        """A classifier's tables; scores in `mistakes` are a softmax of goodnesses, not probabilities."""
        return self._details.tables()

    def test_images(self) -> Mapping[str, bytes]:
        """Images of its mistakes."""
        return self._details.images()

    def notes(self) -> Mapping[str, str]:
        loss = "train_loss is the layers' mean logistic loss of goodness, val_loss the labels' cross entropy"
        return {"precision": self._precision.reason, "loss": loss, **self.batches.data.notes()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs_done": self.epochs_done,
            "net": self.net.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self._schedules],
            "average": self._average.state_dict() if self._average else {},
            "precision": self._precision.state_dict(),
            "rng": rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self._schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        if self._average:
            self._average.load_state_dict(state["average"])
        self._precision.load_state_dict(state["precision"])
        self.epochs_done = state["epochs_done"]
        restore_rng(state["rng"])

    def _train(self, budget: Budget) -> dict[str, float]:
        """Take the steps of one epoch; return its rate, number of examples, and mean loss of all layers.

        Raises:
            Diverged: The loss is NaN or infinite.
        """
        epoch = self.batches.epoch(budget, self.epochs_done)
        wrong = self.wrong_labels(self.epochs_done)
        steps = epoch.steps(self._batch_size, drop_single=False)
        self.net.train()
        losses = []
        for number, indices in enumerate(steps):
            for schedule in self._schedules:
                schedule.set_position(self.epochs_done + (number + 0.5) / len(steps))
            losses.append(self._step(epoch.batch(indices), wrong[indices]) * len(indices))
        num_examples = sum(map(len, steps))
        loss = float(torch.stack(losses).sum()) / num_examples
        if not math.isfinite(loss):
            raise Diverged(f"loss became {loss} in epoch {self.epochs_done + 1}")
        return {"lr": self._schedules[0].lr, "num_examples": float(num_examples), "train_loss": loss}

    def wrong_labels(self, epoch: int) -> Tensor:
        """A wrong label for each training image, (n,), drawn uniformly from the others."""
        right = self.batches.data.train.labels
        random = generator("negative", seed=self._context.seed, epoch=epoch)
        # A step of 1 to classes - 1 round the circle of labels never ends at the right one.
        steps = torch.randint(1, self._num_classes, right.shape, generator=random)
        return (right + steps) % self._num_classes

    def _step(self, batch: Batch, wrong: Tensor) -> Tensor:
        """Take one step of every layer, from the bottom up; return their mean loss, still on the device."""
        right, wrong = batch.labels, wrong.to(batch.labels.device)
        # Right and wrong labels share a batch: each image appears once with either.
        features = torch.cat([self.net.marked(batch.images, labels) for labels in (right, wrong)])
        signs = torch.ones(len(features), device=features.device)
        signs[len(batch) :] = -1
        losses = []
        for layer, optimizer in zip(self.net.layers, self.optimizers, strict=True):
            with self._precision.autocast():
                activity = layer(features)
            loss = goodness_loss(activity, signs, self._threshold)
            self._precision.backward(loss)
            self._precision.step(optimizer, max_grad_norm=None)
            losses.append(loss.detach())
            features = activity.detach().float()  # the gradient of the layer above ends here
        if self._average:
            self._average.update(self.net)
        return torch.stack(losses).mean()

    def _scores(self, batches: Iterable[Batch], details: Predictions | None = None) -> Mapping[str, float]:
        """Scores over all of `batches`, with the labels' goodnesses as logits.

        Raises:
            Diverged: Their cross entropy is NaN or infinite.
        """
        net = (self._average.model if self._average else self.net).eval()
        with torch.inference_mode():
            for batch in batches:
                with self._precision.autocast():
                    found = net(batch.images)
                self._metrics.update(found.float(), batch)
                if details:
                    details.update(found.float(), batch)
        scores = self._metrics.compute()
        if not math.isfinite(scores["loss"]):
            raise Diverged(f"loss on held-out data became {scores['loss']} in epoch {self.epochs_done + 1}")
        return scores
