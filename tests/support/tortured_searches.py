"""The tortured searches: small, with every kind of scheduler, and reproducible to the last digit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Each score depends on all earlier epochs, the seed and the hparams, so training from a wrong state shows in
# every later number. The hparams set the trial's fate.
CHAINED = """
import hashlib, math
from dataclasses import dataclass
from trainables.core.contract import Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    score: float = 0.5
    fate: str = "fine"

class Chained:
    def __init__(self, hparams, env):
        self.hparams, self.seed, self.epochs_done, self.link = hparams, env.seed, 0, ""
    def run_epoch(self, budget):
        self.epochs_done += 1
        text = f"{self.link} {self.hparams} {self.seed} {self.epochs_done}"
        self.link = hashlib.sha256(text.encode()).hexdigest()
        if self.epochs_done == 2:
            if self.hparams.fate == "raise":
                raise KeyError("a mistake in the training code")
            if self.hparams.fate == "network":
                raise ConnectionError("the data's host does not answer")
            if self.hparams.fate == "nan":
                return {"val_accuracy": math.nan, "num_examples": 10}
        noise = int(self.link[:8], 16) / 2**32
        value = self.hparams.score * (1 - 0.5 ** (self.epochs_done + 1)) + 0.1 * noise
        return {"val_accuracy": value, "num_examples": 10}
    def test(self):
        return {"test_accuracy": self.hparams.score}
    def notes(self):
        return {}
    def state_dict(self):
        return {"epochs_done": self.epochs_done, "link": self.link}
    def load_state_dict(self, state):
        self.epochs_done, self.link = state["epochs_done"], state["link"]

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, horizon, env: Chained(hparams, env))
"""
_SCORE = {"score": {"min": 0.0, "max": 0.9}}
_FATES = {**_SCORE, "fate": {"values": ["fine", "fine too", "raise", "network", "nan"]}}


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search to torture; `settings` go under `search` in the space.

    Attributes:
        is_only_killed: Whether to kill it only: its outcome depends on the bytes on disk, where a lost state
            makes room.
    """

    parameters: Mapping[str, Any] = field(default_factory=lambda: _SCORE)
    settings: Mapping[str, Any]
    is_only_killed: bool = False

    def write(self, folder: Path, *, seed: int) -> Path:
        """Write the space and its trainable, and return the space's file."""
        (folder / "chained.py").write_text(CHAINED)
        basics = {"trainable": "./chained.py", "data": "none", "seed": seed, "resources": {"workers": 1}}
        path = folder / "space.yaml"
        path.write_text(json.dumps({"parameters": self.parameters, "search": {**basics, **self.settings}}))
        return path


SEARCHES: Mapping[str, Search] = {
    "asha_stopping": Search(
        settings={
            "ladder": {"epochs": [1, 3, 6]},
            "scheduler": {"mode": "asha_stopping", "eta": 2},
            "limits": {"trials": 8},
        }
    ),
    "asha": Search(
        settings={
            "ladder": {"epochs": [1, 2, 4]},
            "scheduler": {"mode": "asha", "eta": 3, "control_fraction": 0},
            "limits": {"trials": 12},
        }
    ),
    "promotion with control trials": Search(
        settings={
            "ladder": {"epochs": [1, 2, 4]},
            "scheduler": {"mode": "asha", "eta": 2, "control_fraction": 0.2},
            "limits": {"trials": 10},
        }
    ),
    "promotion, trials given up": Search(
        settings={
            "ladder": {"epochs": [1, 2, 3]},
            "scheduler": {"mode": "asha", "eta": 4, "control_fraction": 0},
            "limits": {"trials": 20},
        }
    ),
    "promotion on a small disk": Search(
        settings={
            "ladder": {"epochs": [1, 2, 3]},
            "scheduler": {"mode": "asha", "eta": 3, "control_fraction": 0},
            "limits": {"trials": 12, "disk_gib": 8.6e-6},  # 9.2 KB: three states of 2.6 KB
        },
        is_only_killed=True,
    ),
    "pasha": Search(
        settings={
            "ladder": {"epochs": [1, 2, 4, 6]},
            "scheduler": {"mode": "pasha", "eta": 2, "control_fraction": 0},
            "limits": {"trials": 10},
        }
    ),
    "brackets, a training per rung": Search(
        settings={
            "ladder": {"epochs": [1, 2, 4]},
            "horizon": "rung",
            "scheduler": {"mode": "asha", "eta": 2, "brackets": 2},
            "limits": {"trials": 8},
        }
    ),
    "patience": Search(
        settings={
            "ladder": {"epochs": [6]},
            "scheduler": {"mode": "none"},
            "patience": 1,
            "early_stop_threshold": 0.1,
            "limits": {"trials": 6},
        }
    ),
    "trials that fail": Search(
        parameters=_FATES,
        settings={
            "ladder": {"epochs": [1, 3]},
            "scheduler": {"mode": "asha", "eta": 2, "control_fraction": 0},
            "sampler": "random",
            "limits": {"trials": 12},
        },
    ),
    "a grid of fates": Search(
        parameters={"score": {"values": [0.2, 0.8]}, "fate": _FATES["fate"]},
        settings={
            "ladder": {"epochs": [1, 2, 3]},
            "scheduler": {"mode": "asha", "eta": 2, "control_fraction": 0},
            "sampler": "grid",
        },
    ),
    "repeats": Search(
        settings={
            "ladder": {"epochs": [1, 2]},
            "scheduler": {"mode": "asha_stopping", "eta": 2},
            "trials": [{"score": 0.1}, {"score": 0.4}, {"score": 0.7}],
            "repeats": 2,
        },
    ),
}
