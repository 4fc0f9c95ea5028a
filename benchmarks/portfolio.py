"""Five small real searches on different data, and a sixth with and without their findings.

python -m benchmarks.portfolio --folder FOLDER [--seeds 5]     # a killed benchmark resumes in FOLDER

A small convolutional network is searched over five hyperparameters (rate, decay, batch, dropout, label
smoothing) on five sets of images that come with the program or its packages: digits of 8 px; windows of
photographs, labelled by photograph; faces and no faces; made-up persons, labelled by camera; and shapes. The
sixth set is a third of 5,000 MNIST digits. Each of its seeds is searched twice: without a portfolio, and with
that of the five. Seed noise is the standard deviation of five trainings of the best configuration that any
search found. The result is the number of trials started and epochs spent when a trial first came within one
such deviation of their mean at the top rung.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import jouletune
from search.ledger import Ledger
from search.trial import EpochRow
from trainables.detection.shapes import shapes
from trainables.image_quality.photographs import photographs
from trainables.person_reid.persons import persons

_SIDE_PX = 14
_TRIALS = 24
_REPEATS = 5
_METRIC = "val_accuracy"
_PARAMETERS = {
    "model": {"value": "mnist_cnn"},
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 3.0},
    "weight_decay": {"distribution": "log_uniform_values", "min": 1e-6, "max": 0.1},
    "batch_size": {"values": [16, 32, 64, 128, 256]},
    "drop_rate": {"min": 0.0, "max": 0.8},
    "label_smoothing": {"values": [0.0, 0.1, 0.2]},
}
_LADDER = {"epochs": [1, 3, 9], "resolution": _SIDE_PX}


def main() -> None:
    """Print, for both arms of the sixth search, the trials and epochs until it is as good as the best."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--folder", type=Path, required=True, help="for data and runs")
    flags.add_argument("--seeds", type=int, default=5)
    options = flags.parse_args()
    folder = options.folder.resolve()
    torch.set_num_threads(1)
    earlier = [_search(folder, name, data, seed=0) for name, data in _earlier_data(folder).items()]
    found = {
        arm: [
            _search(folder, f"mnist {arm} {seed}", "mnist5k", seed=seed, subset=0.33, portfolio=runs)
            for seed in range(options.seeds)
        ]
        for arm, runs in {"alone": [], "with portfolio": earlier}.items()
    }
    print("\n".join(_report(folder, found)))


def _search(
    folder: Path, name: str, data: str, *, seed: int, subset: float = 1.0, portfolio: Sequence[Path] = ()
) -> Path:
    """Search this data, or resume the search, and return its folder."""
    space = _space(data, subset, {"limits": {"trials": _TRIALS}, "seed": seed, "start": "default"})
    name = name.replace(" ", "-")
    return _run(space, folder, name, portfolio=list(portfolio))


def _space(data: str, subset: float, search: Mapping[str, Any]) -> dict[str, Any]:
    common = {"trainable": "classification", "data": data, "ladder": {**_LADDER, "subset": subset}}
    return {"parameters": _PARAMETERS, "search": {**common, **search}}


def _run(space: Mapping[str, Any], folder: Path, name: str, **settings: Any) -> Path:
    jouletune.search(
        space, name=name, results=folder, backend="local", is_quiet=True, should_preflight=False, **settings
    )
    return folder / name


def _earlier_data(folder: Path) -> dict[str, str]:
    """The data of the five earlier searches, by name."""
    made = {"photographs": _photographs(), "faces": _faces(), "cameras": _cameras(), "shapes": _shapes()}
    found = {"digits": "digits"}
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in made.items():
        path = folder / f"{name}.npz"
        np.savez(path, images=images, labels=labels)
        found[name] = f"npz:{path}"
    return found


Images = tuple[np.ndarray, np.ndarray]  # (n, side, side) or (n, side, side, 3), uint8; (n,) whole labels


def _photographs() -> Images:
    pixels, ratings = photographs()
    names = sorted(set(ratings.references))
    return _small(pixels), np.array([names.index(name) for name in ratings.references])


def _faces() -> Images:
    import skimage.data  # needed by this set alone

    scaled: np.ndarray = skimage.data.lfw_subset()  # type: ignore[no-untyped-call]  # has no types
    return np.rint(255 * scaled).astype(np.uint8), np.repeat([0, 1], len(scaled) // 2)


def _cameras() -> Images:
    pixels, sightings = persons()
    return _small(pixels), np.asarray(sightings.cameras)


def _shapes() -> Images:
    pixels, annotations = shapes()
    found, labels = [], []
    for image, objects in zip(pixels, annotations.objects, strict=True):
        for (left, top, right, bottom), label in zip(
            objects.boxes_px.int().tolist(), objects.labels.tolist(), strict=True
        ):
            found.append(_small(image[None, :, top:bottom, left:right])[0])
            labels.append(label)
    return np.stack(found), np.array(labels)


def _small(pixels: torch.Tensor) -> np.ndarray:
    """(n, 3, height, width) as (n, 28, 28, 3), twice the training resolution."""
    side = (2 * _SIDE_PX, 2 * _SIDE_PX)
    small = torch.nn.functional.interpolate(pixels.float(), side, mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _report(folder: Path, found: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    scores = {run: _best(run) for runs in found.values() for run in runs}
    best = max(scores, key=lambda run: scores[run][0])
    mean, deviation = _repeated(folder, scores[best][1])
    goal = mean - deviation
    yield f"best found: {scores[best][0]:.4f}; with {_REPEATS} seeds {mean:.4f} ± {deviation:.4f}"
    yield f"a search has reached it at {goal:.4f}, at the top rung"
    for arm, runs in found.items():
        reached = [_until(run, goal) for run in runs]
        last_scores = [scores[run][0] for run in runs]
        trials = [each[0] for each in reached if each]
        epochs = [each[1] for each in reached if each]
        yield (
            f"{arm:16}reached by {len(trials)} of {len(runs)}; trials asked for {_all(trials)}, "
            f"epochs spent {_all(epochs)}; final {min(last_scores):.4f} to {max(last_scores):.4f}, "
            f"median {statistics.median(last_scores):.4f}"
        )


def _all(numbers: Sequence[int]) -> str:
    return f"{sorted(numbers)} (median {statistics.median(numbers):g})" if numbers else "never"


def _best(run: Path) -> tuple[float, Mapping[str, Any]]:
    """The best score at the top rung, and its configuration."""
    trials = Ledger.open(run).read_history().trials.values()
    top = [(value, trial.hparams) for trial in trials if (value := trial.value_at(_METRIC, 2)) is not None]
    return max(top, key=lambda each: each[0])


def _until(run: Path, goal: float) -> tuple[int, int] | None:
    """Trials started and epochs spent when a trial first reached `goal` at the top rung; None if none did."""
    num_asked = num_epochs = 0
    for event in Ledger.open(run).events():
        num_asked += event["event"] == "trial_asked"
        if event["event"] == "epoch":
            num_epochs += 1
            row = EpochRow.from_dict(event["row"])
            if row.ended_rung == 2 and row.metrics[_METRIC] >= goal:
                return num_asked, num_epochs
    return None


def _repeated(folder: Path, hparams: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and standard deviation of a configuration's score over seeds."""
    point = {name: hparams[name] for name in _PARAMETERS if name != "model"}
    settings = {"trials": [point], "repeats": _REPEATS, "scheduler": {"mode": "none"}, "seed": 100}
    run = _run(_space("mnist5k", 0.33, settings), folder, "repeats")
    trials = Ledger.open(run).read_history().trials.values()
    scores = [
        trial.value_at(_METRIC, 2)
        for trial in trials
        if all(trial.hparams[name] == point[name] for name in point)
    ]
    known = [score for score in scores if score is not None]
    return statistics.fmean(known), statistics.stdev(known)


if __name__ == "__main__":
    main()
