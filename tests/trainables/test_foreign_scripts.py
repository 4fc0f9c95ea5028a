"""Unmodified scripts of five ecosystems and two loggers: searched, killed, resumed and promoted. Slow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.support.processes import ROOT, begun, typed, wait_for

SCRIPTS = ROOT / "tests/support/foreign_scripts"
NUM_TRIALS = 4
LR = "{lr: {distribution: log_uniform_values, min: 1e-6, max: 1.0}}"


@dataclass(frozen=True)
class Case:
    """A script and what a user writes to have it searched."""

    script: str
    command: str
    parameters: str
    metric: str


CASES = {
    "wandb": Case(
        script="log_to_wandb.py",
        command="""
            run: "{python} SCRIPT --epochs {epochs} --seed {seed}"
            metrics: wandb
            metric: val/accuracy
            defaults: {lr: 0.1, hidden: 32}
        """,
        parameters="{lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}, hidden: {values: [8, 32]}}",
        metric="val/accuracy",
    ),
    "lightning": Case(
        script="csv_logger.py",
        command="""
            run: >-
              {python} SCRIPT fit --seed_everything {seed} --trainer.max_epochs {epochs}
              --trainer.default_root_dir {checkpoint_dir}
            resume: lightning
            metrics: {csv: "{checkpoint_dir}/**/metrics.csv"}
            metric: val_acc
            defaults: {model.lr: 0.01}
        """,
        parameters='{"model.lr": {distribution: log_uniform_values, min: 1e-6, max: 1.0}}',
        metric="val_acc",
    ),
    "ultralytics": Case(
        script="csv_of_every_epoch.py",
        command="""
            run: "{python} SCRIPT epochs={epochs} seed={seed} project={checkpoint_dir} ${args_no_hyphens}"
            resume: ultralytics
            metrics: {csv: "{checkpoint_dir}/**/results.csv"}
            metric: metrics/accuracy_top1
            defaults: {lr0: 0.01}
        """,
        parameters="{lr0: {distribution: log_uniform_values, min: 1e-6, max: 1.0}}",
        metric="metrics/accuracy_top1",
    ),
    "timm": Case(
        script="summary_csv.py",
        command="""
            run: "{python} SCRIPT --epochs {epochs} --seed {seed} --output {checkpoint_dir}"
            resume: timm
            metrics: {csv: "{checkpoint_dir}/**/summary.csv"}
            metric: eval_top1
            defaults: {lr: 0.01}
        """,
        parameters=LR,
        metric="eval_top1",
    ),
    "huggingface": Case(
        script="trainer_state.py",
        command="""
            run: "{python} SCRIPT --num_train_epochs {epochs} --seed {seed} --output_dir {checkpoint_dir}"
            resume: huggingface
            metrics: trainer_state
            metric: eval_accuracy
            defaults: {learning_rate: 0.01}
        """,
        parameters="{learning_rate: {distribution: log_uniform_values, min: 1e-6, max: 1.0}}",
        metric="eval_accuracy",
    ),
    "TensorBoard": Case(
        script="summary_writer.py",
        command="""
            run: "{python} SCRIPT --epochs {epochs} --seed {seed} --logdir {checkpoint_dir}"
            metrics: {tensorboard: val/acc}
            metric: val/acc
            defaults: {lr: 0.01}
        """,
        parameters=LR,
        metric="val/acc",
    ),
    "lines of JSON in a file": Case(
        script="history_jsonl.py",
        command="""
            run: "{python} SCRIPT --epochs {epochs} --seed {seed} --workdir {checkpoint_dir}"
            metrics: {jsonl: "{checkpoint_dir}/history.jsonl"}
            metric: val_acc
            defaults: {lr: 0.01}
        """,
        parameters=LR,
        metric="val_acc",
    ),
}
WORDS = ("--space", "./space.yaml", "--name", "run", "--backend", "local", "--skip-preflight", "--no-report")


def write_space(folder: Path, case: Case) -> None:
    command = textwrap.indent(textwrap.dedent(case.command).strip(), "    ")
    text = f"""
parameters: {case.parameters}
search:
  trainable: command
  command:
{command.replace("SCRIPT", str(SCRIPTS / case.script))}
    mode: max
  ladder: {{epochs: [1, 3]}}
  scheduler: {{eta: 2}}
  limits: {{trials: {NUM_TRIALS}}}
  promote: {{top: 1, seeds: 1}}
"""
    (folder / "space.yaml").write_text(text)


def events(folder: Path) -> list[dict[str, object]]:
    journal = folder / "results/run/journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def kill(search: subprocess.Popen[str]) -> None:
    """As the kernel does when memory is short: the search alone; its scripts must go by themselves."""
    os.kill(search.pid, signal.SIGKILL)
    search.wait(30)


def scripts_below(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line and "foreign_scripts" in line:
            found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_script_that_knows_nothing_of_a_search_is_searched_killed_resumed_and_promoted(
    tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    write_space(tmp_path, case)
    search = begun("search", *WORDS, folder=tmp_path)
    wait_for(lambda: sum("row" in event for event in events(tmp_path)) >= 3, most_s=120)
    kill(search)
    wait_for(lambda: not scripts_below(tmp_path))
    before = sum("row" in event for event in events(tmp_path))

    done = typed("search", *WORDS, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(tmp_path / "results/run/trials.csv")
    assert table["rank"].tolist() == list(range(1, NUM_TRIALS + 1))
    assert table[case.metric].between(0, 100).all()
    assert set(table["status"]) <= {"finished", "stopped", "paused"}
    assert table["epochs"].max() == 3
    assert table["epochs"].min() < 3, "no trial was stopped early"
    rows = [event for event in events(tmp_path) if "row" in event]
    assert len(rows) > before
    for trial in table["trial_id"]:
        epochs = [event["row"]["epoch"] for event in rows if event["trial"] == trial]  # type: ignore[index]
        assert sorted(set(epochs)) == list(range(1, max(epochs) + 1))

    flags = ("--backend", "local", "--skip-preflight", "--no-report")
    promoted = typed("promote", "run", *flags, folder=tmp_path)
    assert promoted.returncode == 0, promoted.stderr[-3000:]
    assert pd.read_csv(tmp_path / "results/run/promoted.csv")["val_mean"].between(0, 100).all()
    assert scripts_below(tmp_path) == []


SWEEP = """
program: train.py
method: bayes
metric: {name: val/accuracy, goal: maximize}
early_terminate: {type: hyperband, s: 2, eta: 2, max_iter: 4}
parameters:
  lr: {distribution: log_uniform_values, min: 0.001, max: 1.0}
  hidden: {values: [8, 32]}
  epochs: {value: 4}
"""


@pytest.mark.slow
def test_a_sweep_file_and_its_script_alone_are_searched_from_another_folder(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "sweep.yaml").write_text(SWEEP)
    (project / "train.py").write_text((SCRIPTS / "log_to_wandb.py").read_text())
    flags = ("--backend", "local", "--skip-preflight", "--no-report", "--trials", 4, "--name", "run")
    done = typed("search", "--space", "../project/sweep.yaml", *flags, folder=elsewhere)
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(elsewhere / "results/run/trials.csv")
    assert sorted(table["rank"]) == [1, 2, 3, 4]
    assert table["val/accuracy"].between(0, 1).all()
    assert table["epochs"].max() == 4
    assert set(table["hidden"]) <= {8, 32}
