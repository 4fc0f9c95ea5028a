"""The same search by jouletune.

python -m benchmarks.end_to_end.ours asha DATA TRACE SEED
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jouletune
from benchmarks.end_to_end.peers import NUM_TRIALS
from benchmarks.end_to_end.plain_training import NUM_EPOCHS, RESOLUTION_PX
from benchmarks.end_to_end.trace import Epoch, write_epochs
from search.trial import EpochRow

_PARAMETERS = {
    "model": {"value": "resnet20"},
    "lr": {"distribution": "log_uniform_values", "min": 1e-3, "max": 1.0},
    "batch_size": {"values": [16, 32, 64, 128, 256]},
    "weight_decay": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
}
# asha and freeze_thaw train each epoch on all images at full size; "ladder" is asha with fewer and smaller
# images first, as in spaces/lr_bs.yaml.
OURS = ("ladder", "asha", "freeze_thaw")


def space(who: str, data: Path, seed: int) -> dict[str, Any]:
    """The same search space as peers.py states for the others."""
    top_px = RESOLUTION_PX[data.name]
    ladder: dict[str, Any] = {"epochs": [1, 3, NUM_EPOCHS], "resolution": top_px}
    if who == "ladder":
        ladder |= {"subset": [0.5, 0.5, 1.0], "resolution": [top_px // 2, top_px * 5 // 7, top_px]}
    return {
        "parameters": _PARAMETERS,
        "search": {
            "trainable": "classification",
            "data": {"imagefolder": str(data)},
            "ladder": ladder,
            "validation_resolution": "rung" if who == "ladder" else "top",
            "scheduler": {"mode": "freeze_thaw" if who == "freeze_thaw" else "asha", "eta": 3},
            "limits": {"trials": NUM_TRIALS},
            "seed": seed,
        },
    }


def search(who: str, data: Path, trace: Path, seed: int) -> None:
    """Search in a temporary folder, and write the epochs to `trace`."""
    with tempfile.TemporaryDirectory() as folder:
        result = jouletune.search(space(who, data, seed), name="run", results=folder, is_quiet=True)
        write_epochs(trace, epochs_of(result.folder))


def epochs_of(run: Path) -> list[Epoch]:
    """The epochs in the journal of a run."""
    hparams: dict[str, Mapping[str, float]] = {}
    epochs = []
    for event in map(json.loads, (run / "journal.jsonl").read_text().splitlines()):
        if event["event"] == "trial_asked":
            hparams[event["trial"]] = {
                name: value
                for name, value in event["hparams"].items()
                if name in _PARAMETERS and name != "model"
            }
        if event["event"] == "epoch":
            row = EpochRow.from_dict(event["row"])
            epochs.append(
                Epoch(
                    at=event["time"],
                    trial=event["trial"],
                    hparams=hparams[event["trial"]],
                    value=row.metrics["val_accuracy"],
                    level=row.rung + row.completes_rung,
                )
            )
    return epochs


if __name__ == "__main__":
    _, contender, data_folder, trace_file, of_seed = sys.argv
    search(contender, Path(data_folder), Path(trace_file), int(of_seed))
