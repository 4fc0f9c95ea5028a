"""Trains on digits as Hugging Face's run_image_classification.py does: checkpoint-N/trainer_state.json."""

import json
import pathlib
import pickle
import shutil
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from transformers import HfArgumentParser


@dataclass
class TrainingArguments:
    model_name_or_path: str = "google/vit-base-patch16-224-in21k"
    train_dir: str = ""
    validation_dir: str = ""
    do_train: bool = False
    do_eval: bool = False
    eval_strategy: str = "no"
    save_strategy: str = "steps"
    report_to: str = "all"
    ignore_mismatched_sizes: bool = False
    remove_unused_columns: bool = True
    warmup_ratio: float = 0.0
    output_dir: str = "out"
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    num_train_epochs: float = 9.0
    per_device_train_batch_size: int = 64
    seed: int = 42
    save_total_limit: int = 2
    resume_from_checkpoint: str = ""


class Trainer:
    def __init__(self, args):
        self.args = args
        self.history, self.step = [], 0
        self.model = SGDClassifier(
            learning_rate="constant", eta0=args.learning_rate, alpha=args.weight_decay, random_state=args.seed
        )

    def log(self, steps_in_epoch, **values):
        self.history.append({"epoch": self.step / steps_in_epoch, **values, "step": self.step})

    def save(self):
        root = pathlib.Path(self.args.output_dir)
        folder = root / f"checkpoint-{self.step}"
        staging = root / f"tmp-checkpoint-{self.step}"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        (staging / "model.bin").write_bytes(pickle.dumps(self.model))
        state = {"global_step": self.step, "epoch": self.history[-1]["epoch"], "log_history": self.history}
        (staging / "trainer_state.json").write_text(json.dumps(state, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
        saved = sorted(root.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        for old in saved[: -self.args.save_total_limit]:
            shutil.rmtree(old)

    def load(self, folder):
        self.model = pickle.loads((folder / "model.bin").read_bytes())
        state = json.loads((folder / "trainer_state.json").read_text())
        self.history, self.step = state["log_history"], state["global_step"]

    def train(self, train, val):
        args = self.args
        if args.resume_from_checkpoint:
            self.load(pathlib.Path(args.resume_from_checkpoint))
        steps_in_epoch = len(train[1]) // args.per_device_train_batch_size
        while self.step < args.num_train_epochs * steps_in_epoch:
            self.model.partial_fit(*train, classes=range(10))
            self.step += steps_in_epoch // 2
            self.log(steps_in_epoch, loss=1 - float(self.model.score(*train)))
            self.step += steps_in_epoch - steps_in_epoch // 2
            self.log(steps_in_epoch, eval_accuracy=float(self.model.score(*val)), eval_runtime=0.1)
            self.save()


def main():
    (args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, val = order[:1400], order[1400:]
    Trainer(args).train((images[train], labels[train]), (images[val], labels[val]))


if __name__ == "__main__":
    main()
