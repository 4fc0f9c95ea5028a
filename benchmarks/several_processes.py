"""How much faster a training is in several processes on this machine, and how far its result differs.

    python -m benchmarks.several_processes [--processes 2] [--pairs 5]

An epoch of one process with one thread alternates with an epoch of several with one thread each, so that
other load on the machine affects both. It prints the median and range of the pairs' ratios, for the training
part and for the whole epoch, the load average, and the difference of the losses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import TrainableRef
from trainables.engine.parallel import leader

_MODELS: Mapping[str, Mapping[str, Any]] = {
    "mnist_cnn": {"lr": 0.02, "batch_size": 256},
    "resnet20": {"lr": 0.02, "batch_size": 256},  # 19 layers exchange their statistics
}


def measure(model: str, *, num_processes: int, num_pairs: int, cache: Path) -> str:
    """A line about one model: ratios of seconds over pairs of epochs, and the difference of the losses."""
    budget = Budget(epochs=num_pairs + 1, subset=2048, resolution=28)
    ref = TrainableRef(name="classification")
    trainable = ref.load()
    hparams = trainable.hparams(model=model, **_MODELS[model])
    context = TrainingContext(
        data="mnist5k",
        data_seed=0,
        seed=0,
        cache_dir=cache,
        precision="fp32",
        num_processes=num_processes,
        num_workers=num_processes,
    )
    torch.set_num_threads(1)
    one: Any = trainable.start(hparams, budget, context)
    several: Any = leader.start(ref, hparams, budget, context)
    pairs = [(one.run_epoch(budget), several.run_epoch(budget)) for _ in range(num_pairs + 1)]
    measured = pairs[1:]  # the first pair allocates memory and connects the processes
    training = [alone["train_s"] / together["train_s"] for alone, together in measured]
    whole = [_epoch_s(alone) / _epoch_s(together) for alone, together in measured]
    apart = [abs(alone["train_loss"] - together["train_loss"]) for alone, together in pairs]
    return (
        f"{model:10} training {_spread(training)}  with validation {_spread(whole)}  "
        f"train_loss apart {apart[0]:.1g} after an epoch, {apart[-1]:.1g} after {len(pairs)}"
    )


def _epoch_s(row: Mapping[str, float]) -> float:
    return row["train_s"] + row["eval_s"]


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> int:
    """Print a line for each model."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--processes", type=int, default=2, metavar="N")
    flags.add_argument("--pairs", type=int, default=5, metavar="N", help="epochs of each")
    options = flags.parse_args()
    load = os.getloadavg()[0]
    print(f"{options.processes} processes of one thread against one, {os.cpu_count()} cores, load {load:.1f}")
    with TemporaryDirectory() as folder:
        for model in _MODELS:
            print(
                measure(model, num_processes=options.processes, num_pairs=options.pairs, cache=Path(folder)),
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
