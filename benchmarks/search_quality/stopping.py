"""Print what a search saves and loses by ending once further trials are unlikely to gain.

python -m benchmarks.search_quality.stopping --curves FOLDER --halves shown "made, shown"
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one core per process; before NumPy

from benchmarks.search_quality.halves import HALVES, Half, tables_of
from benchmarks.search_quality.ours import Ours, Setup
from benchmarks.search_quality.simulate import Answer, Asked, Simulation
from benchmarks.search_quality.table import Table
from search.budget import grid_of
from search.freeze_thaw.expected_gain import Curve, Steps, gain_of
from search.freeze_thaw.points import Points
from search.ledger.history import ExpectedGain, History
from search.run.flatness import flat_reason, is_due
from search.rungs import Kind
from search.space import Space

_KINDS: tuple[Kind, ...] = ("asha", "freeze_thaw")


class Watched:
    """Our search of a table, with a run's estimates of what a further trial would gain.

    Attributes:
        flat_at: Number of epochs after which it was flat; None until it is.
    """

    def __init__(self, inner: Ours, space: Space) -> None:
        self._inner, self._space = inner, space
        self._points = Points(space, dict.fromkeys(space.parameters, 0.5))
        ends = space.ladder.ends
        self._steps = Steps(grid=grid_of(ends), rungs=ends[:-1], eta=space.scheduler.eta)
        self._placed: dict[str, Sequence[float]] = {}
        self._values: dict[str, list[float]] = {}
        self._history = History()
        self.flat_at: int | None = None

    def next_trial(self) -> Asked | None:
        return self._inner.next_trial()

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        self._placed[trial_id], self._values[trial_id] = point, []
        self._inner.on_placed(trial_id, point)

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        self._values[trial_id].append(accuracy)
        self._history.num_epochs += 1
        answer = self._inner.on_epoch(trial_id, epoch, accuracy)
        if answer != "continue" and self.flat_at is None:
            self._history.epochs_at_end = self._history.num_epochs
            self._estimate()
        return answer

    def _estimate(self) -> None:
        top, history = self._steps.grid[-1], self._history
        num_finished = sum(len(each) == top for each in self._values.values())
        if not is_due(history, num_trials=len(self._values), num_finished=num_finished):
            return
        curves = [
            Curve(
                hparams=dict(zip(self._space.parameters, self._placed[trial_id], strict=True)),
                values=dict(enumerate(values, start=1)),
                epochs=values,
            )
            for trial_id, values in self._values.items()
            if values
        ]
        gain = gain_of(self._points, self._steps, curves, seed=[self._space.training.seed, len(curves)])
        assert gain is not None, "some trials are at the top"
        history.gains.append(
            ExpectedGain(
                num_trials=len(curves),
                num_epochs=history.num_epochs,
                expected_gain=gain.expected,
                least_gain=gain.least,
                least_is=gain.least_is,
            )
        )
        if flat_reason(history.gains, "accuracy"):
            self.flat_at = history.num_epochs


@dataclass(frozen=True)
class Job:
    """One search."""

    kind: Kind
    table: Table = field(repr=False)
    seed: int
    num_trainings: int


@dataclass(frozen=True)
class Stopped:
    """What a search would have saved and lost by ending early.

    Attributes:
        saved: Fraction of its epochs; 0 if it was never flat.
        lost: Picked regret at the early end minus that of the whole search.
        regret: Picked regret of the whole search.
    """

    kind: str
    table: str
    saved: float
    lost: float
    regret: float


def stopped(job: Job) -> Stopped:
    """Run a job's search to its end, and find where it would have ended early."""
    table, num_epochs = job.table, job.num_trainings * job.table.num_epochs
    inner = Setup(job.kind).contender(table, job.seed, num_epochs)
    watched = Watched(inner, inner.space)
    trace = Simulation(watched, table).run(num_epochs)
    picked = table.regret(trace.picked, table.val_accuracy[:, -1].max())
    end = watched.flat_at or num_epochs
    lost = float(picked[end - 1] - picked[-1])
    return Stopped(job.kind, table.name, 1 - end / num_epochs, lost, float(picked[-1]))


def report(half: Half, found: Sequence[Stopped]) -> Iterator[str]:
    """A line for each kind of search and table, and one per kind for all tables."""
    yield f"{half}: epochs saved | regret lost, mean and largest | regret of the whole search | ended early"
    for kind in _KINDS:
        of_kind = [each for each in found if each.kind == kind]
        for table in dict.fromkeys(each.table for each in of_kind):
            yield _line(f"{kind}, {table}", [each for each in of_kind if each.table == table])
        yield _line(f"{kind}, all tables", of_kind)


def _line(name: str, found: Sequence[Stopped]) -> str:
    saved, lost, regret = (fmean(getattr(each, key) for each in found) for key in ("saved", "lost", "regret"))
    early = sum(each.saved > 0 for each in found)
    most = max(each.lost for each in found)
    return f"{name:<34}{saved:>6.0%} | {lost:+.3f} {most:+.3f} | {regret:.3f} | {early} of {len(found)}"


def main() -> None:
    """Search every table of each half with each kind and seed, and print the report."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--curves", type=Path, required=True, metavar="FOLDER", help="the recorded tables")
    flags.add_argument("--halves", nargs="+", choices=HALVES, default=HALVES)
    flags.add_argument("--seeds", type=int, default=5)
    flags.add_argument("--trainings", type=int, default=20, help="epochs to spend, in full trainings")
    flags.add_argument("--processes", type=int, default=os.cpu_count())
    options = flags.parse_args()
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        for half in options.halves:
            jobs = [
                Job(kind, table, seed, options.trainings)
                for seed in range(options.seeds)
                for table in tables_of(half, options.curves).values()
                for kind in _KINDS
            ]
            print("\n".join(report(half, pool.map(stopped, jobs, chunksize=1))), flush=True)


if __name__ == "__main__":
    main()
