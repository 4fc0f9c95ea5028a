"""The smoke test: whether a trainable works on this machine, in a minute of checks with a result each.

Each check is a promise that a search relies on: a search resumes checkpoints, compares trials of one seed,
reads the metric at each rung, and may change precision. A trainable that breaks one would fail in the middle
of the night; here it fails in the check that names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from search.trial.overfit import try_to_overfit
from search.trial.trial_folder import TrialFolder
from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, Precision, Trainable, Training, TrainingContext
from trainables.core.promises import check_state, check_test, check_training, restore, trained_epoch

NUM_EXAMPLES = 64
_CLOCK_READINGS = {"train_s", "eval_s"}
_LARGEST_DIFFERENCE_ON_A_GPU = 1e-3  # its kernels add in no fixed order; on a CPU it must be 0


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What one check found; `has_passed` is None where it does not apply."""

    name: str
    has_passed: bool | None
    text: str


class SmokeTest:
    """The checks of one configuration, each in trainings of its own.

    Args:
        num_examples: Examples of training, and of validation, in an epoch.
        resolution: Side of training images in pixels, or None for the data's own.
        num_epochs: Epochs of the first half of a check's training; the last one must be scored.
        is_script: The trainable is a script, whose number format no flag of the search changes.
    """

    def __init__(
        self,
        trainable: Trainable,
        hparams: Any,
        context: TrainingContext,
        *,
        resolution: int | None,
        num_examples: int = NUM_EXAMPLES,
        num_epochs: int = 1,
        is_script: bool = False,
    ) -> None:
        self._trainable, self._hparams, self._is_script = trainable, hparams, is_script
        self._context = replace(context, validation_subset=num_examples)
        self._budget = Budget(epochs=2 * num_epochs, subset=num_examples, resolution=resolution)
        # A budget of its own, as only a budget's last epoch must be scored.
        self._first_half = replace(self._budget, epochs=num_epochs)

    def results(self) -> Iterator[CheckResult]:
        """Yield the result of each check; an error fails its check, and the others still run."""
        for name, check in self._checks().items():
            try:
                yield CheckResult(name=name, has_passed=True, text=check())
            except _NotApplicable as reason:
                yield CheckResult(name=name, has_passed=None, text=str(reason))
            except _NotMet as reason:
                yield CheckResult(name=name, has_passed=False, text=str(reason))
            except Exception as error:
                yield CheckResult(name=name, has_passed=False, text=f"{type(error).__name__}: {error}")

    def _checks(self) -> Mapping[str, Callable[[], str]]:
        """The checks by name, each after those it presupposes: what cannot train cannot resume either.

        fp16 is tried on GPUs only, as CPUs have no fast kernels for it, and some operations none at all.
        """
        formats: list[Precision] = ["bf16"] if self._context.device == "cpu" else ["bf16", "fp16"]
        if self._is_script:
            formats = []
        return {
            "training and validation": self._trains,
            "test": self._tests,
            "same seed, same values": self._repeats,
            "checkpoint": self._saves,
            "resume": self._resumes,
            **{f"precision {name}": partial(self._computes_in, name) for name in formats},
            "overfit": self._overfits,
        }

    def _trains(self) -> str:
        """Check that the first epochs report the metric, and that it is finite."""
        return self._finite(self._half(self._start_training(), self._first_half), self._trainable.metric)

    def _tests(self) -> str:
        """Check that the test set gives the test metric; not applicable without a test set."""
        if not self._trainable.has_test:
            raise _NotApplicable("it has no test set")
        training = self._start_training()
        check_test(training, self._trainable.start)
        self._half(training, self._budget)
        return self._finite(training.test(), self._trainable.metric.replace("val_", "test_", 1))

    def _repeats(self) -> str:
        """Check that two trainings of one seed give the same values, as repeats and resumed trials assume."""
        first, second = (self._half(self._start_training(), self._budget) for _ in range(2))
        return self._same(first, second)

    def _saves(self) -> str:
        """Check that a checkpoint can be written and read with `weights_only`: text, numbers and tensors."""
        with TemporaryDirectory() as folder:
            path = TrialFolder(Path(folder)).checkpoint
            training = self._start_training()
            state = training.state_dict()
            check_state(training, state)
            save_checkpoint(path, state)
            load_checkpoint(path)
            return f"{path.stat().st_size / 2**20:.1f} MiB, reads back"

    def _resumes(self) -> str:
        """Check that half a training, a checkpoint and the other half equal a whole training."""
        whole = self._start_training()
        self._half(whole, self._budget)
        with TemporaryDirectory() as folder:
            path = TrialFolder(Path(folder)).checkpoint
            save_checkpoint(path, whole.state_dict())
            expected = self._half(whole, self._budget)  # before the resumed one: dropout shares one generator
            resumed = self._start_training()
            restore(resumed, load_checkpoint(path), self._first_half.epochs)
        return self._same(expected, self._half(resumed, self._budget))

    def _computes_in(self, name: Precision) -> str:
        """Check that it trains in this number format, and that the metric stays finite."""
        training = self._start_training(precision=name)
        return self._finite(self._half(training, self._first_half), self._trainable.metric)

    def _overfits(self) -> str:
        """Check that it overfits a few examples.

        A training that cannot has a bug: labels in another order than images, a frozen head, a learning rate
        of 0.
        """
        goal = self._trainable.overfit
        if goal is None:
            raise _NotApplicable("the trainable defines no overfit target")
        result = try_to_overfit(
            self._trainable,
            self._hparams,
            self._context,
            num_examples=goal.num_examples,
            resolution=self._budget.resolution,
        )
        if not result.has_passed:
            raise _NotMet(f"{result}; train --overfit {goal.num_examples} lists what to check")
        return str(result)

    def _start_training(self, **changes: Any) -> Training:
        training = self._trainable.start(self._hparams, self._budget, replace(self._context, **changes))
        check_training(training, self._trainable.start)
        return training

    def _half(self, training: Training, budget: Budget) -> Mapping[str, float]:
        """Train half of the smoke test's epochs, and return the values of the last one."""
        for _ in range(self._first_half.epochs):
            values = trained_epoch(training, budget)
        return values

    def _finite(self, values: Mapping[str, float], metric: str) -> str:
        if metric not in values:
            raise _NotMet(f"{metric} is missing, got only {', '.join(sorted(values))}")
        if not math.isfinite(values[metric]):
            raise _NotMet(f"{metric} is {values[metric]}")
        return f"{metric} {values[metric]:.4g}"

    def _same(self, first: Mapping[str, float], second: Mapping[str, float]) -> str:
        """Check that two trainings have equal values, except times and peak memory, which never repeat.

        Raises:
            _NotMet: They differ: at all on a CPU, by more than 0.001 on a GPU.
        """
        most = 0.0 if self._context.device == "cpu" else _LARGEST_DIFFERENCE_ON_A_GPU
        apart = {
            name: _difference(first.get(name, math.inf), second.get(name, math.inf))
            for name in (first.keys() | second.keys()) - _CLOCK_READINGS
            if name != "peak_memory_mib"
        }
        worst = max(apart, key=lambda name: apart[name])
        if apart[worst] > most:
            raise _NotMet(f"{worst} differs by {apart[worst]:.3g}, at most {most:g} is allowed")
        return f"largest difference {apart[worst]:g}"


def _difference(first: float, second: float) -> float:
    """The absolute difference; infinite where only one of the two is NaN."""
    if math.isnan(first) or math.isnan(second):
        return 0.0 if math.isnan(first) and math.isnan(second) else math.inf
    return abs(first - second)


class _NotMet(Exception):
    """A check's condition does not hold."""


class _NotApplicable(Exception):
    """There is nothing to check."""
