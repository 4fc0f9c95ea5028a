"""Trains a small network on digits and logs to Weights & Biases, as W&B's own examples do."""

import argparse
import random

import numpy as np
import wandb
from sklearn.datasets import load_digits

CLASSES = 10


def parse_args():
    parser = argparse.ArgumentParser(description="digits with W&B")
    parser.add_argument("--project", default="digits")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load(seed):
    images, labels = load_digits(return_X_y=True)
    images = images / 16.0
    order = np.random.default_rng(seed).permutation(len(labels))
    train, val = order[:1400], order[1400:]
    return (images[train], labels[train]), (images[val], labels[val])


class Network:
    def __init__(self, num_inputs, hidden, rng):
        self.first = rng.normal(0, num_inputs**-0.5, (num_inputs, hidden))
        self.second = rng.normal(0, hidden**-0.5, (hidden, CLASSES))

    def forward(self, images):
        hidden = np.maximum(images @ self.first, 0)
        scores = hidden @ self.second
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, scores / scores.sum(axis=1, keepdims=True)

    def step(self, images, labels, lr):
        hidden, chances = self.forward(images)
        error = (chances - np.eye(CLASSES)[labels]) / len(labels)
        back = (error @ self.second.T) * (hidden > 0)
        self.second -= lr * hidden.T @ error
        self.first -= lr * images.T @ back
        return -np.log(chances[np.arange(len(labels)), labels] + 1e-9).mean()


def main():
    args = parse_args()
    random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    run = wandb.init(project=args.project, config=vars(args))
    config = wandb.config
    (images, labels), (val_images, val_labels) = load(0)
    network = Network(images.shape[1], config.hidden, rng)
    wandb.define_metric("val/*", step_metric="epoch")
    for epoch in range(config.epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(order), config.batch_size):
            batch = order[start : start + config.batch_size]
            loss = network.step(images[batch], labels[batch], config.lr)
            if start % (10 * config.batch_size) == 0:
                wandb.log({"train/loss": loss})
        accuracy = (network.forward(val_images)[1].argmax(axis=1) == val_labels).mean()
        wandb.log(
            {"epoch": epoch, "val/accuracy": accuracy, "examples": [wandb.Image(val_images[0].reshape(8, 8))]}
        )
        print(f"epoch {epoch}: accuracy {accuracy:.3f}")
    run.summary["final"] = accuracy
    wandb.finish()


if __name__ == "__main__":
    main()
