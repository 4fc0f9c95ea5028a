"""The folder of one training: every file name in it is written here, and nowhere else."""

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
        path: On storage that all nodes share; it need not exist yet.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The full state that the training resumes from."""
        return self.path / _CHECKPOINT

    @property
    def best(self) -> Path:
        """The full state after the best epoch of a full training."""
        return self.path / _BEST

    @property
    def final(self) -> Path:
        """The full state at the end of a full training."""
        return self.path / _FINAL

    @property
    def model(self) -> Path:
        """The folder of the trained model, which outlives the run: `trainables.core.model_folder`."""
        return self.path / _MODEL

    def kept(self, epoch: int) -> Path:
        """The full state after `epoch`, where it stays for good."""
        return self.path / _KEPT.replace("*", f"{epoch:04d}")

    @property
    def log(self) -> Path:
        """What the training printed, a line an epoch, and the tracebacks of its failures."""
        return self.path / "log.txt"

    @property
    def progress(self) -> Path:
        """How far a long epoch is, while it runs."""
        return self.path / PROGRESS

    @property
    def config(self) -> Path:
        """What a full training can be repeated with."""
        return self.path / CONFIG

    @property
    def history(self) -> Path:
        """What each epoch of a full training brought and cost."""
        return self.path / HISTORY

    @property
    def test_scores(self) -> Path:
        """The scores of the test set."""
        return self.path / "test.json"

    def states(self) -> list[Path]:
        """The full states that are there, the newest first; one that only its previous version is left of
        too.

        A file that cannot be read is among them: a check reports it.
        """
        names = (_CHECKPOINT, previous_of(self.checkpoint).name, _BEST, _FINAL)
        found = [path for name in names if (path := self.path / name).exists() or path.is_symlink()]
        return [*found, *sorted(self.path.glob(_KEPT))]
