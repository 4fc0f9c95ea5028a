"""Photographs from disk to the model: ours against torchvision's pattern and timm's loader, on the CPU.

All train the same model for the same number of epochs on the same JPEG files, and score a validation part
after each; each contender is a process of its own, whose imports are not counted. With the tiny model the
loader dominates; with ResNet-18 at 128 px ours is compared with a bare loop over tensors already in memory.
Without --images the photographs are 1,200 crops of scikit-learn's two sample images, 400 px.

    python -m benchmarks.data [--images FOLDER] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.one_run import answer_of
from benchmarks.photographs import laid_out, write_photographs

SIDE_PX = 128
LOADERS = ("ours", "torchvision", "timm")


def main() -> None:
    """Print both tables."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--images", type=Path, help="a folder of class folders of photographs")
    flags.add_argument("--epochs", type=int, default=10)
    flags.add_argument("--repeats", type=int, default=3)
    flags.add_argument("--only", choices=("loader", "compute"), help="one of the two tables")
    options = flags.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        images = options.images or write_photographs(Path(scratch) / "photographs", count=1200)
        folder = laid_out(images, Path(scratch) / "parts")
        if options.only != "compute":
            _print_loaders(folder, options.epochs, options.repeats)
        if options.only != "loader":
            _print_compute(folder, options.repeats)


def _print_loaders(folder: Path, epochs: int, repeats: int) -> None:
    runs: dict[str, list[dict[str, Any]]] = {who: [] for who in LOADERS}
    for _ in range(repeats):
        for who in LOADERS:
            runs[who].append(_measured(who, "tiny", folder, epochs))
    print(f"tiny model, {SIDE_PX} px, {os.cpu_count()} cores, {epochs} epochs, medians of {repeats}")
    print(
        f"{'':14}{'first epoch':>12}{'later epochs':>14}{'images/s':>10}{'last one ends':>15}{'CPU time':>10}"
    )
    later_s, all_s, cpu_s = {}, {}, {}
    for who, answers in runs.items():
        first_s = statistics.median(answer["epochs_s"][0] for answer in answers)
        later_s[who] = statistics.median(statistics.mean(answer["epochs_s"][1:]) for answer in answers)
        all_s[who] = statistics.median(sum(answer["epochs_s"]) for answer in answers)
        cpu_s[who] = statistics.median(answer["cpu_s"] for answer in answers)
        speed = answers[0]["num_images"] / later_s[who]
        print(
            f"{who:14}{first_s:10.2f} s{later_s[who]:12.3f} s{speed:10.0f}"
            f"{all_s[who]:13.2f} s{cpu_s[who]:8.1f} s"
        )
    for peer in LOADERS[1:]:
        later, whole, cpu = (taken[peer] / taken["ours"] for taken in (later_s, all_s, cpu_s))
        print(
            f"{peer} / ours: {later:.1f} from the second epoch on, {whole:.1f} over all "
            f"with the cache built, {cpu:.1f} in CPU time"
        )


def _print_compute(folder: Path, repeats: int) -> None:
    """Run both loops in turns, step by step in one process, so that a busy machine slows both alike."""
    shares = [_measured("turns", "resnet18", folder, 2)["share"] for _ in range(repeats)]
    print(f"\nresnet18, {SIDE_PX} px: speed of a bare loop over tensors in memory / ours")
    print(f"  {statistics.median(shares):.3f} (median of {repeats}: {' '.join(f'{s:.3f}' for s in shares)})")


def _measured(who: str, model: str, folder: Path, epochs: int) -> Any:
    with tempfile.TemporaryDirectory() as cache:
        return answer_of("benchmarks.data_loops", who, model, folder, SIDE_PX, epochs, cache)


if __name__ == "__main__":
    main()
