"""What searches were told to take, and what they took: `--dry-run` first, then the search itself.

    python -m benchmarks.forecast [--only lr_bs]

Each space is searched once on this machine into a folder of its own; in the last three no rung stops a
trial. A forecast by two steps of some configurations is told before anything starts; one by the run's first
epochs while it goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_NO_RUNG_STOPS = ("--set", "search.scheduler={mode: none}")
SEARCHES: dict[str, Sequence[str]] = {
    "lr_bs": ("--trials", "16"),  # promotion: who goes on depends on the scores
    "mnist_rnn": ("--trials", "24", "--set", "search.ladder.epochs=[1,2,4]"),
    "quick": (
        "--trials",
        "6",
        *("--set", "search.ladder={epochs: [2], subset: 0.3, resolution: 20}"),
        *_NO_RUNG_STOPS,
        *("--set", "search.start=[]"),
    ),
    "siamese": ("--trials", "6", "--set", "search.ladder.epochs=[1,2,3]", *_NO_RUNG_STOPS),
    "forward_forward": ("--trials", "6", "--set", "search.ladder.epochs=[1,2,3]", *_NO_RUNG_STOPS),
}
_HEAD = "| space | epochs: forecast, truth | s by two steps | s by first epochs | truth | truth / forecast |"


def main() -> None:
    """Print the table."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--only", choices=SEARCHES, help="one of the searches")
    options = flags.parse_args()
    print(f"{_HEAD}\n|{'---|' * 6}")
    for space in [options.only] if options.only else SEARCHES:
        print(_row(space, *_told_and_true(space)), flush=True)


def _told_and_true(space: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The forecast of a dry run, and the answer of the search."""
    with tempfile.TemporaryDirectory() as results:
        flags = ["--space", f"{space}.yaml", *SEARCHES[space], "--results", results, "--json", "--quiet"]
        return _answer(*flags, "--dry-run")["forecast"], _answer(*flags, "--no-report")


def _answer(*flags: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "scripts" / "search.py"), *flags]
    answer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return answer


def _row(space: str, told: dict[str, Any], true: dict[str, Any]) -> str:
    later = true["forecast"]["seconds"] if true["forecast"] else None
    cells = [
        space,
        f"{_span(told['epochs'])}, {true['epochs']}",
        _span(told["seconds"]),
        _span(later) if later else "",
        f"{true['seconds']:.0f}",
        f"{true['seconds'] / told['seconds']['median']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _span(span: dict[str, float]) -> str:
    middle, low, high = (f"{span[name]:.0f}" for name in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
