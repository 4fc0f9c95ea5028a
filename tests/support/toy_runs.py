"""Runs for tests: spaces of small trainables, executed in this process with a fake meter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from search.backends.local import execute_here
from search.energy.reading import EnergyReading, EnergySensors
from search.ledger import Ledger
from search.ledger.history import Event, History
from search.run import Run
from search.sampling.proposal import FixedList, Proposal, Sampler
from search.sampling.sampler import OptunaSampler
from search.space import Space, dump_space, load_space
from search.space.record import RECORD, record_of

TOY = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32, 64, 128]}
search:
  trainable: toy
  data: none
  ladder: {epochs: [1, 3, 9]}
  scheduler: {mode: asha_stopping}
  limits: {trials: 12}
"""

# A trainable whose fate is set by its hparams, as a user's own file.
FATEFUL = """
import math, os, time
from dataclasses import dataclass
from trainables.core.contract import Diverged, Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    fate: str = "fine"
    score: float = 0.5

class Fateful:
    def __init__(self, hparams, env):
        self.hparams, self.seed, self.epochs_done = hparams, env.seed, 0
    def run_epoch(self, budget):
        self.epochs_done += 1
        fate = self.hparams.fate
        if fate == "raise":
            raise KeyError("a mistake in the training code")
        if fate == "unfixed" and "FATE_FIXED" not in os.environ:
            raise KeyError("a mistake that will be fixed")
        if fate == "exit":
            os._exit(1)
        if fate == "oom":
            hoard = [bytearray(b"x") * 2**28 for _ in range(20)]  # 5 GiB, every page touched
            time.sleep(30)
        if fate == "diverge":
            raise Diverged("loss became nan in epoch 1, step 3")
        if fate == "text":
            return {"val_accuracy": "good"}
        if fate == "silent":
            return {"val_loss": 1.0}
        value = math.nan if fate == "nan" else self.hparams.score + 0.01 * self.epochs_done
        return {"val_accuracy": value, "num_examples": 100}
    def test(self):
        return {"test_accuracy": self.hparams.score + 0.001 * (self.seed % 7)}
    def notes(self):
        return {"precision": "fp32, as asked"}
    def state_dict(self):
        return {"epochs_done": self.epochs_done}
    def load_state_dict(self, state):
        self.epochs_done = state["epochs_done"]

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, horizon, env: Fateful(hparams, env))
"""


class Calling:
    """An observer that calls a function with each event."""

    def __init__(self, function: Callable[[Event], object]) -> None:
        self.on_event = function


class SteadyMeter:
    """A meter whose readings rise by 100 mJ of GPU and 20 mJ of CPU each time."""

    sensors = EnergySensors(
        gpu_sensor="nvml_counter", gpu_attribution="exclusive", cpu_sensor="rapl_powercap",
        cpu_attribution="exclusive", scope="gpu+cpu", quality="A",
    )  # fmt: skip

    window = ""

    def __init__(self) -> None:
        self._reads = 0

    def starting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read_start(self) -> EnergyReading:
        return EnergyReading(gpu_mj=0, cpu_mj=0)

    def read(self) -> EnergyReading:
        self._reads += 1
        return EnergyReading(gpu_mj=100 * self._reads, cpu_mj=20 * self._reads)

    def close(self) -> None:
        self._reads = 0


def made_space(folder: Path, text: str = TOY, overrides: Sequence[str] = ()) -> Space:
    """The space that `text` describes, written into `folder`."""
    path = folder / "made.yaml"
    path.write_text(text)
    return load_space(str(path), overrides=overrides, spaces_dir=folder)


def toy_file(folder: Path) -> Path:
    """Write the toy's space to a file for the commands."""
    path = folder / "toy.yaml"
    path.write_text(TOY)
    return path


def fateful_space(folder: Path, overrides: Sequence[str] = ()) -> Space:
    """A space of the trainable whose fate is set by its hparams."""
    (folder / "fateful.py").write_text(FATEFUL)
    text = (
        "parameters:\n"
        "  fate: {values: [fine, raise, unfixed, exit, oom, diverge, text, silent, nan]}\n"
        "  score: {min: 0.0, max: 0.9}\n"
        "search:\n"
        "  {trainable: ./fateful.py, data: none, ladder: {epochs: [1, 3]},\n"
        "   scheduler: {mode: asha_stopping}}\n"
    )
    return made_space(folder, text, overrides)


def sampler_for(space: Space) -> OptunaSampler:
    return OptunaSampler(space, defaults_of(space))


def defaults_of(space: Space) -> dict[str, Any]:
    return space.default_hparams(space.trainable.load())


def listed(*points: dict[str, Any]) -> FixedList:
    return FixedList([Proposal(hparams=point, proposed_by="initial") for point in points])


def executed(space: Space, folder: Path, sampler: Sampler | None = None) -> tuple[Run, str]:
    """Execute a run of `space` in `folder` to its end; return it and the reason it ended."""
    ledger = Ledger.create(folder / "run")
    run = Run(space, sampler or sampler_for(space), ledger)
    return run, execute_here(run, SteadyMeter())


def as_searched(space: Space, ledger: Ledger) -> None:
    """Write a search's records of its space and its trainable beside the journal."""
    dump_space(space, ledger.space_file)
    record = record_of(space, space.trainable.load())
    ledger.write_json(RECORD, record.model_dump())


def replayed(run: Run) -> History:
    """The history that a reader of the journal rebuilds."""
    return History(Ledger.open(run.ledger.folder).events())


def kept(run: Run) -> list[str]:
    """The trials whose checkpoints are on disk."""
    return sorted(path.parent.name for path in run.ledger.folder.glob("trials/*/checkpoint.pt"))
