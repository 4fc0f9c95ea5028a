"""A trial's overhead, ours (on Ray Tune, or on Ray Core alone) against stock, and time to the first step.

A trainable that does nothing, three rungs for every trial, at 20 and at 60 trials: the marginal cost of a
trial is the difference divided by 40, so that starting and ending Ray cancels out. Stock is `tune.Tuner` with
a plain function, OptunaSearch, ASHAScheduler and default settings; every trial reports three times. Each run
is a process of its own; the three take turns.

    python benchmarks/overhead.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

_FEW, _MANY = 20, 60
_CONTENDERS = ("ours", "ours, Ray Core", "stock")


def main() -> None:
    """Print the table, or with --one measure one run and print its seconds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--repeats", type=int, default=3)
    flags.add_argument("--one", nargs=2, metavar=("WHO", "TRIALS"), help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.one:
        who, num_trials = options.one
        measure = {"ours": _ours, "ours, Ray Core": _ours_on_core, "stock": _stock}[who]
        seconds = measure(int(num_trials))
        print(json.dumps({"seconds": seconds}))
        return
    _print_marginal(options.repeats)
    _print_first_step(options.repeats)


def _print_marginal(repeats: int) -> None:
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeats):
        for num_trials in (_FEW, _MANY):
            for who in _CONTENDERS:
                seconds.setdefault((who, num_trials), []).append(_measured(who, num_trials))
    cost_s = {}
    print(f"{'':16}{_FEW:>4} trials{_MANY:>6} trials   a trial more costs   (medians of {repeats})")
    for who in _CONTENDERS:
        few_s, many_s = (statistics.median(seconds[who, num_trials]) for num_trials in (_FEW, _MANY))
        cost_s[who] = (many_s - few_s) / (_MANY - _FEW)
        print(f"{who:16}{few_s:9.2f} s{many_s:10.2f} s{cost_s[who] * 1000:15.1f} ms")
    for who in _CONTENDERS[:2]:
        print(f"stock / {who}: {cost_s['stock'] / cost_s[who]:.1f}")


def _measured(who: str, num_trials: int) -> float:
    done = _run([sys.executable, __file__, "--one", who, str(num_trials)])
    seconds: float = json.loads(done.splitlines()[-1])["seconds"]
    return seconds


def _ours_on_core(num_trials: int) -> float:
    return _ours(num_trials, engine="core_controller")


def _ours(num_trials: int, engine: Any = "tune_adapter") -> float:
    from rich.console import Console

    from search.backends.ray.backend import RayBackend
    from search.launch import Launch, launch
    from search.output import Output
    from search.sampling.warm_start import make_sampler
    from search.space import load_space

    started_s = time.perf_counter()
    space = load_space(
        str(ROOT / "benchmarks/overhead.yaml"),
        overrides=[f"search.limits.trials={num_trials}"],
        spaces_dir=ROOT,
    )
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as silence:
        run, _ = launch(
            space,
            Launch(folder=Path(folder) / "run", command=sys.argv, backend=RayBackend(engine=engine)),
            make_sampler=make_sampler,
            output=Output(console=Console(file=silence)),
        )
    assert len(run.ranking.ranked()) == num_trials
    return time.perf_counter() - started_s


def _stock(num_trials: int) -> float:
    started_s = time.perf_counter()
    search_with_stock(num_trials)
    return time.perf_counter() - started_s


def search_with_stock(num_trials: int, callbacks: Sequence[Any] = ()) -> None:
    """Run `num_trials` trials with stock Ray Tune: OptunaSearch, ASHA, default settings, `callbacks`."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def nothing(config: Mapping[str, float]) -> None:
        for _ in range(3):
            tune.report({"score": -abs(config["lr"] - 0.5)})

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        tuner = tune.Tuner(
            nothing,
            param_space={"lr": tune.uniform(0.0, 1.0), "batch_size": tune.choice([16, 32, 64, 128])},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=num_trials,
                search_alg=OptunaSearch(),
                scheduler=ASHAScheduler(max_t=3, grace_period=3),
            ),
            run_config=tune.RunConfig(storage_path=folder, callbacks=list(callbacks) or None),
        )
        results = tuner.fit()
    assert len(results) == num_trials


def _print_first_step(repeats: int) -> None:
    """Print the time from the command to a ResNet-20's first optimiser step: ours, and plain Python."""
    from search.trial.task import cache_folder

    plain = [sys.executable, str(ROOT / "benchmarks/first_step.py"), str(cache_folder())]
    seconds: dict[str, list[float]] = {"plain Python": [], "a search": []}
    for _ in range(repeats):
        seconds["plain Python"].append(_first_step(plain))
        with tempfile.TemporaryDirectory() as folder:
            seconds["a search"].append(_first_step(_search_command(folder)))
    print("\nfrom the command to the first training step")
    for who, taken in seconds.items():
        print(f"{who:14}{statistics.median(taken):6.2f} s")


def _search_command(folder: str) -> list[str]:
    return [
        *(
            sys.executable,
            str(ROOT / "scripts/search.py"),
            "--space",
            str(ROOT / "benchmarks/first_step.yaml"),
        ),
        *("--results", folder, "--name", "run"),
    ]


def _first_step(command: list[str]) -> float:
    with tempfile.NamedTemporaryFile("r") as stamp:
        started = time.time()
        _run(command, FIRST_STEP_FILE=stamp.name)
        return float(stamp.read()) - started


def _run(command: list[str], **env: str) -> str:
    env["RAY_AUTH_TOKEN"] = secrets.token_hex(16)  # otherwise stock writes one into the home folder
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
