"""Trains on digits as a LightningCLI script does: fit, dotted flags, a CSVLogger, .ckpt files."""

import argparse
import csv
import pathlib
import pickle

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier


class CSVLogger:
    """Keeps every row, and writes the whole table when a new column comes."""

    def __init__(self, root):
        versions = sorted(root.glob("version_*"))
        self.folder = root / f"version_{len(versions)}"
        self.folder.mkdir(parents=True)
        self.rows, self.names = [], []

    def log_metrics(self, metrics, step):
        self.rows.append({**metrics, "step": step})
        names = sorted({name for row in self.rows for name in row})
        path = self.folder / "metrics.csv"
        if names != self.names:
            self.names = names
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(self.rows)
        else:
            with path.open("a", newline="") as file:
                csv.DictWriter(file, names).writerow(self.rows[-1])


class Module:
    def __init__(self, lr, alpha, seed):
        self.model = SGDClassifier(learning_rate="constant", eta0=lr, alpha=alpha, random_state=seed)

    def training_epoch(self, images, labels):
        self.model.partial_fit(images, labels, classes=range(10))
        return 1 - self.model.score(images, labels)

    def validate(self, images, labels):
        return self.model.score(images, labels)


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["fit"])
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_argument("--model.lr", type=float, default=0.01, dest="lr")
    parser.add_argument("--model.alpha", type=float, default=1e-4, dest="alpha")
    parser.add_argument("--trainer.max_epochs", type=int, default=9, dest="max_epochs")
    parser.add_argument("--trainer.default_root_dir", default=".", type=pathlib.Path, dest="root")
    parser.add_argument("--trainer.logger", choices=["CSVLogger"], dest="logger")
    parser.add_argument("--trainer.logger.save_dir", type=pathlib.Path, dest="save_dir")
    parser.add_argument("--ckpt_path", type=pathlib.Path)
    return parser.parse_args()


def main():
    args = parse_args()
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, val = order[:1400], order[1400:]
    module, start = Module(args.lr, args.alpha, args.seed_everything), 0
    if args.ckpt_path:
        module, start = pickle.loads(args.ckpt_path.read_bytes())
    logger = CSVLogger((args.save_dir or args.root) / "lightning_logs")
    for epoch in range(start, args.max_epochs):
        step = 22 * (epoch + 1) - 1
        logger.log_metrics(
            {"epoch": epoch, "train_error": module.training_epoch(images[train], labels[train])}, step
        )
        logger.log_metrics({"epoch": epoch, "val_acc": module.validate(images[val], labels[val])}, step)
        checkpoints = logger.folder / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        for old in checkpoints.glob("*.ckpt"):
            old.unlink()
        path = checkpoints / f"epoch={epoch}-step={step + 1}.ckpt"
        path.write_bytes(pickle.dumps((module, epoch + 1)))
    print(f"`Trainer.fit` stopped: `max_epochs={args.max_epochs}` reached.")


if __name__ == "__main__":
    main()
