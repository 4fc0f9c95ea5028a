"""How many epochs are spent on diverged trials, ours against stock Ray Tune.

24 configurations, 8 of which return NaN from one of their first 3 epochs on; ours and stock get the same ones
in the same order, so that they differ only in how they handle a NaN. Rungs are at 1, 3, 9 and 27 epochs, and
a third continues. Stock is `tune.Tuner` with a plain function, OptunaSearch (with the configurations as its
`points_to_evaluate`), ASHAScheduler and otherwise default settings. Epochs are counted, not seconds.

    python -m benchmarks.diverged [--seeds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.diverging import configurations, score_at
from benchmarks.one_run import answer_of, search_of_ours

_MODULE = "benchmarks.diverged"
_NUM_TRIALS, _NUM_EPOCHS = 24, 27


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Epochs of one search or of several.

    Attributes:
        num_epochs: Total number of epochs.
        num_diverged: Number of trials that returned NaN.
        num_lost: Epochs of those trials, including the good ones before the first NaN.
        num_after: Epochs trained after the first NaN.
    """

    num_epochs: int
    num_diverged: int
    num_lost: int
    num_after: int

    @property
    def share_lost(self) -> float:
        return self.num_lost / self.num_epochs


def main() -> None:
    """Print the table, or with --one run one search and print its epoch counts."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--seeds", type=int, default=5)
    flags.add_argument("--one", nargs=2, metavar=("WHO", "SEED"), help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.one:
        who, seed = options.one
        points = configurations(_NUM_TRIALS, int(seed))
        print(json.dumps(asdict({"ours": _ours, "stock": _stock}[who](points))))
        return
    _print_table(range(options.seeds))


def _print_table(seeds: Sequence[int]) -> None:
    print("| | seed | epochs | trials that gave NaN | epochs of theirs | share | after the first NaN |")
    print("|---|---|---|---|---|---|---|")
    for who in ("ours", "stock"):
        spent = [Counts(**answer_of(_MODULE, "--one", who, seed)) for seed in seeds]
        for seed, each in zip(seeds, spent, strict=True):
            print(_row(who, str(seed), each), flush=True)
        print(_row(who, "all", _total(spent)), flush=True)


def _row(who: str, seed: str, spent: Counts) -> str:
    counts = f"{spent.num_epochs} | {spent.num_diverged} | {spent.num_lost}"
    return f"| {who} | {seed} | {counts} | {spent.share_lost:.3f} | {spent.num_after} |"


def _total(spent: Iterable[Counts]) -> Counts:
    plain = [asdict(each) for each in spent]
    return Counts(**{name: sum(each[name] for each in plain) for name in plain[0]})


def counted(trials: Iterable[tuple[int, int]]) -> Counts:
    """Counts over trials, each given as its number of epochs and its first NaN epoch (0: none)."""
    known = list(trials)
    lost = [(epochs, nan_from) for epochs, nan_from in known if 0 < nan_from <= epochs]
    return Counts(
        num_epochs=sum(epochs for epochs, _ in known),
        num_diverged=len(lost),
        num_lost=sum(epochs for epochs, _ in lost),
        num_after=sum(epochs - nan_from for epochs, nan_from in lost),
    )


def _ours(points: Sequence[dict[str, Any]]) -> Counts:
    from search.sampling.proposal import FixedList, Proposal

    with tempfile.TemporaryDirectory() as folder:
        run = search_of_ours(
            "diverging.yaml",
            lambda space: FixedList([Proposal(hparams=point, proposed_by="list") for point in points]),
            folder=Path(folder),
        )
    trials = list(run.history.trials.values())
    assert len(trials) == _NUM_TRIALS
    assert all((trial.status == "diverged") == _has_nan(trial.rows) for trial in trials)
    return counted((trial.epochs, trial.hparams["nan_from"]) for trial in trials)


def _has_nan(rows: Sequence[Any]) -> bool:
    return any(math.isnan(row.metrics["score"]) for row in rows)


def _stock(points: Sequence[dict[str, Any]]) -> Counts:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def train(config: dict[str, Any]) -> None:
        for epoch in range(1, _NUM_EPOCHS + 1):
            tune.report({"score": score_at(epoch, **config)})

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        tuner = tune.Tuner(
            train,
            param_space={"ceiling": tune.uniform(0.0, 1.0), "nan_from": tune.randint(0, 4)},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=_NUM_TRIALS,
                search_alg=OptunaSearch(points_to_evaluate=[dict(point) for point in points]),
                scheduler=ASHAScheduler(max_t=_NUM_EPOCHS, grace_period=1, reduction_factor=3),
            ),
            run_config=tune.RunConfig(storage_path=folder),
        )
        grid = tuner.fit()
    results = [(grid[index].metrics or {}, grid[index].config or {}) for index in range(len(grid))]
    assert sorted(map(str, (config for _, config in results))) == sorted(map(str, points))
    return counted((metrics["training_iteration"], config["nan_from"]) for metrics, config in results)


if __name__ == "__main__":
    main()
