"""The best trials to full training with fresh seeds, once on the test set, against the default."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search.budget import Limits
from search.ledger import LedgerError
from search.ledger.history import History, TrialRecord
from search.ranking import is_comparable, ranked
from search.sampling.proposal import Proposal
from search.space import Space

_CONFIDENCE = 0.95
_UNTESTED = ", on validation"
PROMOTED_COLUMNS = (
    *("rank", "trial_id", "is_default", "num_seeds", "num_failed", "val_mean"),
    *("test_mean", "test_low", "test_high", "gain_mean", "gain_low", "gain_high", "verdict"),
    *("seconds", "energy_j"),
)


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % Student interval; the ends are None where one value gives none."""

    mean: float
    low: float | None
    high: float | None


def chosen(history: History, space: Space, *, top: int) -> list[TrialRecord]:
    """The `top` best trials, and the default configuration to compare them with.

    Raises:
        LedgerError: No trial of the run has a score.
    """
    best = ranked(history.trials.values(), space.metric, space.mode)[:top]
    if not best:
        raise LedgerError("no trial of this run has a score, so there is nothing to promote")
    default = next((trial for trial in history.trials.values() if trial.origin == "default"), None)
    return best if default is None or default in best else [*best, default]


def fresh_seeds(seed: int, count: int) -> list[int]:
    """Seeds that the search has not used; the same for every configuration, so that gains pair."""
    return [
        int.from_bytes(hashlib.sha256(f"promotion {seed} {index}".encode()).digest()[:4])
        for index in range(count)
    ]


def proposals(trials: Sequence[TrialRecord], seeds: Sequence[int]) -> list[Proposal]:
    """One full training for each configuration and seed; one seed of each comes first, so that a
    promotion that is cut short can compare all of them."""
    return [
        Proposal(hparams=trial.hparams, origin="promotion", seed=seed, source=trial.trial_id)
        for seed in seeds
        for trial in trials
    ]


def full_training(space: Space) -> Space:
    """The space of the promotion's run: the top rung's budget from the first epoch on, for as many
    epochs as the space promotes with, and nobody stopped."""
    return replace(
        space,
        ladder=space.ladder.only_top().with_top(epochs=space.promote.epochs),
        scheduler=space.scheduler.model_copy(update={"mode": "none"}),
        limits=Limits(cache_gib=space.limits.cache_gib),
        patience=None,
        early_stop_threshold=None,
        cost=None,
    )


def alone_on_gpus(space: Space) -> tuple[Space, str]:
    """The space with a whole GPU for each training, where the search shared one, and a line that says so.

    What a training used of a shared GPU is known to 5 to 35 %; alone its joules are the counter's. The line
    is empty where nothing changes.
    """
    share = space.resources.gpus_per_trial
    if not share or share >= 1:
        return space, ""
    line = (
        f"one training per GPU, so that its joules are measured alone; --share-gpus gives each {share:g} GPU"
    )
    return with_gpus(space, 1.0), line


def with_gpus(space: Space, gpus: float | None) -> Space:
    """The space with so many GPUs for each training; None leaves it to the machine."""
    return replace(space, resources=space.resources.model_copy(update={"gpus_per_trial": gpus}))


def baseline_training(space: Space, trainable: str, default_hparams: Mapping[str, Any]) -> Space:
    """The space of a classical baseline's run: another trainable on the same data, on the CPU."""
    return replace(
        full_training(space),
        trainable=trainable,
        parameters={},
        fixed=default_hparams,
        when={},
        start=(),
        resources=space.resources.model_copy(update={"gpus_per_trial": 0.0, "workers": 1}),
    )


def baseline_proposal(space: Space, seed: int) -> Proposal:
    """Its one training: what is fitted exactly has no seeds to average over."""
    return Proposal(hparams=dict(space.fixed), origin="promotion", seed=seed, source=space.trainable)


def promoted_columns(trials: Sequence[TrialRecord]) -> list[str]:
    """The columns of promoted.csv; a test holds them against results/README.md."""
    hparams = [name for trial in trials for name in trial.hparams]
    return list(dict.fromkeys((*PROMOTED_COLUMNS, *hparams)))


def promoted_rows(
    trials: Sequence[TrialRecord], promotion: History, space: Space, baseline: History | None = None
) -> list[dict[str, Any]]:
    """The rows of promoted.csv: each configuration over its seeds, the best on validation first.

    The order is by validation: ordering by test would choose on the test set.

    Args:
        baseline: The run of a baseline; its row bears the name of its trainable.
    """
    default = next((trial.trial_id for trial in trials if trial.origin == "default"), None)
    defaults = _scores(promotion, default, space) if default else {}
    rows = [
        {**_row(trial.trial_id, promotion, space, default, defaults), **trial.hparams} for trial in trials
    ]
    names = dict.fromkeys(run.source for run in baseline.trials.values()) if baseline else {}
    rows += [_row(name, baseline, space, default, defaults) for name in names if baseline]
    sign = -1 if space.mode == "max" else 1
    rows.sort(key=lambda row: math.inf if row["val_mean"] is None else sign * row["val_mean"])
    return [{"rank": rank, **row} for rank, row in enumerate(rows, start=1)]


def interval(values: Sequence[float]) -> Interval:
    """Mean and Student interval of `values`, which must not be empty."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    from scipy import stats  # 0.5 s to import, and only promotion needs it

    quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def verdict(gain: Interval) -> str:
    """What the gain over the default says: "better", "worse", or "tie" when 0 lies inside."""
    if gain.low is None or gain.high is None:
        return "one seed"
    if gain.low <= 0 <= gain.high:
        return "tie"
    return "better" if gain.mean > 0 else "worse"


def _row(
    source: str, promotion: History, space: Space, default: str | None, defaults: dict[int, float]
) -> dict[str, Any]:
    """One configuration over its seeds; `defaults` are the default's scores by seed."""
    runs = [run for run in promotion.trials.values() if run.source == source]
    has_test = _has_test(promotion)
    done = [run for run in runs if is_comparable(run, space.metric) and (run.rows[-1].test or not has_test)]
    scores = _scores(promotion, source, space)
    values = [value for run in done if (value := run.value(space.metric)) is not None]
    joules = [run.energy.total_mj for run in runs if run.energy.total_mj is not None]
    return {
        "trial_id": source,
        "is_default": source == default,
        "num_seeds": len(scores),
        "num_failed": len(runs) - len(done),
        "val_mean": statistics.fmean(values) if values else None,
        **_named("test", interval(list(scores.values())) if scores and has_test else None),
        **_gain(scores, {} if source == default else defaults, space, has_test=has_test),
        "seconds": round(sum(run.seconds for run in runs), 3),
        "energy_j": sum(joules) / 1000 if joules else None,
    }


def _gain(
    scores: dict[int, float], defaults: dict[int, float], space: Space, *, has_test: bool
) -> dict[str, Any]:
    """What the scores are better by than those of the default, seed by seed."""
    sign = 1 if space.mode == "max" else -1
    differences = [sign * (value - defaults[seed]) for seed, value in scores.items() if seed in defaults]
    if not differences:
        return {**_named("gain", None), "verdict": None}
    gain = interval(differences)
    return {**_named("gain", gain), "verdict": verdict(gain) + ("" if has_test else _UNTESTED)}


def _has_test(promotion: History) -> bool:
    """Whether there is a test set: no training ends well without a score on it, if there is one."""
    finished = [run for run in promotion.trials.values() if run.status == "finished"]
    return not finished or any(run.rows[-1].test for run in finished)


def _scores(promotion: History, source: str, space: Space) -> dict[int, float]:
    """Test value by seed of one configuration's finished trainings; validation where there is no test set."""
    runs = [run for run in promotion.trials.values() if run.source == source and run.status == "finished"]
    if not _has_test(promotion):
        return {run.seed: value for run in runs if (value := run.value(space.metric)) is not None}
    name = space.metric.replace("val_", "test_", 1)
    return {run.seed: run.rows[-1].test[name] for run in runs if run.rows[-1].test}


def _named(prefix: str, value: Interval | None) -> dict[str, float | None]:
    low, mean, high = (None, None, None) if value is None else (value.low, value.mean, value.high)
    return {f"{prefix}_mean": mean, f"{prefix}_low": low, f"{prefix}_high": high}
