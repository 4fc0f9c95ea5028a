"""The folder of one training: every file name in it is defined here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainables.core.checkpoint import previous_of

_CHECKPOINT, _BEST, _FINAL = "checkpoint.pt", "best.pt", "final.pt"
_KEPT = "epoch-*.pt"
_MODEL = "model"
PROGRESS = ".progress"
CONFIG, HISTORY = "config.yaml", "history.csv"


@dataclass(frozen=True)
class TrialFolder:
    """Where a trial, or a training of `train.py --out`, keeps its files.

    Args:
        path: A folder on storage that all nodes share; it need not exist yet.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The full state that the training resumes from."""
        return self.path / _CHECKPOINT

    @property
    def best(self) -> Path:
        """The state after the best epoch of full training or of a search's top rung: its weights, if any."""
        return self.path / _BEST

    @property
    def final(self) -> Path:
        """The state at the end of a full training: its weights, if any."""
        return self.path / _FINAL

    @property
    def model(self) -> Path:
        """The folder of the trained model, which outlives the run: `trainables.core.model_folder`."""
        return self.path / _MODEL

    def kept(self, epoch: int) -> Path:
        """The full state after `epoch`, which is kept permanently."""
        return self.path / _KEPT.replace("*", f"{epoch:04d}")

    @property
    def log(self) -> Path:
        """What the training printed, one line per epoch, and the tracebacks of its failures."""
        return self.path / "log.txt"

    @property
    def progress(self) -> Path:
        """The progress of a long epoch while it runs."""
        return self.path / PROGRESS

    @property
    def config(self) -> Path:
        """The settings that repeat a full training."""
        return self.path / CONFIG

    @property
    def history(self) -> Path:
        """The result and cost of each epoch of a full training."""
        return self.path / HISTORY

    @property
    def test_scores(self) -> Path:
        """The scores of the test set."""
        return self.path / "test.json"

    def states(self) -> list[Path]:
        """The saved states that exist: the checkpoint, the previous one, best, final, and those of epochs.

        Files that cannot be read are included: a check reports them.
        """
        names = (_CHECKPOINT, previous_of(self.checkpoint).name, _BEST, _FINAL)
        found = [path for name in names if (path := self.path / name).exists() or path.is_symlink()]
        return [*found, *sorted(self.path.glob(_KEPT))]
