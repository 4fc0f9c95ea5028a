"""Scores that scripts leave in files or log with wandb, none of the scripts knowing of this program."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter

from tests.support.command_spaces import THREE_EPOCHS, scores, started
from trainables.command.ecosystems import MetricsSpec
from trainables.command.metric_sources import source_of
from trainables.core.contract import BadResult, Budget, ScriptFailed

CSV = {"csv": "{checkpoint_dir}/**/results.csv"}


def failure(folder: Path, script: str, **changes: Any) -> str:
    with pytest.raises(BadResult) as raised:
        scores(started(folder, script, **changes), metric=changes.get("metric", "val_acc"))
    return str(raised.value)


# Ultralytics': a row for each epoch, the names padded, epochs from 1.
PADDED_CSV = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "train" / "results.csv"
out.parent.mkdir(parents=True)
for epoch in range(1, 4):
    with out.open("a") as file:
        if epoch == 1:
            file.write("                  epoch,         train/box_loss,       metrics/mAP50(B)\\n")
        file.write(f"{epoch:>23},{1 / epoch:>23.5g},{epoch / 10:>23.5g}\\n")
"""


def test_rows_of_a_csv_are_epochs_as_they_come(tmp_path: Path) -> None:
    metric = "metrics/mAP50(B)"
    training = started(tmp_path, PADDED_CSV, metric=metric, metrics=CSV)
    assert training.run_epoch(THREE_EPOCHS) == {metric: 0.1, "train/box_loss": 1.0}
    assert training.run_epoch(THREE_EPOCHS) == {metric: 0.2, "train/box_loss": 0.5}


# timm's: counted from 0.
ZERO_BASED_CSV = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "summary.csv"
out.write_text("epoch,train_loss,eval_top1\\n")
for epoch in range(3):
    with out.open("a") as file:
        file.write(f"{epoch},{1 / (epoch + 1)},{50 + epoch}\\n")
"""


def test_a_script_that_counts_from_zero_is_seen_by_its_first_row(tmp_path: Path) -> None:
    training = started(
        tmp_path, ZERO_BASED_CSV, metric="eval_top1", metrics={"csv": "{checkpoint_dir}/*.csv"}
    )
    assert scores(training, metric="eval_top1") == [50.0, 51.0, 52.0]


# Lightning's: training and validation in rows of their own, the file written anew when a column comes.
REWRITTEN_CSV = """
import csv, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "version_0" / "metrics.csv"
out.parent.mkdir()
rows = []
def save(**row):
    rows.append(row)
    names = list(dict.fromkeys(name for each in rows for name in each))
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
for epoch in range(3):
    save(epoch=epoch, step=10 * epoch, train_loss=1 / (epoch + 1))
    save(epoch=epoch, step=10 * epoch + 9, val_acc=epoch / 10)
"""


def test_a_csv_that_is_written_anew_with_more_columns_gives_each_row_once(tmp_path: Path) -> None:
    training = started(tmp_path, REWRITTEN_CSV, metrics={"csv": "{checkpoint_dir}/**/metrics.csv"})
    assert scores(training) == [0.0, 0.1, 0.2]
    assert not training.notes().keys() & {"twice", "late"}


# Hugging Face's: the whole history in each checkpoint, epochs as fractions.
TRAINER = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
history = []
for step in range(1, 7):
    history.append({"epoch": step / 2, "loss": 1 / step, "step": step})
    if step % 2 == 0:
        history.append({"epoch": step / 2 - 0.01 * (step == 4), "eval_accuracy": step / 10, "step": step})
        folder = out / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
"""


def test_a_trainers_state_gives_the_evaluation_of_each_epoch(tmp_path: Path) -> None:
    spec = {"trainer_state": "{checkpoint_dir}/**/trainer_state.json"}
    training = started(tmp_path, TRAINER, metric="eval_accuracy", metrics=spec)
    assert scores(training, metric="eval_accuracy") == [0.2, 0.4, 0.6]


EVENTS = """
import sys
from tensorboardX import SummaryWriter
with SummaryWriter(sys.argv[sys.argv.index("--out") + 1] + "/logs") as writer:
    for epoch in range(3):
        writer.add_scalar("loss", 1 / (epoch + 1), 100 * epoch)
        writer.add_scalar("acc/val", epoch / 4, 100 * epoch)
"""


def test_values_of_a_tag_are_epochs_in_their_order(tmp_path: Path) -> None:
    spec = {"tensorboard": {"file": "{checkpoint_dir}/**/*tfevents*", "tag": "acc/val"}}
    training = started(tmp_path, EVENTS, metrics=spec)
    assert [training.run_epoch(THREE_EPOCHS)["val_acc"] for _ in range(3)] == [0.0, 0.25, 0.5]


def test_json_lines_of_a_file_may_nest(tmp_path: Path) -> None:
    script = """
        import json, pathlib, sys
        out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "log.jsonl"
        for epoch in range(1, 4):
            with out.open("a") as file:
                print(json.dumps({"epoch": epoch, "val": {"acc": epoch / 8}}), file=file)
    """
    spec = {"jsonl": {"file": "{checkpoint_dir}/log.jsonl", "metric": "val.acc"}}
    assert scores(started(tmp_path, script, metrics=spec)) == [0.125, 0.25, 0.375]


WANDB = """
import argparse, time
import wandb
flags = argparse.ArgumentParser()
flags.add_argument("--out")
flags.add_argument("--lr", type=float)
flags.add_argument("--epochs", type=int, default=3)
args = flags.parse_args()
with wandb.init(project="mine", config={"lr": 5.0, "width": 8}) as run:
    wandb.watch(None)
    wandb.define_metric("val/*", step_metric="epoch")
    assert run.config.width == 8 and "width" in wandb.config
    for epoch in range(args.epochs):
        for batch in range(3):
            wandb.log({"loss": 1 / (batch + 1)})
        wandb.log({"epoch": epoch}, commit=False)
        wandb.log({"val/acc": wandb.config["lr"] * (epoch + 1), "image": wandb.Image(None)})
"""


def test_what_a_script_logs_with_wandb_is_its_score_and_its_config_is_the_trials(tmp_path: Path) -> None:
    training = started(tmp_path, WANDB, metric="val/acc", metrics="wandb", defaults={"lr": 0.5})
    assert scores(training, metric="val/acc") == [0.5, 1.0, 1.5]


def test_a_script_that_calls_wandbs_agent_runs_its_function_once(tmp_path: Path) -> None:
    script = """
        import wandb
        def main():
            run = wandb.init()
            for epoch in range(3):
                run.log({"val_acc": run.config.lr + epoch}, step=epoch)
            run.summary["best"] = 9
            run.finish()
            assert wandb.run is None
        wandb.agent(wandb.sweep({"parameters": {}}), function=main, count=5)
    """
    assert scores(started(tmp_path, script, metrics="wandb")) == [0.1, 1.1, 2.1]


def test_the_types_of_the_trials_values_are_kept(tmp_path: Path) -> None:
    hparams = {"lr": 1e-7, "layers": 3, "name": "adam", "nesterov": True, "sizes": [8, 16]}
    script = """
        import wandb, json, pathlib
        run = wandb.init(config={"lr": 1})
        wandb.config.update({"lr": 2.0, "extra": 1}, allow_val_change=True)
        pathlib.Path("config.json").write_text(json.dumps(dict(wandb.config)))
        wandb.log({"val_acc": 1.0})
    """
    once = Budget(epochs=1)
    started(tmp_path, script, once, metrics="wandb", defaults=hparams).run_epoch(once)
    assert json.loads((tmp_path / "config.json").read_text()) == {**hparams, "extra": 1}


@pytest.mark.parametrize(
    ("script", "changes", "reason"),
    [
        (
            PADDED_CSV,
            {"metric": "metrics/mAP50", "metrics": CSV},
            "the script reported no metrics/mAP50 until epoch 3: results.csv: has the columns epoch, "
            "train/box_loss, metrics/mAP50(B); did you mean metrics/mAP50(B)?",
        ),
        (
            PADDED_CSV,
            {"metrics": {"csv": "{checkpoint_dir}/**/scores.csv"}},
            "the script ended without a val_acc: no file matches "
            "{trial}/checkpoint/**/scores.csv; there train/results.csv",
        ),
        (
            TRAINER,
            {"metrics": {"trainer_state": "{checkpoint_dir}/**/trainer_state.json"}},
            "the script reported no val_acc until epoch 3: trainer_state.json: log_history has epoch, "
            "loss, step, eval_accuracy; did you mean eval_accuracy?",
        ),
        (
            EVENTS,
            {"metrics": {"tensorboard": {"file": "{checkpoint_dir}/**/*tfevents*"}}},
            "the script ended without a val_acc: the event files have the tags loss, acc/val",
        ),
        (
            WANDB,
            {"metrics": "wandb"},
            "the script reported no val_acc until epoch 3: wandb.jsonl: wandb.log gave loss, epoch, "
            "val/acc; did you mean val/acc?",
        ),
    ],
)
def test_a_metric_that_never_comes_is_named_with_what_was_found(
    tmp_path: Path, script: str, changes: dict[str, Any], reason: str
) -> None:
    assert failure(tmp_path, script, **changes) == reason.replace("{trial}", str(tmp_path / "trial"))


def test_a_first_score_that_is_late_says_what_there_is(tmp_path: Path) -> None:
    script = """
        import time, wandb
        wandb.init()
        wandb.log({"loss": 1.0})
        time.sleep(60)
    """
    assert failure(tmp_path, script, metrics="wandb", timeout_s=2.0) == (
        "the script reported no val_acc within 2 s: wandb.jsonl: wandb.log gave loss"
    )


# Saves its last epoch, and is resumed from it: rows of before stay in the file.
RESUMED = """
import argparse, pathlib
flags = argparse.ArgumentParser()
flags.add_argument("--out", type=pathlib.Path)
flags.add_argument("--epochs", type=int)
flags.add_argument("--lr")
flags.add_argument("--resume", action="store_true")
args = flags.parse_args()
state, table = args.out / "state", args.out / "results.csv"
done = int(state.read_text()) if args.resume else 0
if not args.resume:
    table.write_text("epoch,val_acc\\n")
for epoch in range(done + 1, args.epochs + 1):
    state.write_text(str(epoch))
    with table.open("a") as file:
        file.write(f"{epoch},{epoch / 10}\\n")
"""


def test_a_script_resumed_in_a_new_process_continues_its_file(tmp_path: Path) -> None:
    first = started(tmp_path, RESUMED, metrics=CSV, resume=["--resume"])
    assert first.run_epoch(THREE_EPOCHS)["val_acc"] == 0.1
    state = first.state_dict()
    del first
    second = started(tmp_path, RESUMED, metrics=CSV, resume=["--resume"])
    second.load_state_dict(state)
    assert [second.run_epoch(THREE_EPOCHS)["val_acc"] for _ in range(2)] == [0.2, 0.3]
    assert "repeated" not in second.notes()


def test_a_script_that_starts_over_writes_the_same_rows_and_is_heard(tmp_path: Path) -> None:
    first = started(tmp_path, RESUMED, metrics=CSV)
    assert first.run_epoch(THREE_EPOCHS)["val_acc"] == 0.1
    state = first.state_dict()
    del first
    second = started(tmp_path, RESUMED, metrics=CSV)
    second.load_state_dict(state)
    assert [second.run_epoch(THREE_EPOCHS)["val_acc"] for _ in range(2)] == [0.2, 0.3]
    assert second.notes()["repeated"].startswith("epochs 1 to 1 trained again")


def test_a_row_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    source = source_of(MetricsSpec.of({"csv": "{checkpoint_dir}/a.csv"}), "acc", tmp_path, tmp_path)
    path = tmp_path / "a.csv"
    path.write_text("epoch,acc\n1,0.")
    assert source.new(is_final=False) == []
    path.write_text("epoch,acc\n1,0.5\n2,0.7")
    assert source.new(is_final=False) == [{"epoch": 1, "acc": 0.5}]
    assert source.new(is_final=True) == [{"epoch": 2, "acc": 0.7}]


def test_rows_of_several_files_come_once_each(tmp_path: Path) -> None:
    source = source_of(MetricsSpec.of({"csv": "{checkpoint_dir}/*/a.csv"}), "acc", tmp_path, tmp_path)
    for index in range(3):
        path = tmp_path / str(index) / "a.csv"
        path.parent.mkdir()
        path.write_text(f"epoch;acc\n{index + 1};{index / 2}\n")
        os.utime(path, (time.time(), time.time()))
        assert source.new(is_final=False) == [{"epoch": index + 1, "acc": index / 2}]
    assert source.new(is_final=True) == []


def test_an_event_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "whole")) as writer:
        for step in (5, 6):
            writer.add_scalar("acc", step / 8, step)
    whole = next((tmp_path / "whole").iterdir()).read_bytes()
    path = tmp_path / "run" / "events.out.tfevents.1"
    path.parent.mkdir()
    source = source_of(
        MetricsSpec.of({"tensorboard": {"file": "{checkpoint_dir}/run/*", "epoch": "step"}}),
        "acc",
        tmp_path,
        tmp_path,
    )
    found = []
    for end in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:end])
        found += source.new(is_final=False)
    path.write_bytes(whole)
    found += source.new(is_final=True)
    assert found == [{"acc": 0.625, "epoch": 5}, {"acc": 0.75, "epoch": 6}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "wand",
            "'wand' is not a source of scores; known: lines, wandb, csv, jsonl, tensorboard, trainer_state",
        ),
        (
            {"csv": {"file": "runs/results.csv"}},
            "csv.file must begin with {checkpoint_dir}, the trial's own folder",
        ),
        ({"csv": {"metrics": "a"}}, "csv takes file, epoch, metric, got 'metrics'; did you mean metric?"),
        ({"wandb": {"real": "yes"}}, "wandb.real must be true or false, got 'yes'"),
        ({"tensorboard": {"epoch": "epoch"}}, "tensorboard.epoch is step, where the script logs by epoch"),
        ({"csv": None, "wandb": None}, "write one of lines, wandb, csv"),
        (3, "write one of lines, wandb, csv"),
        ({"lines": {"file": "{checkpoint_dir}/a"}}, "lines takes nothing, got 'file'"),
        ({"jsonl": {"file": 3}}, "jsonl.file must be text, got 3"),
    ],
)
def test_a_source_that_cannot_be_understood_is_named(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        MetricsSpec.of(given)


# As much of the package as a script touches: it refuses to change a value, as the real one does.
INSTALLED_WANDB = """
class Config(dict):
    def update_locked(self, values, user):
        assert all(self[name] == value for name, value in values.items()), "an attempt to change a value"
class Run:
    def __init__(self, config):
        self.config = Config(config)
    def log(self, data, step=None, commit=None):
        print("synced", sorted(data))
__version__ = "0.31.0"
def init(project=None, config=None, **settings):
    global run, log
    run = Run(config or {})
    log = run.log
    return run
"""


def test_the_installed_wandb_is_used_beside_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "installed" / "wandb").mkdir(parents=True)
    (tmp_path / "installed" / "wandb" / "__init__.py").write_text(INSTALLED_WANDB)
    script = """
        import os
        import wandb
        assert wandb.__version__ == "0.31.0" and os.environ["WANDB_MODE"] == "offline"
        run = wandb.init(project="mine", config={"lr": 9.0, "width": 8})
        for epoch in range(3):
            wandb.log({"epoch": epoch, "val_acc": run.config["lr"] * (epoch + 1)})
    """
    env = {"PYTHONPATH": str(tmp_path / "installed")}
    training = started(tmp_path, script, metrics={"wandb": {"real": True}}, env=env, defaults={"lr": 0.5})
    assert scores(training) == [0.5, 1.0, 1.5]
    assert (tmp_path / "trial" / "stdout.txt").read_text().count("synced ['epoch', 'val_acc']") == 3


def test_a_wandb_that_is_asked_for_and_not_installed_says_so(tmp_path: Path) -> None:
    training = started(tmp_path, "import wandb", metrics={"wandb": {"real": True}})
    with pytest.raises(ScriptFailed, match="needs the package in the script's environment"):
        training.run_epoch(THREE_EPOCHS)


# As Ultralytics does: an epoch's row first, its weights after it, and slowly.
SAVES_LATE = """
import argparse, pathlib, time
flags = argparse.ArgumentParser()
flags.add_argument("--out", type=pathlib.Path)
flags.add_argument("--epochs", type=int)
flags.add_argument("--lr")
flags.add_argument("--resume", type=pathlib.Path)
args = flags.parse_args()
done = 0
if args.resume:
    text = args.resume.read_text()
    if not text.endswith("whole"):
        raise SystemExit("the checkpoint is not loadable")
    done = int(text.split()[0])
(args.out / "weights").mkdir(exist_ok=True)
for epoch in range(done + 1, args.epochs + 1):
    with (args.out / "results.csv").open("a") as file:
        file.write("epoch,val_acc\\n" * (epoch == 1) + f"{epoch},{epoch / 10}\\n")
    with (args.out / "weights" / "last.pt").open("w") as file:
        for word in (str(epoch), *["weights"] * 5, "whole"):
            file.write(word + " " * (word != "whole"))
            file.flush()
            time.sleep(0.1)
    time.sleep(0.5)
"""
LATE = {"metrics": CSV, "resume": ["--resume", "{newest:**/last.pt}"]}


def test_a_checkpoint_that_follows_its_score_is_written_to_its_end(tmp_path: Path) -> None:
    first = started(tmp_path, SAVES_LATE, **LATE)
    assert first.run_epoch(THREE_EPOCHS)["val_acc"] == 0.1
    assert (tmp_path / "trial/checkpoint/weights/last.pt").read_text().endswith("whole")
    state = first.state_dict()
    del first
    second = started(tmp_path, SAVES_LATE, **LATE)
    second.load_state_dict(state)
    assert [second.run_epoch(THREE_EPOCHS)["val_acc"] for _ in range(2)] == [0.2, 0.3]
    assert not second.notes().keys() & {"unreadable", "repeated"}


def test_a_checkpoint_that_its_script_cannot_read_is_trained_again_and_noted(tmp_path: Path) -> None:
    first = started(tmp_path, SAVES_LATE, **LATE)
    first.run_epoch(THREE_EPOCHS)
    state = first.state_dict()
    del first
    (tmp_path / "trial/checkpoint/weights/last.pt").write_text("1 wei")
    second = started(tmp_path, SAVES_LATE, **LATE)
    second.load_state_dict(state)
    assert [second.run_epoch(THREE_EPOCHS)["val_acc"] for _ in range(2)] == [0.2, 0.3]
    assert second.notes()["unreadable"].startswith(
        "not resumed, all epochs trained again: the script ended with"
    )


def test_a_script_that_fails_after_its_first_score_is_not_started_over(tmp_path: Path) -> None:
    script = SAVES_LATE.replace("for epoch in", "if done: raise SystemExit(3)\nfor epoch in", 1)
    first = started(tmp_path, script, metrics=CSV, resume=["--resume", "{checkpoint_dir}/weights/last.pt"])
    first.run_epoch(THREE_EPOCHS)
    state = first.state_dict()
    del first
    time.sleep(0.1)
    (tmp_path / "trial/checkpoint/weights/last.pt").write_text("1 whole")
    second = started(tmp_path, script, metrics=CSV, resume=["--resume", "{checkpoint_dir}/weights/last.pt"])
    second.load_state_dict(state)
    with pytest.raises(ScriptFailed, match="the script ended with status 3"):
        second.run_epoch(THREE_EPOCHS)
