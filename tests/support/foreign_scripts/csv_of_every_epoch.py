"""Trains on digits as Ultralytics' trainer does: key=value words, results.csv, weights/last.pt."""

import csv
import pathlib
import pickle
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

DEFAULTS = {
    "epochs": 9,
    "lr0": 0.01,
    "weight_decay": 0.0005,
    "seed": 0,
    "project": "runs",
    "name": "train",
    "resume": False,
    "model": "digits.yaml",
    "data": "digits",
    "imgsz": 640,
    "batch": 16,
    "momentum": 0.937,
    "optimizer": "auto",
    "exist_ok": False,
    "plots": True,
    "device": "",
}


def settings():
    """`key=value` words over the defaults, each with its default's type."""
    given = dict(DEFAULTS)
    for word in sys.argv[1:]:
        if word in ("detect", "classify", "segment", "train"):
            continue
        key, _, text = word.partition("=")
        if key not in DEFAULTS:
            raise SystemExit(f"'{key}' is not a valid argument")
        kind = type(DEFAULTS[key])
        given[key] = text == "True" if kind is bool else kind(text)
    return given


def save(path, state):
    with path.open("wb") as file:
        pickle.dump(state, file)


def main():
    given = settings()
    folder = pathlib.Path(given["project"]) / given["name"]
    weights, table = folder / "weights", folder / "results.csv"
    weights.mkdir(parents=True, exist_ok=True)
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, val = order[:1400], order[1400:]
    if given["resume"]:
        with pathlib.Path(given["model"]).open("rb") as file:
            state = pickle.load(file)
        model, start, best = state["model"], state["epoch"] + 1, state["best"]
        print(f"Resuming training from epoch {start} to {given['epochs']} total epochs")
    else:
        model = SGDClassifier(
            learning_rate="constant",
            eta0=given["lr0"],
            alpha=given["weight_decay"],
            random_state=given["seed"],
        )
        start, best = 0, 0.0
        table.unlink(missing_ok=True)
    for epoch in range(start, given["epochs"]):
        model.partial_fit(images[train], labels[train], classes=range(10))
        fitness = float(model.score(images[val], labels[val]))
        row = {
            "epoch": epoch + 1,
            "train/cls_loss": 1 - float(model.score(images[train], labels[train])),
            "metrics/accuracy_top1": fitness,
            "lr/pg0": given["lr0"],
        }
        is_new = not table.exists()
        with table.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow([f"{name:>23}" for name in row])
            writer.writerow([f"{value:>23.6g}" for value in row.values()])
        best = max(best, fitness)
        state = {"model": model, "epoch": epoch, "best": best}
        save(weights / "last.pt", state)
        if best == fitness:
            save(weights / "best.pt", state)
    print(f"Results saved to {folder}")


if __name__ == "__main__":
    main()
