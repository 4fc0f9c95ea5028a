"""Trains on digits and appends a line to history.jsonl after each epoch, as home-made loggers do."""

import argparse
import json
import pathlib
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier


class History:
    """A file of one JSON object a line, the run's configuration first."""

    def __init__(self, folder, config):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.started = folder / "history.jsonl", time.time()
        self.write({"config": config})

    def write(self, line):
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def log(self, epoch, **metrics):
        self.write({"epoch": epoch, "time": time.time() - self.started, **metrics})


def parse_args():
    parser = argparse.ArgumentParser(description="Train a linear classifier")
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate")
    parser.add_argument("--epochs", type=int, default=9, help="number of epochs to train")
    parser.add_argument("--seed", type=int, default=42, help="random seed")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("work"))
    return parser.parse_args()


def main():
    args = parse_args()
    history = History(args.workdir, {"lr": args.lr, "epochs": args.epochs})
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, val = order[:1400], order[1400:]
    model = SGDClassifier(learning_rate="constant", eta0=args.lr, random_state=args.seed)
    for epoch in range(args.epochs):
        model.partial_fit(images[train], labels[train], classes=range(10))
        history.log(
            epoch,
            train_acc=model.score(images[train], labels[train]),
            val_acc=model.score(images[val], labels[val]),
        )
        time.sleep(0.2)
    print(f"done, see {history.path}")


if __name__ == "__main__":
    main()
