"""Scripts that share nothing with this program but a line of JSON per epoch, and spaces for them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from trainables.core.contract import Budget, Training, TrainingContext
from trainables.core.load import TrainableRef

THREE_EPOCHS = Budget(epochs=3)

# Uses argparse, a checkpoint of one file, and a curve that depends on every argument. Standard library only.
SCRIPT = """
import argparse, json, os, pathlib, random, sys

flags = argparse.ArgumentParser()
flags.add_argument("--lr", type=float, default=0.1)
flags.add_argument("--epochs", type=int, default=3)
flags.add_argument("--until", type=int)
flags.add_argument("--subset", type=float, default=1.0)
flags.add_argument("--seed", type=int, default=0)
flags.add_argument("--out", type=pathlib.Path)
flags.add_argument("--resume", type=pathlib.Path)
flags.add_argument("--test", action="store_true")
args = flags.parse_args()

def save(epoch):
    (args.out / "new").write_text(json.dumps({"epoch": epoch}))
    os.replace(args.out / "new", args.out / "state.json")

def score(split, epoch):
    noise = random.Random(f"{args.seed} {split} {epoch}").random() / 100
    return min(args.lr, 1) * (1 - 0.5 ** epoch) * 0.9 + noise

done = json.loads((args.resume / "state.json").read_text())["epoch"] if args.resume else 0
if args.test:
    print(json.dumps({"test_acc": score("test", args.epochs), "test_loss": 0.5}))
    sys.exit()
print("a script that talks")
for epoch in range(done + 1, (args.until or args.epochs) + 1):
    if args.out:
        save(epoch)
    print(json.dumps({"epoch": epoch, "val_acc": score("val", epoch), "num_examples": 100 * args.subset}))
"""

_RUN = "{python} script.py --epochs {epochs} --subset {subset} --seed {seed} --out {checkpoint_dir}"
DESCRIPTION: dict[str, Any] = {
    "run": _RUN.split(),
    "resume": ["--resume", "{checkpoint_dir}"],
    "test": ["{python}", "script.py", "--test", "--epochs", "{epochs}", "--seed", "{seed}", "--lr", "{lr}"],
    "metric": "val_acc",
    "mode": "max",
    "defaults": {"lr": 0.5},
    "graceful_s": 5.0,
}


def made_command(folder: Path, script: str = SCRIPT, **changes: Any) -> TrainableRef:
    """The trainable made of `script` in `folder`."""
    (folder / "script.py").write_text(textwrap.dedent(script))
    return TrainableRef.of_command({**DESCRIPTION, "folder": str(folder), **changes})


def started(folder: Path, script: str, budget: Budget = THREE_EPOCHS, **changes: Any) -> Training:
    """A training by `script`, which gets a folder of its own as `--out`."""
    run = ["{python}", "script.py", "--out", "{checkpoint_dir}", "--epochs", "{epochs}"]
    changes = {"run": run, "resume": [], "test": [], "defaults": {"lr": 0.1}, "first_epoch": None} | changes
    trainable = made_command(folder, script, **changes).load()
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder, folder=folder / "trial")
    return trainable.start(trainable.hparams(), budget, context)


def scores(training: Training, budget: Budget = THREE_EPOCHS, metric: str = "val_acc") -> list[float]:
    return [training.run_epoch(budget).get(metric, -1.0) for _ in range(budget.epochs)]
