"""Fine-tunes a frozen classifier of digits by a low-rank update, with the flags of PEFT's examples."""

import json
import pathlib
import shutil
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from transformers import HfArgumentParser


@dataclass
class Arguments:
    output_dir: str
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    learning_rate: float = 1e-2
    per_device_train_batch_size: int = 64
    num_train_epochs: int = 3
    seed: int = 42
    resume_from_checkpoint: str = ""


class LowRank:
    """Logits are `x @ (base + alpha / r * a @ b)`: `a` and `b` are trained, `b` from zero."""

    def __init__(self, base, args, draw):
        self.base, self.scale, self.args, self.draw = base, args.lora_alpha / args.lora_r, args, draw
        self.a = draw.normal(0, 1 / np.sqrt(base.shape[0]), (base.shape[0], args.lora_r))
        self.b = np.zeros((args.lora_r, base.shape[1]))

    def logits(self, images):
        return images @ (self.base + self.scale * self.a @ self.b)

    def step(self, images, labels):
        kept = images * (self.draw.random(images.shape) >= self.args.lora_dropout)
        logits = kept @ (self.base + self.scale * self.a @ self.b)
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        loss = -np.log(chances[np.arange(len(labels)), labels] + 1e-12).mean()
        chances[np.arange(len(labels)), labels] -= 1
        slope = kept.T @ chances / len(labels) * self.scale
        rate = self.args.learning_rate
        self.a, self.b = self.a - rate * slope @ self.b.T, self.b - rate * self.a.T @ slope
        return float(loss)


def save(root, step, model, history, draw):
    folder, staging = root / f"checkpoint-{step}", root / f"tmp-{step}"
    staging.mkdir(parents=True)
    np.savez(staging / "adapter.npz", a=model.a, b=model.b)
    state = {"global_step": step, "log_history": history, "random": draw.bit_generator.state}
    (staging / "trainer_state.json").write_text(json.dumps(state))
    staging.rename(folder)
    for old in root.glob("checkpoint-*"):
        if old != folder:
            shutil.rmtree(old)


def main():
    (args,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    order = np.random.default_rng(0).permutation(len(labels))
    few, train, val = order[:100], order[100:1400], order[1400:]
    base = RidgeClassifier(alpha=10.0).fit(images[few], labels[few]).coef_.T
    draw = np.random.default_rng(args.seed)
    model, history, start = LowRank(base, args, draw), [], 0
    if args.resume_from_checkpoint:
        folder = pathlib.Path(args.resume_from_checkpoint)
        state = json.loads((folder / "trainer_state.json").read_text())
        history, start = state["log_history"], round(state["log_history"][-1]["epoch"])
        draw.bit_generator.state = state["random"]
        saved = np.load(folder / "adapter.npz")
        model.a, model.b = saved["a"], saved["b"]
    steps = len(train) // args.per_device_train_batch_size
    for epoch in range(start + 1, args.num_train_epochs + 1):
        batches = np.array_split(draw.permutation(train), steps)
        loss = float(np.mean([model.step(images[batch], labels[batch]) for batch in batches]))
        right = (model.logits(images[val]).argmax(1) == labels[val]).mean()
        history += [{"epoch": epoch, "loss": loss, "step": epoch * steps}]
        history += [{"epoch": epoch, "eval_accuracy": float(right), "step": epoch * steps}]
        save(pathlib.Path(args.output_dir), epoch * steps, model, history, draw)


if __name__ == "__main__":
    main()
