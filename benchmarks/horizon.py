"""How well cheap scores rank configurations, when the schedule spans the ladder, a rung, or nothing.

24 random configurations of spaces/lr_bs.yaml (lr, batch size, weight decay) move up a ladder on 5,000 MNIST
digits of 14 px under each horizon. Each rung's scores are compared with full training: the top budget,
annealed, from another seed. Costs are CPU seconds of one thread, for all epochs up to the rung's end, as
fractions of the same configuration's full training; the table shows their median. Under "rung" the top rung
is full training from the trial's own seed, so it is not trained twice: it is the line "another seed".

    python -m benchmarks.horizon [--ladder plain] [--workers 2] [--cache FOLDER]

Ladders: `plain` is 1, 2 and 3 epochs on all data at 14 px; `growing` is the ladder of lr_bs.yaml at half its
resolutions, so 7, 10 and 14 px, with half the data below the top. A killed benchmark resumes where it was, as
each training's scores are in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.energy.reading import EnergyReading, EnergySensors
from search.ledger.history import TrialRecord
from search.rank_correlation import Correlation, rung_correlations
from search.trial import EpochRow, run_trial
from search.trial.row import Stretch
from search.trial.task import cache_folder
from trainables.core.contract import Budget, Diverged, Horizon, TrainingContext
from trainables.core.load import load_trainable

_TOP = Budget(epochs=3, subset=1.0, resolution=14)
LADDERS = {
    "plain": Ladder(tuple(Budget(epochs=epochs, subset=1.0, resolution=14) for epochs in (1, 2, 3))),
    "growing": Ladder(
        (Budget(epochs=1, subset=0.5, resolution=7), Budget(epochs=2, subset=0.5, resolution=10), _TOP)
    ),
}
_NUM_POINTS = 24
_METRIC = "val_accuracy"
_TRIAL_SEED, _FULL_SEED = 0, 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training up a ladder."""

    name: str
    ladder: Ladder
    point: int
    seed: int

    def file(self, folder: Path) -> Path:
        return folder / f"{self.name}-{self.point:02}.json"


@dataclass(frozen=True, kw_only=True)
class LadderProgress:
    """Scores and cumulative CPU seconds at the end of each rung; a diverged training scores 0."""

    scores: Sequence[float]
    cpu_s: Sequence[float]


class NoMeter:
    """Measures nothing: the benchmark counts CPU seconds."""

    sensors, window = EnergySensors(), ""

    def starting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read_start(self) -> EnergyReading:
        return EnergyReading()

    def read(self) -> EnergyReading:
        return EnergyReading()

    def close(self) -> None:
        return None


def main() -> None:
    """Print one ladder's table, training what is not in the cache."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--ladder", choices=LADDERS, default="plain")
    flags.add_argument("--workers", type=int, default=2, help="trainings at a time, of one thread each")
    flags.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "jouletune-horizon")
    options = flags.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    jobs = list(jobs_of(options.ladder))
    missing = [job for job in jobs if not job.file(options.cache).exists()]
    with ProcessPoolExecutor(options.workers, initializer=_warm_up) as pool:
        for number, _ in enumerate(pool.map(_train, missing, [options.cache] * len(missing)), start=1):
            print(f"\r{number} of {len(missing)} trainings", end="", flush=True)
    found = {(job.name, job.point): _read(job.file(options.cache)) for job in jobs}
    print("\n" + "\n".join(table(options.ladder, found)))


def points() -> list[dict[str, Any]]:
    """The configurations, drawn as in spaces/lr_bs.yaml, the same every time."""
    draw = random.Random(0)
    return [
        {
            "lr": 10 ** draw.uniform(-3, 0),
            "batch_size": draw.choice([16, 32, 64, 128, 256]),
            "weight_decay": 10 ** draw.uniform(-5, -2),
        }
        for _ in range(_NUM_POINTS)
    ]


def jobs_of(name: str) -> Iterator[Job]:
    """All trainings of one ladder; full trainings are shared by the ladders."""
    rungs = LADDERS[name].rungs
    parts: dict[Horizon, tuple[Budget, ...]] = {"rung": rungs[:-1], "anytime": rungs}
    if name != "plain":  # there a trial under "full" is full training itself
        parts["full"] = rungs
    for point in range(_NUM_POINTS):
        for seed in (_FULL_SEED, _TRIAL_SEED):
            yield Job(name=f"training-{seed}", ladder=LADDERS["plain"], point=point, seed=seed)
        for horizon, part in parts.items():
            ladder = Ladder(part, horizon)
            yield Job(name=f"{name}-{horizon}", ladder=ladder, point=point, seed=_TRIAL_SEED)


def _warm_up() -> None:
    """Import torch and decode the data, which would otherwise count towards the first training."""
    import torch

    torch.set_num_threads(1)
    trainable = load_trainable("classification")
    trainable.start(trainable.hparams(), _TOP, _env(seed=0, horizon="full"))


def _env(*, seed: int, horizon: Horizon) -> TrainingContext:
    return TrainingContext(
        data="mnist5k",
        data_seed=0,
        seed=seed,
        cache_dir=cache_folder(),
        resolution=_TOP.resolution,
        validation_resolution="rung",
        horizon=horizon,
    )


def _train(job: Job, folder: Path) -> None:
    trainable = load_trainable("classification")
    context = _env(seed=job.seed, horizon=job.ladder.horizon)
    hparams = trainable.hparams(**points()[job.point])
    scores, cpu_s = [0.0] * len(job.ladder.rungs), [0.0] * len(job.ladder.rungs)
    try:
        meter = NoMeter()
        stretch = Stretch(meter, time.process_time)
        for row in run_trial(trainable, hparams, job.ladder, context, meter, stretch=stretch):
            epoch_s = row.total_s + (row.start_s or 0.0)
            cpu_s[row.rung :] = [spent + epoch_s for spent in cpu_s[row.rung :]]
            if row.completes_rung:
                scores[row.rung] = row.metrics[_METRIC]
    except Diverged:
        pass  # the rungs it did not complete keep a score of 0
    job.file(folder).write_text(json.dumps({"scores": scores, "cpu_s": cpu_s}))


def _read(path: Path) -> LadderProgress:
    return LadderProgress(**json.loads(path.read_text()))


def table(name: str, found: Mapping[tuple[str, int], LadderProgress]) -> Iterator[str]:
    """The lines of a Markdown table: each horizon's rungs against full training."""
    full = [found[f"training-{_FULL_SEED}", point] for point in range(_NUM_POINTS)]
    yield f"| {name} ladder | rung | Spearman, all | the better half | cost |"
    yield "|---|---|---|---|---|"
    again = f"training-{_TRIAL_SEED}"
    jobs = {
        "full": again if name == "plain" else f"{name}-full",
        "rung": f"{name}-rung",
        "anytime": f"{name}-anytime",
    }
    for horizon, job in jobs.items():
        moved = [found[job, point] for point in range(_NUM_POINTS)]
        for rung in range(len(moved[0].scores)):
            yield _line(horizon, str(rung), moved, full, rung)
    yield _line("another seed", "", [found[again, point] for point in range(_NUM_POINTS)], full, rung=-1)


def _line(
    who: str, shown: str, moved: Sequence[LadderProgress], full: Sequence[LadderProgress], rung: int
) -> str:
    pairs = [(each.scores[rung], whole.scores[-1]) for each, whole in zip(moved, full, strict=True)]
    (trust,) = rung_correlations([_two_rungs(pair) for pair in pairs], _METRIC, "max", num_rungs=2)
    shares = [each.cpu_s[rung] / whole.cpu_s[-1] for each, whole in zip(moved, full, strict=True)]
    correlations = f"{_text(trust.overall)} | {_text(trust.better_half)}"
    return f"| {who} | {shown} | {correlations} | {statistics.median(shares):.2f} |"


def _two_rungs(scores: tuple[float, float]) -> TrialRecord:
    """A trial whose second rung is full training."""
    rows = [
        EpochRow(epoch=rung + 1, rung=rung, completes_rung=True, metrics={_METRIC: score}, seconds=0.0)
        for rung, score in enumerate(scores)
    ]
    return TrialRecord(trial_id="", number=0, proposed_by="list", hparams={}, seed=0, asked_at=0.0, rows=rows)


def _text(correlation: Correlation | None) -> str:
    if correlation is None:
        return "-"
    return f"{correlation.value:.2f} ({correlation.low:.2f} to {correlation.high:.2f})"


if __name__ == "__main__":
    main()
