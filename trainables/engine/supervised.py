"""The training loop: one epoch at a time, advanced, saved and restored from outside."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Generic

import torch
from torch import Tensor, nn

from trainables.core.contract import Budget, Diverged
from trainables.core.model_folder import PortableModel
from trainables.core.optional import LrRangeStep, MemoryProbe, Table
from trainables.core.progress import ProgressWriter
from trainables.engine.averaging import WeightAverage
from trainables.engine.freezing import Freezing
from trainables.engine.lr_range import range_steps
from trainables.engine.memory import MicroBatch, peak_memory, reset_peak
from trainables.engine.model_cost import measured
from trainables.engine.parallel.ranks import Ranks
from trainables.engine.protocols import B, Batches, Details, Leader, Metrics, TrainEpoch
from trainables.engine.rehearsal import first_examples
from trainables.engine.schedule import Schedule
from trainables.engine.seeds import restore_rng, rng_state
from trainables.engine.step import Stepper, read_losses
from trainables.engine.stopping import Stopping

_STEPS_PER_CHECK = 32  # reading a loss waits for the GPU, so losses are read together


class SupervisedTraining(Generic[B]):
    """A `contract.Training` assembled from parts.

    Args:
        average: Averaged weights to score and test; None scores the trained weights.
        eval_every: Epochs between validations; the end of each budget is always scored.
        has_retry: Train an epoch that diverges in mixed precision once more, in fp32.
        epochs: Epochs of the largest budget, the only one whose scores `stopping` watches.
        notes: Automatic choices made during assembly, with their reasons.
        late_notes: Returns the choices made during training, with their reasons.
        details: Fed alongside the metrics when the test set is scored.
        progress: Reports how far each epoch is.
        portable: The scored model, without its weights and number format; None if there is none to keep.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        batches: Batches[B],
        stepper: Stepper[B],
        metrics: Metrics[B],
        stopping: Stopping,
        freezing: Freezing | None = None,
        average: WeightAverage | None = None,
        eval_every: int = 1,
        has_retry: bool = False,
        epochs: int = 0,
        notes: Mapping[str, str] | None = None,
        late_notes: Callable[[], Mapping[str, str]] = dict,
        details: Details[B] | None = None,
        portable: PortableModel | None = None,
        progress: ProgressWriter | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.batches = batches
        self.epochs_done = 0
        self._stepper = stepper
        self._metrics = metrics
        self._stopping = stopping
        self._freezing = freezing or Freezing()
        self._average = average
        self._eval_every = eval_every
        self._has_retry = has_retry
        self._epochs = epochs
        self._scoring = MicroBatch()
        self._notes = dict(notes or {})
        self._late_notes = late_notes
        self._details = details
        self._portable = portable
        self._progress = progress or ProgressWriter(None)
        self._leader: Leader | None = None
        self._is_known_to_others = False

    @property
    def done_reason(self) -> str:
        """Why no further epoch would train anything; empty while one would."""
        return self._stopping.done_reason

    def run_epoch(self, budget: Budget) -> dict[str, float]:
        """Train one epoch and score validation; see `contract.Training.run_epoch`."""
        self._freezing.enter(self.epochs_done, self.optimizer)
        try:
            return self._stepper.precision.run_epoch(
                lambda: self._epoch(budget), self, resolution=budget.resolution, has_retry=self._has_retry
            )
        finally:
            self._progress.end()

    def probe_memory(self, budget: Budget) -> MemoryProbe:
        """Take two steps and score one batch at `budget`; see `core.optional.probed_memory`."""
        epoch = self.batches.epoch(budget, self.epochs_done)
        self.model.train()
        self._freezing.hold()
        reset_peak()
        for step, indices in enumerate(self._stepper.steps(epoch)[:2], start=1):
            self._stepper.take(epoch, indices, where=self._where(step))
        self._scores(itertools.islice(self.batches.validation(budget), 1))
        peak_mib, whose = peak_memory()
        return MemoryProbe(
            peak_mib=peak_mib, what=f"{whose}, in two steps and one scored batch", notes=self.notes()
        )

    def measure(self, names: Collection[str], budget: Budget) -> dict[str, float]:
        """Measure what the scored model costs to use, with one validation example at a time.

        See `optional.measured_by`.
        """
        model = self._scored_model
        example = next(iter(self.batches.validation(budget))).split(1)[0]
        device = next(model.parameters()).device
        return measured(model, names, lambda: self._stepper.outputs(model, example), device=device)

    def lr_range(self, budget: Budget, *, low: float, high: float, num_steps: int) -> Iterator[LrRangeStep]:
        """Take steps at rising rates, over as many epochs as they need; see `optional.lr_range_of`.

        Raises:
            DataError: There is nothing to train on at `budget`.
        """
        self._stepper.some_steps(self.batches.epoch(budget, 0))  # without any, `steps` would never end
        self.model.train()
        self._freezing.hold()
        epochs = (self.batches.epoch(budget, number) for number in itertools.count())
        steps = ((epoch, indices) for epoch in epochs for indices in self._stepper.steps(epoch))

        def take(step: int) -> Tensor:
            epoch, indices = next(steps)
            return self._stepper.take(epoch, indices, where=self._where(step + 1))

        return range_steps(self.optimizer, take, low=low, high=high, num_steps=num_steps)

    def num_examples(self, budget: Budget) -> int:
        """Number of training examples in an epoch at `budget`."""
        return sum(map(len, self._stepper.steps(self.batches.epoch(budget, self.epochs_done))))

    def rehearse(self, budget: Budget) -> list[int]:
        """Run a few examples forward and backward, and some of validation forward, without updating weights.

        Returns the number of examples in each backward pass.

        Raises:
            DataError: There is nothing to train on at `budget`.
        """
        epoch = self.batches.epoch(budget, self.epochs_done)
        passed = first_examples(self._stepper.some_steps(epoch))
        self.model.train()
        self._freezing.hold()
        for indices in passed:
            self._stepper.rehearse(epoch, indices)
        scored = next(iter(self.batches.validation(budget)))
        with torch.no_grad():
            self._stepper.forward(self.model.eval(), scored.split(2)[0])
        return [len(indices) for indices in passed]

    def test(self) -> dict[str, float]:
        """Score the test set; see `contract.Training.test`."""
        scores = self._scores(self.batches.test(), self._details)
        return {f"test_{name}": value for name, value in scores.items()}

    def test_tables(self) -> Mapping[str, Table]:
        """Details of the last `test()`; see `core.optional.tables_of_test`."""
        return self._details.tables() if self._details else {}

    def test_images(self) -> Mapping[str, bytes]:
        """Images of mistakes in the last `test()`; see `core.optional.images_of_test`."""
        images: Mapping[str, bytes] = getattr(self._details, "images", dict)()
        return images

    def trained_weights(self) -> dict[str, Any]:
        """The weights that are scored; see `optional.trained_weights_of`."""
        return {"model": self._scored_model.state_dict()}

    def portable_model(self) -> PortableModel | None:
        """The model that `test` scores, with its current weights; see `optional.portable_model_of`."""
        if self._portable is None:
            return None
        weights, precision = self._scored_model.state_dict(), self._stepper.precision.name
        return replace(self._portable, weights=weights, precision=precision)

    def notes(self) -> dict[str, str]:
        """Choices made for this training, with their reasons, for the trial's row."""
        scoring = {"scoring_memory": self._scoring.note} if self._scoring.note else {}
        return {
            "precision": self._stepper.precision.reason,
            **self._notes,
            **self._late_notes(),
            **self._stepper.notes(),
            **scoring,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything the next epoch depends on: a resumed training equals an uninterrupted one bit for bit.

        The order of examples and their augmentation are left out: they are drawn from (seed, epoch).
        """
        return {
            "epochs_done": self.epochs_done,
            "is_thawed": self._freezing.is_thawed,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self._average.state_dict() if self._average else {},
            "precision": self._stepper.precision.state_dict(),
            "memory": [self._stepper.micro.state_dict(), self._scoring.state_dict()],
            "stopping": self._stopping.state_dict(),
            # Dropout and third-party layers draw from the global generators.
            "rng": rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state saved with the same hyperparameters.

        Thawing comes first: a saved optimiser with groups for the thawed modules cannot be loaded into one
        without them.
        """
        self._is_known_to_others = False
        if state["is_thawed"]:
            self._freezing.thaw(self.optimizer)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._stepper.precision.load_state_dict(state["precision"])
        for part, saved in zip((self._stepper.micro, self._scoring), state["memory"], strict=True):
            part.load_state_dict(saved)
        self._stopping.load_state_dict(state["stopping"])
        self.epochs_done = state["epochs_done"]
        restore_rng(state["rng"])

    def lead(self, leader: Leader) -> None:
        """Train every epoch from now on together with the ranks of `leader`; this process is rank 0."""
        self._leader = leader
        self._notes["processes"] = leader.note

    def follow(self, state: Mapping[str, Any]) -> None:
        """Catch up with rank 0 from the state that its leader has sent."""
        if "model" in state:
            self.load_state_dict(state)
            return
        self.schedule.load_state_dict(state["schedule"])
        self._stopping.load_state_dict(state["stopping"])

    def train_along(self, budget: Budget, ranks: Ranks) -> None:
        """Train one epoch as a rank above 0, which scores nothing.

        Raises:
            Diverged: The loss became NaN or infinite, on all ranks at the same step.
        """
        self._freezing.enter(self.epochs_done, self.optimizer)
        with self._stepper.among(ranks):
            self._train(self.batches.epoch(budget, self.epochs_done))
        self.epochs_done += 1

    def _epoch(self, budget: Budget) -> dict[str, float]:
        """Train and score one epoch; return its values and the seconds that each part took.

        The epoch counts only once it is scored: an error during scoring leaves `epochs_done` unchanged,
        and a retry in fp32 trains the same epoch again.
        """
        reset_peak()
        started_s = perf_counter()
        values = self._train_with_others(budget)
        trained_s = perf_counter()
        values |= self._validated(budget)
        scored_s = perf_counter()
        self.epochs_done += 1
        # Only after memory ran out: an empty cell means that whole batches passed at once.
        if self._stepper.micro.size:
            values["micro_batch"] = float(self._stepper.micro.size)
        if torch.cuda.is_initialized():
            values["peak_memory_mib"] = peak_memory()[0]
        return values | {"train_s": trained_s - started_s, "eval_s": scored_s - trained_s}

    def _train_with_others(self, budget: Budget) -> dict[str, float]:
        """Take the steps of one epoch, together with the other ranks if there are any."""
        epoch = self.batches.epoch(budget, self.epochs_done)
        if self._leader is None:
            return self._train(epoch)
        with self._leader.epoch(budget, self._state_for_others()) as ranks, self._stepper.among(ranks):
            return self._train(epoch)

    def _state_for_others(self) -> dict[str, Any]:
        """The state that the other ranks lack; after the same steps they already have the same weights."""
        if self._is_known_to_others:
            stopping = {**self._stopping.state_dict(), "best": [0, {}, {}]}  # only rank 0 needs its weights
            return {"schedule": self.schedule.state_dict(), "stopping": stopping}
        self._is_known_to_others = True
        return self.state_dict()

    def _train(self, epoch: TrainEpoch[B]) -> dict[str, float]:
        """Take the steps of one epoch; return its mean loss, learning rate and number of examples.

        Raises:
            Diverged: A loss is NaN or infinite; found up to 31 steps late.
        """
        self.model.train()
        self._freezing.hold()
        steps = self._stepper.steps(epoch) if not self.done_reason else []
        losses: list[float] = []
        unread: list[Tensor] = []
        self._progress.begin("epoch", len(steps), epoch=self.epochs_done + 1)
        for number, indices in enumerate(steps, start=1):
            # A step takes the rate at its middle: a schedule over fractional epochs then has the same mean
            # rate however many steps an epoch has, so a rung with a tenth of the data anneals alike.
            self.schedule.set_position(self.epochs_done + (number - 0.5) / len(steps))
            unread.append(self._stepper.take(epoch, indices, where=self._where(number)))
            if self._average:
                self._average.update(self.model)
            self._progress.step(number)
            is_last = self._stopping.count_step() or number == len(steps)
            # Losses stay on the device until there are 32. Reading each one immediately would make the GPU
            # wait for Python at every step; NaN is noticed at most 31 steps later, within the same epoch.
            if len(unread) == _STEPS_PER_CHECK or is_last:
                losses += read_losses(unread, self._where, first_step=len(losses))
                unread.clear()
            if is_last:
                break
        return self._train_values(losses, [len(indices) for indices in steps[: len(losses)]])

    def _train_values(self, losses: Sequence[float], sizes: Sequence[int]) -> dict[str, float]:
        """Values of a trained epoch; its loss is the mean over examples, as the last step may be smaller."""
        values = {"lr": self.schedule.lr, "num_examples": float(sum(sizes))}
        if losses:
            total = sum(loss * size for loss, size in zip(losses, sizes, strict=True))
            values["train_loss"] = total / sum(sizes)
        return values

    def _validated(self, budget: Budget) -> dict[str, float]:
        """Score validation after this epoch if that is due, and return the scores."""
        epoch = self.epochs_done + 1
        if epoch % self._eval_every and epoch < budget.epochs and not self.done_reason:
            return {}
        # Averaged weights never saw a batch, so the statistics of their BatchNorm layers are useless.
        if self._average:  # settled on the next epoch's examples, whose augmentation was not trained on
            next_epoch = self.batches.epoch(budget, epoch)
            self._average.settle(next_epoch, self._stepper.outputs, frozen=self._freezing.modules)
        scores = {
            f"val_{name}": value for name, value in self._scores(self.batches.validation(budget)).items()
        }
        self.schedule.observe(epoch, scores["val_loss"])
        # Patience counts at the largest budget only: a score that stagnates on a tenth of the data says
        # little about the score on all of it.
        if budget.epochs < self._epochs:
            return scores
        return dict(self._stopping.observe(epoch, scores, self._scored_model))

    @property
    def _scored_model(self) -> nn.Module:
        return self._average.model if self._average else self.model

    @torch.inference_mode()
    def _scores(self, batches: Iterable[B], details: Details[B] | None = None) -> Mapping[str, float]:
        """Return the scores over all `batches`, by name without `val_` or `test_`.

        Raises:
            Diverged: The mean loss is NaN or infinite, as when weights blew up in an epoch's last steps.
        """
        model = self._scored_model.eval()
        for batch in batches:
            for piece in self._scored(model, batch):
                self._metrics.update(*piece)
                if details:
                    details.update(*piece)
        scores = self._metrics.compute()
        if not math.isfinite(scores["loss"]):
            raise Diverged(f"loss on held-out data became {scores['loss']} in epoch {self.epochs_done + 1}")
        return scores

    def _scored(self, model: nn.Module, batch: B) -> list[tuple[Any, B]]:
        """Outputs and examples of `batch`, in pieces that fit into memory."""
        return self._scoring.run_with_smaller_batches(
            lambda size: [(self._stepper.outputs(model, piece), piece) for piece in batch.split(size)],
            num_examples=len(batch),
            where=f"scoring, epoch {self.epochs_done + 1}",
        )

    def _where(self, step: int) -> str:
        return f"epoch {self.epochs_done + 1}, step {step}"
