"""A search from Python: prints its forecast and what it actually took, as JSON.

python benchmarks/short_trainings/from_python.py FOLDER
"""

from __future__ import annotations

import json
import sys

import jouletune

SPACE = {
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "batch_size": {"values": [32, 128]},
        "model": {"value": "mnist_cnn"},
    },
    "search": {
        "trainable": "classification",
        "data": "digits",
        "ladder": {"epochs": [1, 2, 4]},
        "scheduler": {"mode": "none"},
        "limits": {"trials": 8},
    },
}


if __name__ == "__main__":
    result = jouletune.search(SPACE, name="short", results=sys.argv[1], is_quiet=True)
    events = [json.loads(line) for line in (result.folder / "journal.jsonl").read_text().splitlines()]
    started, ended = (
        next(event["time"] for event in events if event["event"] == kind)
        for kind in ("session_started", "run_ended")
    )
    forecast = result.folder / "forecast.json"
    answer = {
        "seconds": ended - started,
        "epochs": int(result.trials["epochs"].sum()),
        "forecast": json.loads(forecast.read_text()) if forecast.exists() else None,
    }
    print(json.dumps(answer))
