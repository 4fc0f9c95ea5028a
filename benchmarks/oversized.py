"""A training that runs out of memory in 40 % of the space, to measure what such points cost.

Memory grows with batch size times width, both drawn on a log scale, and the score with width, so the best
points lie along the limit. A point above it takes real memory until Ray's memory monitor kills its process,
or requests more than a resource limit grants and gets a MemoryError.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainables.core.contract import Budget, Trainable, TrainingContext

LOG, FATE = "JOULETUNE_BENCH_LOG", "JOULETUNE_BENCH_FATE"  # the path of a file; "killed" or "raised"
BATCH_SIZE, WIDTH = (16.0, 128.0), (32.0, 256.0)
_LIMIT = 2 - math.sqrt(0.8)  # the sum of two uniform numbers lies above it in 40 % of all cases
_PIECE_MIB, _MOST_MIB = 64, 6144
_EPOCH_S = 0.2
_WAIT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Hparams:
    lr: float = 0.3
    batch_size: float = 32.0
    width: float = 64.0


class Oversized:
    """A training that only waits, and runs out of memory in its first epoch or never."""

    def __init__(self, hparams: Hparams) -> None:
        self._config = asdict(hparams)
        self.epochs_done = 0

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        self.epochs_done += 1
        return {"score": trained(self.epochs_done, self._config)}

    def test(self) -> Mapping[str, float]:
        return {"score": self._config["width"]}

    def notes(self) -> Mapping[str, str]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done = state["epochs_done"]


def trained(epoch: int, config: Mapping[str, float]) -> float:
    """Run an epoch, counted from 1, and return its score."""
    if epoch == 1:
        with Path(os.environ[LOG]).open("a") as log:
            log.write(json.dumps({"time": time.time(), "is_oversized": is_oversized(config)}) + "\n")
        if is_oversized(config):
            _run_out_of_memory()
    time.sleep(_EPOCH_S)
    ceiling = _share(config["width"], WIDTH) - (config["lr"] - 0.6) ** 2
    return ceiling - 0.5 * math.exp(-epoch / 3)


def is_oversized(config: Mapping[str, float]) -> bool:
    """Whether the point lies above the memory limit."""
    return _share(config["batch_size"], BATCH_SIZE) + _share(config["width"], WIDTH) > _LIMIT


def _share(value: float, ends: tuple[float, float]) -> float:
    """The position of a value within a range on a log scale, from 0 to 1."""
    return math.log(value / ends[0]) / math.log(ends[1] / ends[0])


def _run_out_of_memory() -> None:
    if os.environ[FATE] == "raised":
        _ask_for_too_much()
    hoard = []
    for _ in range(_MOST_MIB // _PIECE_MIB):  # the monitor checks every 50 ms
        hoard.append(bytearray(b"x") * (_PIECE_MIB * 2**20))  # every page is touched
        time.sleep(0.01)
    time.sleep(_WAIT_S)
    raise RuntimeError(f"no monitor killed a process that took {len(hoard) * _PIECE_MIB} MiB")


def _ask_for_too_much() -> None:
    """Request 1024 MiB when a limit leaves 256; the limit is lifted again, as it binds all threads."""
    data_kib = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert data_kib
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(data_kib[1]) * 1024 + 256 * 2**20, hard))
    try:
        bytearray(1024 * 2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> Oversized:
    return Oversized(hparams)


TRAINABLE = Trainable(hparams=Hparams, metric="score", mode="max", start=start)
