"""Forecasts of searches compared with the searches: `--dry-run` first, then the search itself.

    python -m benchmarks.forecast [--only lr_bs]

Each space is searched once on this machine, in a folder of its own; in three of the first five no rung stops
a trial. The last three are short: a script, a custom trainable, and a search from Python, in
benchmarks/short_trainings. A forecast from two steps of some configurations is printed before anything
starts, except for a script or from Python; one from the run's first epochs follows during the run. The exit
status is 1 if a search fell outside a forecast range.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_NO_RUNG_STOPS = ("--set", "search.scheduler={mode: none}")
SEARCHES: dict[str, Sequence[str]] = {
    "lr_bs": ("--trials", "16"),  # asha: which trials continue depends on the scores
    "mnist_rnn": ("--trials", "24", "--set", "search.ladder.epochs=[1,2,4]"),
    "quick": (
        "--trials",
        "6",
        *("--set", "search.ladder={epochs: [2], subset: 0.3, resolution: 20}"),
        *_NO_RUNG_STOPS,
        *("--set", "search.initial_points=[]"),
    ),
    "siamese": ("--trials", "6", "--set", "search.ladder.epochs=[1,2,3]", *_NO_RUNG_STOPS),
    "forward_forward": ("--trials", "6", "--set", "search.ladder.epochs=[1,2,3]", *_NO_RUNG_STOPS),
}
_SHORT = ROOT / "benchmarks" / "short_trainings"
_OWN = {"own script": _SHORT / "script.yaml", "own trainable": _SHORT / "trainable.yaml"}
_FROM_PYTHON = "from Python"
_ALL = (*SEARCHES, *_OWN, _FROM_PYTHON)
_COLUMNS = (
    *("space", "epochs: forecast, truth", "s by two steps", "s by first epochs", "truth", "truth / forecast"),
    "in its ranges",
)
Figures = Mapping[str, Any]


def main() -> int:
    """Print the table and return the exit status."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--only", choices=_ALL, help="one of the searches")
    options = flags.parse_args()
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    are_in_range = True
    for space in [options.only] if options.only else _ALL:
        before, true = _forecast_and_true(space)
        is_in_range = _is_in_range(before, true)
        are_in_range &= is_in_range
        print(_row(space, before, true, is_in_range), flush=True)
    return 0 if are_in_range else 1


def _forecast_and_true(space: str) -> tuple[Figures | None, Figures]:
    """The forecast of the dry run, if any, and the figures of the search."""
    with tempfile.TemporaryDirectory() as results:
        if space == _FROM_PYTHON:
            return None, _answer(_SHORT / "from_python.py", results)
        file, more = (str(_OWN[space]), ()) if space in _OWN else (f"{space}.yaml", SEARCHES[space])
        search = ROOT / "scripts" / "search.py"
        flags = ["--space", file, *more, "--results", results, "--json", "--quiet"]
        before = _answer(search, *flags, "--dry-run")["forecast"]
        return before if "seconds" in before else None, _answer(search, *flags, "--no-report")


def _answer(program: Path, *flags: str) -> dict[str, Any]:
    command = [sys.executable, str(program), *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=env)
    if done.returncode:
        sys.exit(f"{program.name} {' '.join(flags)}: exit status {done.returncode}\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _is_in_range(before: Figures | None, true: Figures) -> bool:
    """Whether seconds and epochs lie within the ranges of every forecast."""
    forecasts = [one for one in (before, true["forecast"]) if one is not None]
    return bool(forecasts) and all(
        one[name]["low"] <= true[name] <= one[name]["high"]
        for one in forecasts
        for name in ("seconds", "epochs")
    )


def _row(space: str, before: Figures | None, true: Figures, is_in_range: bool) -> str:
    later = true["forecast"]
    first = before or later
    cells = [
        space,
        f"{_span(first['epochs'])}, {true['epochs']}" if first else f"{true['epochs']}",
        _span(before["seconds"]) if before else "",
        _span(later["seconds"]) if later else "",
        f"{true['seconds']:.0f}",
        f"{true['seconds'] / first['seconds']['median']:.2f}" if first else "",
        "yes" if is_in_range else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _span(span: Mapping[str, float]) -> str:
    middle, low, high = (f"{span[name]:.0f}" for name in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
