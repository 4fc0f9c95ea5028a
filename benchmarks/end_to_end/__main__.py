"""From data to hyperparameters that train well: ours against plain scripts.

A ResNet-20, its learning rate, batch size and weight decay, on 5,000 digits and, with --voc, on crops of
photographs with and without an object. The peers are written as in their documentation (`peers.py`), with
torchvision's ImageFolder and a DataLoader (`plain_training.py`); each may use the whole machine, one after
the other, in turns by seed. The hyperparameters of all contenders are scored by the same plain script: two
full trainings with seeds that no search has used, on test images that no search has seen.

The time until a target is the moment after which the hyperparameters that a search would name always have a
test accuracy of at most half a point below the mean of Ray Tune's final ones. For a search that never gets
there, the table shows its whole minutes and CPU seconds with a ">".

    python -m benchmarks.end_to_end --out searches.jsonl [--voc FOLDER --object NAME] [--seeds 3]

Results in `--out` are not measured again, so an interrupted run continues.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.folders import write_crops, write_digits
from benchmarks.end_to_end.measure import Search, measure
from benchmarks.end_to_end.ours import OURS
from benchmarks.end_to_end.plain_training import test_accuracy
from benchmarks.end_to_end.trace import Epoch, changes, named_after

CONTENDERS = ("ray_tune", *OURS, "optuna", "random")
_SCORING_SEEDS = (1_000, 1_001)
_TOLERANCE = 0.005


def main() -> None:
    """Measure what is missing and print the tables."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--out", type=Path, required=True, help="a line for each search and scored training")
    flags.add_argument("--folder", type=Path, help="where the images are written; beside --out by default")
    flags.add_argument("--voc", type=Path, help="photographs with boxes, as Pascal VOC lays them out")
    flags.add_argument("--object", default="Platelets", help="what the crops are with or without")
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    flags.add_argument("--no-digits", action="store_true", help="the crops of --voc alone")
    options = flags.parse_args()
    folder = options.folder or options.out.parent / "images"
    data = [] if options.no_digits else [_written(folder / "digits", write_digits)]
    if options.voc:
        data.append(_written(folder / "crops", lambda into: write_crops(options.voc, options.object, into)))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(_SCORING_SEEDS), spawn) as scoring:
        kept = Kept(options.out, scoring)
        for seed in range(options.seeds):
            for images in data:
                for who in options.contenders:
                    kept.search(who, images, seed)
        for images in data:
            _print_table(kept, images, options.contenders, options.seeds)


def _written(folder: Path, write: Callable[[Path], Path]) -> Path:
    return folder if folder.exists() else write(folder)


class Kept:
    """Searches and scored hyperparameters, each measured once and stored in a file."""

    def __init__(self, file: Path, scoring: Executor) -> None:
        self._file = file
        self._scoring = scoring
        self._rows: dict[str, Any] = {}
        if file.exists():
            self._rows = dict(json.loads(line) for line in file.read_text().splitlines())

    def search(self, who: str, data: Path, seed: int) -> Search:
        row = self._row(f"search {who} {data.name} {seed}", lambda: asdict(measure(who, data, seed)))
        return Search(**{**row, "epochs": [Epoch(**epoch) for epoch in row["epochs"]]})

    def test_accuracy(self, hparams: Mapping[str, float], data: Path) -> float:
        """The mean test accuracy of full trainings with these hyperparameters."""

        def score() -> float:
            of_seed = functools.partial(test_accuracy, hparams, data)
            return statistics.fmean(self._scoring.map(of_seed, _SCORING_SEEDS))

        accuracy: float = self._row(f"scored {data.name} {json.dumps(dict(sorted(hparams.items())))}", score)
        return accuracy

    def _row(self, name: str, measured: Callable[[], Any]) -> Any:
        if name not in self._rows:
            print(f"{name}, load {os.getloadavg()[0]:.1f}", flush=True)
            self._rows[name] = measured()
            with self._file.open("a") as stream:
                stream.write(json.dumps([name, self._rows[name]]) + "\n")
        return self._rows[name]


def _print_table(kept: Kept, data: Path, contenders: Sequence[str], num_seeds: int) -> None:
    searches = {who: [kept.search(who, data, seed) for seed in range(num_seeds)] for who in contenders}
    final = {
        who: [kept.test_accuracy(named_after(each.epochs).hparams, data) for each in of_who]
        for who, of_who in searches.items()
    }
    target = statistics.fmean(final["ray_tune"]) - _TOLERANCE
    print(f"\n{data.name}: {num_seeds} seeds; target {target:.4f} on test\n")
    print("| | epochs | minutes | CPU s | test accuracy | at equal epochs | minutes until target | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for who, of_who in searches.items():
        equal = [_at_equal_epochs(kept, searches, seed, who, data) for seed in range(num_seeds)]
        until = list(zip(*(_until(kept, each, data, target) for each in of_who), strict=True))
        whole = list(zip(*(each.ends[-1] for each in of_who), strict=True))
        print(
            f"| {who} | {statistics.fmean(len(each.epochs) for each in of_who):.0f} "
            f"| {_spread(whole[0], 1)} | {_spread(whole[1], 0)} | {_spread(final[who], 4)} "
            f"| {_spread(equal, 4)} | {_reached(until[0], whole[0], 1)} | {_reached(until[1], whole[1], 0)} |"
        )


def _at_equal_epochs(
    kept: Kept, searches: Mapping[str, list[Search]], seed: int, who: str, data: Path
) -> float:
    """The test accuracy of the hyperparameters named after as many epochs as the shortest search had."""
    fewest = min(len(of_who[seed].epochs) for of_who in searches.values())
    return kept.test_accuracy(named_after(searches[who][seed].epochs[:fewest]).hparams, data)


def _until(kept: Kept, search: Search, data: Path, target: float) -> tuple[float, float]:
    """Minutes and CPU seconds until the search permanently named hyperparameters that reach the target.

    Infinite if it never did.
    """
    at = (float("inf"), float("inf"))
    for count, hparams in reversed(changes(search.epochs)):
        if kept.test_accuracy(hparams, data) < target:
            break
        at = search.ends[count - 1]
    return at


def _spread(values: Iterator[float] | list[float] | tuple[float, ...], digits: int) -> str:
    found = sorted(values)
    return f"{statistics.fmean(found):.{digits}f} ({found[0]:.{digits}f} to {found[-1]:.{digits}f})"


def _reached(until: tuple[float, ...], whole: tuple[float, ...], digits: int) -> str:
    """The mean, in which a search that never got there counts with its whole time."""
    mean = statistics.fmean(min(pair) for pair in zip(until, whole, strict=True))
    missed = sum(value == float("inf") for value in until)
    return f"{'> ' if missed else ''}{mean:.{digits}f}" + (f", {missed} never" if missed else "")


if __name__ == "__main__":
    main()
