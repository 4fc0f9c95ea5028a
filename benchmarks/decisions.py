"""The cost of the driver's decisions in a search of very many trials on very many workers, in virtual time.

A real run (journal on this disk, scheduler, sampler) with trainings that take no time at all: what remains is
the work of one process per trial, in milliseconds of processor time. docs/scale.md extrapolates from it. In
the first fifth all workers start at once.

    python -m benchmarks.decisions [--trials 2000,10000] [--workers 1000] [--samplers random,tpe]
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from search.backends import simulated
from search.backends.costs import Costs, PointCost
from search.backends.simulated import SimulatedBackend, VirtualClock
from search.ledger import Ledger
from search.ledger.history import History
from search.run import Run
from search.sampling.warm_start import make_sampler
from search.space import Space, load_space
from search.tables import Tables

_SPACE = Path(__file__).with_name("overhead.yaml")
_PARTS = 5
_HEAD = (
    "| sampler | trials | epochs | proposal ms | decision ms | journal ms | all ms of a trial, by fifths "
    "| journal bytes per trial | memory MiB | replay s | tables s |"
)


class _Stopwatch:
    """Processor seconds spent in some methods, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, owner: Any, method: str, name: str) -> None:
        """Count the time of each call of the method under `name`."""
        call: Callable[..., Any] = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            began_s = time.process_time()
            try:
                return call(*given, **named)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - began_s

        setattr(owner, method, timed)


def _space(num_trials: int, workers: int, sampler: str) -> Space:
    return load_space(
        str(_SPACE),
        spaces_dir=_SPACE.parent,
        overrides=[
            *(f"search.limits.trials={num_trials}", f"search.resources.workers={workers}"),
            *(f"search.sampler={sampler}", "search.scheduler={mode: asha}"),
        ],
    )


def _measure(num_trials: int, workers: int, sampler: str, folder: Path) -> str:
    """Run one search and return its row of the table."""
    simulated.MOST_TRIALS = num_trials  # a forecast's bound
    space = _space(num_trials, workers, sampler)
    point = PointCost(hparams={}, start_s=1.0, epoch_s=(60.0, 60.0, 60.0))
    clock, watch = VirtualClock(), _Stopwatch()
    run = Run(
        space,
        make_sampler(space),
        Ledger.create(folder / "run"),
        clock=clock,
    )
    watch.time(run._scheduler, "ask", "proposal")
    watch.time(run._scheduler, "choose_paused", "decision")
    watch.time(run._scheduler, "on_epoch", "decision")
    watch.time(run.ledger.journal, "append", "journal")
    marks = [time.process_time()]
    on_epoch = run.on_epoch

    def marked(*given: Any) -> Any:
        while len(run.history.trials) * _PARTS >= num_trials * len(marks) and len(marks) < _PARTS:
            marks.append(time.process_time())
        return on_epoch(*given)

    run.on_epoch = marked  # type: ignore[method-assign, assignment]  # the backend's only way in
    costs = Costs(points=(point,), source="made", first_s=0.0)
    backend = SimulatedBackend(costs, clock, random.Random(0), is_learning=False)
    backend.execute(run)
    marks.append(time.process_time())
    fifths = " ".join(f"{1000 * (end - begin) * _PARTS / num_trials:.1f}" for begin, end in pairwise(marks))
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    num_bytes = run.ledger.journal_file.stat().st_size
    began_s = time.process_time()
    history = History(run.ledger.events())
    replay_s = time.process_time() - began_s
    began_s = time.process_time()
    Tables(run.ledger, space, history).on_event({"event": "run_ended"})
    tables_s = time.process_time() - began_s
    per_trial = {name: 1000 * seconds / num_trials for name, seconds in watch.seconds.items()}
    cells = [
        *(sampler, f"{num_trials:,}", f"{sum(backend.epochs):,}"),
        *(f"{per_trial[name]:.2f}" for name in ("proposal", "decision", "journal")),
        *(
            fifths,
            f"{num_bytes / num_trials:,.0f}",
            f"{memory_mib:.0f}",
            f"{replay_s:.1f}",
            f"{tables_s:.1f}",
        ),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Print the table, each row as soon as it is measured; return the exit status."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--trials", default="2000,10000", metavar="N,N")
    flags.add_argument("--workers", type=int, default=1000, metavar="N")
    flags.add_argument("--samplers", default="random,tpe", metavar="NAME,NAME")
    options = flags.parse_args()
    print(_HEAD, "|---" * _HEAD.count(" | ") + "|---|", sep="\n")
    for sampler in options.samplers.split(","):
        for num_trials in map(int, options.trials.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                print(_measure(num_trials, options.workers, sampler, Path(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
