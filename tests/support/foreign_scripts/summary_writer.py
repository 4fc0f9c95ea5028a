"""Trains on digits and writes TensorBoard events as many PyTorch scripts do; keeps no checkpoint."""

import argparse
import pathlib

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from tensorboardX import SummaryWriter


def parse_args():
    parser = argparse.ArgumentParser(description="Train a linear classifier")
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate")
    parser.add_argument("--epochs", type=int, default=9, help="number of epochs to train")
    parser.add_argument("--seed", type=int, default=42, help="random seed")
    parser.add_argument("--logdir", default="runs", help="where events are written")
    return parser.parse_args()


def main():
    args = parse_args()
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, val = order[:1400], order[1400:]
    model = SGDClassifier(learning_rate="constant", eta0=args.lr, random_state=args.seed)
    writer = SummaryWriter(str(pathlib.Path(args.logdir) / f"lr_{args.lr:g}"))
    step = 0
    for epoch in range(args.epochs):
        for batch in np.array_split(np.random.default_rng(epoch).permutation(train), 20):
            model.partial_fit(images[batch], labels[batch], classes=range(10))
            writer.add_scalar("train/loss", 1 - model.score(images[batch], labels[batch]), step)
            step += 1
        accuracy = model.score(images[val], labels[val])
        writer.add_scalar("val/acc", accuracy, step)
        writer.flush()
        print(f"Epoch {epoch + 1}/{args.epochs}: val acc {accuracy:.3f}")
    writer.close()


if __name__ == "__main__":
    main()
