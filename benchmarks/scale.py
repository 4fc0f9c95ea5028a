"""Whether a trial costs as much late in a long search as early, and how large the results are.

A trainable that does nothing, three rungs, at 200, 1,000 and 5,000 trials: in one process, trial after trial
without Ray, and with Ray. Each search is a process of its own, and its page is written by another. The cost
of a trial is measured in each fifth of the run; its processor time is the driver's alone, and hardly depends
on what else the machine does. "none" trains every trial to the top, "asha" pauses it at each rung.

    python -m benchmarks.scale [--trials 200,1000] [--where here,ray] [--scheduler none,asha] [--stock]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from search.backends.local import execute_here
from search.energy.reading import EnergyReading, EnergySensors
from search.ledger import Ledger
from search.output import Output
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.sampling.proposal import Proposal, Sampler
from search.sampling.warm_start import make_sampler
from search.space import Space, dump_space, load_space
from search.tables import Tables

ROOT = Path(__file__).resolve().parents[1]

_PARTS = 5
_STOCK = 1000
_FEW = 20  # trials after which everything is imported
_SPACE = ROOT / "benchmarks/overhead.yaml"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The cost of one search.

    Attributes:
        cpu_ms: The driver's processor time per trial, in each fifth of the run.
        wall_ms: Wall-clock time per trial, likewise.
        start_mib: The driver's peak memory up to the 20th trial.
        peak_mib: Its peak memory over the whole search.
    """

    cpu_ms: list[float]
    wall_ms: list[float]
    start_mib: float
    peak_mib: float
    journal_mb: float
    restart_s: float
    page_mb: float
    page_s: float


def main() -> None:
    """Print a row for each search, or with --one run it and print its figures."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--trials", default="200,1000,5000")
    flags.add_argument("--where", default="here,ray")
    flags.add_argument("--scheduler", default="none,asha")
    flags.add_argument(
        "--stock", action="store_true", help="stock Ray Tune's marginal cost at 1,000 trials too"
    )
    flags.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.one:
        step, *rest = options.one
        print(json.dumps(_STEPS[step](*rest)))
        return
    print(f"load average before: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    print("| where | scheduler | trials | CPU ms per trial, by fifths | last / first | wall ms, by fifths | "
          "memory MiB, from/to | journal MB | restart s | page MB | page s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for where in options.where.split(","):
        for scheduler in options.scheduler.split(","):
            for num_trials in map(int, options.trials.split(",")):
                print(_row(where, scheduler, num_trials, _measured(where, scheduler, num_trials)), flush=True)
    if options.stock:
        print(f"\nstock Ray Tune at {_STOCK:,} trials: {_asked('stock', str(_STOCK))['ms']:.0f} ms per trial")


def _row(where: str, scheduler: str, num_trials: int, scale: Scale) -> str:
    cpu, wall = (" ".join(f"{ms:.0f}" for ms in each) for each in (scale.cpu_ms, scale.wall_ms))
    ratio = scale.cpu_ms[-1] / scale.cpu_ms[0]
    memory = f"{scale.start_mib:.0f} / {scale.peak_mib:.0f}"
    return (
        f"| {where} | {scheduler} | {num_trials:,} | {cpu} | {ratio:.2f} | {wall} | {memory} | "
        f"{scale.journal_mb:.1f} | {scale.restart_s:.1f} | {scale.page_mb:.1f} | {scale.page_s:.1f} |"
    )


def _measured(where: str, scheduler: str, num_trials: int) -> Scale:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        found = _asked("search", where, f"{scheduler}:{num_trials}", str(run))
        found |= _asked("restart", f"{scheduler}:{num_trials}", str(run)) | _asked("page", str(run))
        journal_mb = (run / "journal.jsonl").stat().st_size / 1e6
        return Scale(**found, journal_mb=journal_mb)


def _asked(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", "--one", *words]
    # Otherwise stock writes a token into the home folder.
    env = {**os.environ, "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _space(what: str) -> Space:
    scheduler, num_trials = what.split(":")
    overrides = [f"search.limits.trials={num_trials}", f"search.scheduler.mode={scheduler}"]
    return load_space(str(_SPACE), overrides=overrides, spaces_dir=ROOT)


class Watch:
    """Wraps a run's sampler to record when each trial was asked for, in wall-clock and processor time."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._marks: list[tuple[float, float]] = []
        self._start_mib = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def ask(self, trial_id: str) -> Proposal | None:
        """Return the sampler's own answer."""
        self._marks.append((time.process_time(), time.perf_counter()))
        if len(self._marks) == _FEW:
            self._start_mib = peak_mib()
        return self._sampler.ask(trial_id)

    def figures(self) -> dict[str, Any]:
        """The figures without the first trials, which import modules, and without the run's end."""
        marks = self._marks[_FEW:]
        places = [part * (len(marks) - 1) // _PARTS for part in range(_PARTS + 1)]
        parts = [(b - a, marks[a], marks[b]) for a, b in pairwise(places)]
        cpu, wall = ([1000 * (end[k] - start[k]) / count for count, start, end in parts] for k in (0, 1))
        return {"cpu_ms": cpu, "wall_ms": wall, "start_mib": self._start_mib, "peak_mib": peak_mib()}


class SteadyMeter:
    """A meter that adds 120 mJ between any two readings."""

    sensors, window = EnergySensors(gpu_sensor="nvml_counter", scope="gpu+cpu", quality="A"), ""

    def __init__(self) -> None:
        self._num_read = 0

    def starting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read_start(self) -> EnergyReading:
        return EnergyReading(gpu_mj=0, cpu_mj=0)

    def read(self) -> EnergyReading:
        self._num_read += 1
        return EnergyReading(gpu_mj=100 * self._num_read, cpu_mj=20 * self._num_read)

    def close(self) -> None:
        """Do nothing: nothing is open."""


def peak_mib() -> float:
    """The peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _searched(where: str, what: str, folder: str) -> dict[str, Any]:
    space = _space(what)
    watch = Watch(_sampler(space))
    if where == "here":
        ledger = Ledger.create(Path(folder))
        dump_space(space, ledger.space_file)
        run = _followed(space, watch, ledger)
        execute_here(run, SteadyMeter())
    else:
        run = _searched_with_ray(space, watch, Path(folder))
    assert len(run.history.trials) == space.limits.trials
    return watch.figures()


def _followed(space: Space, sampler: Sampler, ledger: Ledger) -> Run:
    """A run with its usual observers in a search: checkpoint retention and tables."""
    run = Run(space, sampler, ledger)
    run.observe(CheckpointRetention(run))
    run.observe(Tables(ledger, space, run.history))
    return run


def _searched_with_ray(space: Space, watch: Watch, folder: Path) -> Run:
    from search.backends.ray.backend import RayBackend
    from search.launch import Launch, launch

    first: list[Sampler] = [watch]  # later samplers are the forecast's
    with Path(os.devnull).open("w") as silence:
        run, _ = launch(
            space,
            Launch(folder=folder, command=sys.argv, backend=RayBackend()),
            make_sampler=lambda of: first.pop() if first else _sampler(of),
            output=Output(console=Console(file=silence)),
        )
    return run


def _sampler(space: Space) -> Sampler:
    return make_sampler(space)


def _restarted(what: str, folder: str) -> dict[str, float]:
    started_s, space = time.perf_counter(), _space(what)
    _followed(space, _sampler(space), Ledger.open(Path(folder)))
    return {"restart_s": time.perf_counter() - started_s}


def _paged(folder: str) -> dict[str, float]:
    from search.report.page.writer import write_page

    written = write_page(Path(folder))
    return {"page_s": written.seconds, "page_mb": written.path.stat().st_size / 1e6}


def _stock(words: str) -> dict[str, float]:
    """Milliseconds per trial of stock Ray Tune, in the last fifth of a run of this size."""
    from ray import tune

    from benchmarks.overhead import search_with_stock

    num_trials, ended_s = int(words), list[float]()

    class Ends(tune.Callback):
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            ended_s.append(time.perf_counter())

    search_with_stock(num_trials, callbacks=[Ends()])
    count = num_trials // _PARTS
    return {"ms": 1000 * (ended_s[-1] - ended_s[-1 - count]) / count}


_STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "search": _searched,
    "restart": _restarted,
    "page": _paged,
    "stock": _stock,
}

if __name__ == "__main__":
    main()
