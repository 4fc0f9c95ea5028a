"""A script that knows nothing of a search: a second of imports, then epochs of about 0.3 s."""

from __future__ import annotations

import argparse
import json

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

flags = argparse.ArgumentParser()
flags.add_argument("--lr", type=float, default=0.01)
flags.add_argument("--width", type=int, default=128)
flags.add_argument("--epochs", type=int, default=4)
flags.add_argument("--seed", type=int, default=0)
args = flags.parse_args()

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
train, val = order[:1400], order[1400:]
model = MLPClassifier((args.width,), learning_rate_init=args.lr, random_state=args.seed)
for epoch in range(1, args.epochs + 1):
    for _ in range(5):
        model.partial_fit(images[train] / 16, labels[train], classes=range(10))
    accuracy = model.score(images[val] / 16, labels[val])
    print(json.dumps({"epoch": epoch, "val_accuracy": accuracy}), flush=True)
