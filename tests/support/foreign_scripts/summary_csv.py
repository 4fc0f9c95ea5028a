"""Trains on digits as timm's train.py does: --output, a dated folder, summary.csv, last.pth.tar."""

import argparse
import csv
import datetime
import os
import pathlib
import pickle

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier


def parse_args():
    parser = argparse.ArgumentParser(description="PyTorch ImageNet Training, on digits")
    parser.add_argument("data_dir", nargs="?", help="path to dataset")
    parser.add_argument("--num-classes", type=int, help="number of label classes")
    parser.add_argument("--pretrained", action="store_true", help="Start with pretrained version")
    parser.add_argument("--cooldown-epochs", type=int, default=0, help="epochs to cooldown LR at min_lr")
    parser.add_argument("--batch-size", type=int, default=128, help="Input batch size for training")
    parser.add_argument("--smoothing", type=float, default=0.1, help="Label smoothing")
    parser.add_argument("--model", default="linear", help="Name of model to train")
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate")
    parser.add_argument("--weight-decay", type=float, default=2e-5, help="weight decay")
    parser.add_argument("--epochs", type=int, default=9, help="number of epochs to train")
    parser.add_argument("--seed", type=int, default=42, help="random seed")
    parser.add_argument("--output", default="output/train", help="path to output folder")
    parser.add_argument("--experiment", default="", help="name of train experiment")
    parser.add_argument("--resume", default="", help="Resume full model and optimizer state from checkpoint")
    return parser.parse_args()


def update_summary(epoch, train_metrics, eval_metrics, path, write_header):
    row = {"epoch": epoch, **{f"train_{name}": value for name, value in train_metrics.items()}}
    row |= {f"eval_{name}": value for name, value in eval_metrics.items()}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if write_header:
            writer.writeheader()
        writer.writerow(row)


def validate(model, images, labels):
    right = model.predict(images) == labels
    ranked = np.argsort(-model.decision_function(images), axis=1)[:, :5]
    return {"top1": 100 * right.mean(), "top5": 100 * (ranked == labels[:, None]).any(axis=1).mean()}


def main():
    args = parse_args()
    name = args.experiment or f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{args.model}-{os.getpid()}"
    folder = pathlib.Path(args.output) / name
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, val = order[:1400], order[1400:]
    model = SGDClassifier(
        learning_rate="constant", eta0=args.lr, alpha=args.weight_decay, random_state=args.seed
    )
    start = 0
    if args.resume:
        with pathlib.Path(args.resume).open("rb") as file:
            model, start = pickle.load(file)
        print(f"Loaded checkpoint '{args.resume}' (epoch {start - 1})")
    best_metric = None
    for epoch in range(start, args.epochs + args.cooldown_epochs):
        model.partial_fit(images[train], labels[train], classes=range(10))
        train_metrics = {"loss": 1 - model.score(images[train], labels[train])}
        metrics = validate(model, images[val], labels[val])
        summary = folder / "summary.csv"
        update_summary(epoch, train_metrics, metrics, summary, write_header=best_metric is None)
        best_metric = max(best_metric or 0.0, metrics["top1"])
        with (folder / "tmp.pth.tar").open("wb") as file:
            pickle.dump((model, epoch + 1), file)
        (folder / "tmp.pth.tar").replace(folder / "last.pth.tar")
    print(f"*** Best metric: {metrics['top1']}")


if __name__ == "__main__":
    main()
