"""Trials with identical curves although their hparams differ: hyperparameters without effect. Pure.

A seed fixes order, weights and augmentation, so two curves are equal to the last bit only if no difference
reached the weights. AdamW, for example, ignores a weight decay below 3e-8 / lr: 1 - lr * decay rounds to 1
in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.ledger.history import TrialRecord
from search.printable import counted
from search.space.parameters import is_same
from trainables.core.contract import is_about_scores

_LEAST_DIFFERENT = 3  # values: a model at chance repeats one value, and two accuracies may be equal by chance

Scores = tuple[tuple[str, float], ...]  # validation values and losses of an epoch, by name


@dataclass(frozen=True, kw_only=True)
class DuplicateCurves:
    """Trials with the same curve.

    Attributes:
        trials: Their names, the one with the longest curve first.
        hparams: The hparams that differ among them, each with its values in the order of the trials.
        num_epochs: Epochs that all of them have in common.
    """

    trials: tuple[str, ...]
    hparams: Mapping[str, Sequence[Any]]
    num_epochs: int

    @property
    def warning(self) -> str:
        """The trials, the hyperparameters and what to do, in one line."""
        effect = "it had" if len(self.hparams) == 1 else "they had"
        differing = ", ".join(f"{name} ({_listed(values)})" for name, values in self.hparams.items())
        epochs = counted(self.num_epochs, "epoch")
        return (
            f"{', '.join(self.trials)} have identical curves for {epochs} although they differ in "
            f"{differing}: "
            f"{effect} no effect there; fix the value or change the range"
        )


def trials_with_one_curve(trials: Iterable[TrialRecord], metric: str) -> list[DuplicateCurves]:
    """Return every group of trials whose metric, validation and losses are equal in each epoch they share.

    A trial that was stopped early joins the longest one that began like it, so the statement holds for the
    epochs of the shortest: a schedule may differ later. Curves of fewer than three distinct values are left
    out.
    """
    groups: dict[Scores, list[list[tuple[TrialRecord, list[Scores]]]]] = {}
    curves = [(trial, _curve(trial, metric)) for trial in trials]
    for trial, curve in sorted(curves, key=lambda item: (-len(item[1]), item[0].number)):
        if not _is_informative(curve):
            continue
        begun_alike = groups.setdefault(curve[0], [])
        same = next((group for group in begun_alike if group[0][1][: len(curve)] == curve), None)
        if same is None:
            begun_alike.append([(trial, curve)])
        else:
            same.append((trial, curve))
    found = [_identical(group) for begun_alike in groups.values() for group in begun_alike]
    return [group for group in found if group.hparams]


def _curve(trial: TrialRecord, metric: str) -> list[Scores]:
    """Return the scores of each epoch, without times, counts and repeated hparams."""
    return [
        tuple((name, value) for name, value in sorted(row.metrics.items()) if _is_score(name, metric))
        for row in trial.curve.values()
    ]


def _is_score(name: str, metric: str) -> bool:
    is_score = name == metric or name.startswith("val_") or "loss" in name
    return is_score and not is_about_scores(name)


def _is_informative(curve: list[Scores]) -> bool:
    return len({value for scores in curve for _, value in scores}) >= _LEAST_DIFFERENT


def _identical(group: list[tuple[TrialRecord, list[Scores]]]) -> DuplicateCurves:
    trials = [trial for trial, _ in group]
    first, *others = (trial.hparams for trial in trials)
    differing = {
        name: [trial.hparams.get(name) for trial in trials]
        for name in first
        if not all(is_same(first[name], other.get(name)) for other in others)
    }
    return DuplicateCurves(
        trials=tuple(trial.trial_id for trial in trials),
        hparams=differing,
        num_epochs=min(len(curve) for _, curve in group),
    )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
