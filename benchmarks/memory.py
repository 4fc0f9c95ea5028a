"""The cost of points that run out of memory, ours against stock Ray Tune.

20 trials in a space of which 40 % is out of memory (oversized.py), with the best points along the limit. Such
a trial either takes real memory until Ray's memory monitor kills it, or raises MemoryError under a resource
limit. One trial runs at a time, so that each second belongs to one trial: from its first epoch to the next
trial's, including the new process after a kill. Stock is `tune.Tuner` with a plain function, OptunaSearch,
ASHAScheduler and otherwise default settings; both draw their own points.

The monitor's threshold lies 2.5 GiB above what the machine uses at the start (Ray takes about 1 of it); no
trial takes more than 6 GiB. A process brought down by another program's memory is counted separately.

    python -m benchmarks.memory [--seeds 3] [--workers 1]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.one_run import answer_of, search_of_ours
from benchmarks.oversized import BATCH_SIZE, FATE, LOG, WIDTH, is_oversized, trained

_MODULE = "benchmarks.memory"
_NUM_TRIALS, _NUM_EPOCHS = 20, 9
_MARGIN_MIB = 2560


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a program reports about its search.

    Attributes:
        ended: "well", or the error with which the search ended.
        num_rows: Number of trials in its results.
        num_blamed: Number of trials that it reports as out of memory.
        num_innocent: Number of those that had enough memory, as far as their hparams are still known.
        ended_at: Unix seconds.
    """

    ended: str
    num_rows: int
    num_blamed: int
    num_innocent: int
    ended_at: float


def main() -> None:
    """Print the table, or with --one run one search and print its outcome."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--workers", type=int, default=1, help="trials at a time; the seconds need 1")
    flags.add_argument("--one", nargs=2, metavar=("WHO", "SEED"), help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.one:
        who, seed = options.one
        run: Callable[[int, int], Outcome] = {"ours": _ours, "stock": _stock}[who]
        print(json.dumps(asdict(run(int(seed), options.workers))))
        return
    _print_table(range(options.seeds), options.workers)


def _print_table(seeds: Sequence[int], workers: int) -> None:
    print("| fate | | seed | trials started | out of memory | of the time | rows | blamed | innocent | end |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for fate, who, seed in itertools.product(("killed", "raised"), ("ours", "stock"), seeds):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "started.jsonl"
            outcome = _measured(who, seed, workers, {LOG: str(log), FATE: fate})
            started = [json.loads(line) for line in log.read_text().splitlines()]
        num_oversized = sum(each["is_oversized"] for each in started)
        share = f"{share_of_time(started, outcome.ended_at):.3f}" if workers == 1 else ""
        counts = f"{outcome.num_rows} | {outcome.num_blamed} | {outcome.num_innocent}"
        print(f"| {fate} | {who} | {seed} | {len(started)} | {num_oversized} | {share} | {counts} | ", end="")
        print(f"{outcome.ended} |", flush=True)


def _measured(who: str, seed: int, workers: int, env: dict[str, str]) -> Outcome:
    limits = {"RAY_memory_usage_threshold": f"{_threshold():.3f}", "RAY_memory_monitor_refresh_ms": "50"}
    return Outcome(**answer_of(_MODULE, "--one", who, seed, "--workers", workers, **limits, **env))


def _threshold() -> float:
    """The fraction of the machine's memory at which the monitor should kill."""
    kib = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text()))
    total_kib = int(kib["MemTotal"])
    return (total_kib - int(kib["MemAvailable"]) + _MARGIN_MIB * 1024) / total_kib


def share_of_time(started: Sequence[dict[str, Any]], ended_at: float) -> float:
    """The fraction of the time since the first trial's start that went to out-of-memory trials."""
    times: list[float] = [*(each["time"] for each in started), ended_at]
    lost_s = sum(
        times[index + 1] - times[index] for index, each in enumerate(started) if each["is_oversized"]
    )
    return lost_s / (times[-1] - times[0])


def _ours(seed: int, workers: int) -> Outcome:
    from search.sampling.warm_start import make_sampler

    overrides = [f"search.seed={seed}", f"search.limits.trials={_NUM_TRIALS}"]
    with tempfile.TemporaryDirectory() as folder:
        run = search_of_ours(
            "oversized.yaml",
            make_sampler,
            folder=Path(folder),
            overrides=[*overrides, f"search.resources.workers={workers}"],
        )
        ended_at = time.time()
    trials = list(run.history.trials.values())
    failed = [trial for trial in trials if trial.status == "failed"]
    odd = {trial.cause for trial in failed} - {"out_of_memory"}
    return Outcome(
        ended="well" if not odd else f"causes {sorted(odd)}",
        num_rows=len(trials),
        num_blamed=len(failed),
        num_innocent=sum(not is_oversized(trial.hparams) for trial in failed),
        ended_at=ended_at,
    )


def _stock(seed: int, workers: int) -> Outcome:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def train(config: dict[str, float]) -> None:
        for epoch in range(1, _NUM_EPOCHS + 1):
            tune.report({"score": trained(epoch, config)})

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        tuner = tune.Tuner(
            train,
            param_space={
                "lr": tune.uniform(0.0, 1.0),
                "batch_size": tune.loguniform(*BATCH_SIZE),
                "width": tune.loguniform(*WIDTH),
            },
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=_NUM_TRIALS,
                max_concurrent_trials=workers,
                search_alg=OptunaSearch(seed=seed),
                scheduler=ASHAScheduler(max_t=_NUM_EPOCHS, grace_period=1, reduction_factor=3),
            ),
            run_config=tune.RunConfig(storage_path=folder),
        )
        try:
            grid = tuner.fit()
        except Exception as error:  # whatever fit() raises is the result
            outcome = f"out of fit(): {type(error).__name__}: {str(error).splitlines()[0][:80]}"
            return Outcome(ended=outcome, num_rows=0, num_blamed=0, num_innocent=0, ended_at=time.time())
        ended_at = time.time()
    failed = [grid[index].config or {} for index in range(len(grid)) if grid[index].error]
    return Outcome(
        ended="well",
        num_rows=len(grid),
        num_blamed=len(failed),
        num_innocent=sum(bool(config) and not is_oversized(config) for config in failed),
        ended_at=ended_at,
    )


if __name__ == "__main__":
    main()
