"""Check that every space in spaces/ can be searched on this machine: four trials each on a small ladder.

python benchmarks/spaces.py
python benchmarks/spaces.py --only lr_bs,detection

The searches are real and run one after the other, as by `scripts/search.py`, except for the changes in
SMALLEST. The exit status is 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NUM_TRIALS = 4
_LADDER = "search.ladder={epochs: [1, 2], subset: [0.1, 0.2]}"
_FEW = "search.validation_subset=0.2"
# Fine-tuning without pretrained weights, which an offline machine does not have.
_FINETUNE = (
    "parameters.weights.value=none",
    "search.ladder={epochs: [1, 2], subset: [0.02, 0.04], resolution: 32, validation: 0.1}",
)
# Overrides that make a space small enough for two cores: its smallest models, images and parts of the data.
# A space that is not listed gets _LADDER.
SMALLEST: dict[str, tuple[str, ...]] = {
    "ablations": (
        "search.ladder={epochs: [1], subset: 0.05, resolution: 32}",
        "parameters.model={value: mnist_cnn}",  # made for a GPU with resnet18
        "search.chosen_ablations=optimizer",
        _FEW,
    ),
    "accurate": (
        "search.ladder={epochs: [1, 3], subset: [0.02, 0.05], resolution: 32}",
        "parameters.model={values: [resnet20, resnet18]}",  # the larger models, and HRNet, are for a GPU
        "search.initial_points=[{model: resnet18}]",
        "search.validation_subset=0.1",
    ),
    "bug_localization": ("search.ladder={epochs: [1, 2], subset: [0.5, 1.0], resolution: [10, 50]}",),
    "code_clones": ("search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 16}", _FEW),
    "code_vulnerability": ("search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 64}", _FEW),
    "command": ("search.ladder={epochs: [1, 2]}",),
    "curves": (),
    "detection": (
        "search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 32}",
        _FEW,
    ),
    "d_fine": (
        "parameters.model.value=d_fine_tiny",
        "search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 64}",
        "parameters.batch_size={values: [4, 8]}",
        "search.initial_points=[{batch_size: 8}]",
        _FEW,
    ),
    "detr": (
        "parameters.model.value=detr_tiny",
        "search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 64}",
        "parameters.batch_size={values: [4, 8]}",
        "search.initial_points=[{batch_size: 8}]",
        _FEW,
    ),
    "finetune": ("parameters.model.values=[resnet18, convnext_tiny]", *_FINETUNE),
    "finetune_accurate": ("parameters.model.value=resnet18", *_FINETUNE),
    "finetune_few": ("parameters.model.values=[resnet18, convnext_tiny]", *_FINETUNE),
    "finetune_quick": _FINETUNE,
    "finetune_two_phase": (
        "parameters.model={value: resnet18}",
        "parameters.unfreeze_epoch.value=1",
        *_FINETUNE,
    ),
    "hog_svm": ("search.ladder={epochs: [1], subset: 0.1}", _FEW),
    "image_quality": ("search.ladder={epochs: [1, 2], subset: [0.2, 0.4], resolution: 48}",),
    "lr_bs": ("search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 14}", _FEW),
    "mnist_cnn": ("search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 14}", _FEW),
    "mnist_rnn": ("search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 14}", _FEW),
    "person_reid": ("search.ladder={epochs: [1, 2], subset: [0.25, 0.5], resolution: 32}",),
    "person_reid_pcb": (
        "parameters.model.value=pcb/resnet10t",
        "search.ladder={epochs: [1, 2], subset: [0.25, 0.5], resolution: 64}",
    ),
    "quick": ("search.ladder={epochs: [1, 2], subset: [0.05, 0.1], resolution: 32}", _FEW),
    "resnet20_cifar": (  # digits, as CIFAR-10 may not be on the machine
        "search.data=mnist5k",
        "parameters.flip.value=false",
        "search.ladder={epochs: [1, 2], subset: [0.05, 0.1], resolution: 28}",
        _FEW,
    ),
    "siamese": ("search.ladder={epochs: [1, 2], subset: [0.1, 0.2], resolution: 14}", _FEW),
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one search.

    Attributes:
        ending: The line that says why it ended; for a failed search, the last 20 lines that it printed.
    """

    space: str
    is_good: bool
    seconds: float
    ending: str


def spaces() -> list[str]:
    """The names of all spaces."""
    return sorted(path.stem for path in (ROOT / "spaces").glob("*.yaml"))


def smallest(space: str) -> tuple[str, ...]:
    """The overrides of a space, as after `--set`."""
    return SMALLEST.get(space, (_LADDER,))


def searched(space: str, results: Path) -> Outcome:
    """Search a space and return the outcome."""
    changes = [word for change in smallest(space) for word in ("--set", change)]
    command = [sys.executable, str(ROOT / "scripts/search.py"), "--space", f"{space}.yaml"]
    flags = ["--trials", str(NUM_TRIALS), "--results", str(results), "--name", space, *changes]
    started_s = time.perf_counter()
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started_s
    printed = (done.stdout + done.stderr).splitlines()
    ended = [line for line in printed if line.startswith("ended:")]
    is_good = done.returncode == 0 and bool(ended)
    return Outcome(space, is_good, seconds, ended[-1] if is_good else "\n".join(printed[-20:]))


def main(names: Sequence[str]) -> int:
    """Search one after the other, print a line each, and return the exit status."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for space in names:
            outcome = searched(space, Path(folder))
            word = "passed" if outcome.is_good else "failed"
            print(f"{word}  {space:<20} {outcome.seconds:6.1f} s  {outcome.ending}", flush=True)
            outcomes.append(outcome)
    num_good = sum(outcome.is_good for outcome in outcomes)
    total_s = sum(outcome.seconds for outcome in outcomes)
    print(f"{num_good} of {len(outcomes)} spaces searched in {total_s:.0f} s")
    return int(num_good < len(outcomes))


if __name__ == "__main__":
    flags = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    flags.add_argument("--only", metavar="A,B", help="only these spaces")
    only = flags.parse_args().only
    sys.exit(main(only.split(",") if only else spaces()))
