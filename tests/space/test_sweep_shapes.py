"""Twelve shapes of real sweep files, searched to their end: what the script saw on its command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from search.sampling.warm_start import make_sampler
from search.space import SPACES, load_space
from tests.support.toy_runs import executed

# Knows of no search: it writes its arguments down, trains as long as it is let, and prints a line an epoch.
SCRIPT = """
import json, pathlib, sys, uuid
words = sys.argv[1:]
files = [pathlib.Path(word).read_text() for word in words if word.endswith(".json")]
pathlib.Path(f"seen-{uuid.uuid4()}.json").write_text(json.dumps([words, files]))
for epoch in (1, 2):
    print(json.dumps({"epoch": epoch, "val_acc": 0.5 + len(str(words)) / 1000, "loss": 1.0}), flush=True)
"""
ENDS = "limits: {trials: 3}, scheduler: {mode: asha_stopping}}"
SMALL = f"ladder: {{epochs: [1, 2]}}, {ENDS}"
RUN = "{python} train.py --epochs {epochs}"

# Of each: the file, and what each line of the script must look like as a whole.
SHAPES: dict[str, tuple[str, str]] = {
    "flat, with the usual command": (
        f"""
program: train.py
method: bayes
project: first-sweep
metric: {{goal: maximize, name: val_acc}}
parameters:
  lr: {{distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-1}}
  batch_size: {{values: [16, 32]}}
  optimizer: {{value: adam}}
search: {{command: {{defaults: {{lr: 0.01, batch_size: 16}}}}, {SMALL}
""",
        r"--batch_size=(16|32) --lr=0\.\d+ --optimizer=adam",
    ),
    "nested": (
        f"""
program: train.py
method: random
metric: {{name: val_acc, goal: maximize}}
parameters:
  optimizer:
    parameters:
      name: {{values: [adam, sgd]}}
      betas: {{parameters: {{first: {{min: 0.8, max: 0.9}}}}}}
search: {{command: {{defaults: {{optimizer.name: adam, optimizer.betas.first: 0.9}}}}, {SMALL}
""",
        r"--optimizer\.betas\.first=0\.\d+ --optimizer\.name=(adam|sgd)",
    ),
    "dots and dashes, with places of ours": (
        f"""
method: random
metric: {{name: val_acc, goal: maximize}}
parameters:
  train.lr: {{min: 0.001, max: 0.1}}
  weight-decay: {{values: [0.0, 0.5]}}
search: {{command: {{run: "{RUN}", defaults: {{train.lr: 0.01, weight-decay: 0.5}}}}, trainable: command,
  {SMALL}
""",
        r"--epochs 2 --train\.lr 0\.\d+ --weight-decay 0\.[05]",
    ),
    "lists, null and mappings": (
        f"""
program: train.py
method: random
metric: {{name: val_acc, goal: maximize}}
parameters:
  sizes: {{values: [[64, 32], [8]]}}
  pool: {{values: [null, max]}}
  extra: {{value: {{a: [1, true]}}}}
search: {{command: {{defaults: {{sizes: [8], pool: null}}}}, {SMALL}
""",
        r"--extra=\{'a': \[1, True\]\} --pool=(None|max) --sizes=\[(64, 32|8)\]",
    ),
    "yes and no": (
        f"""
program: train.py
method: grid
metric: {{name: val_acc, goal: maximize}}
parameters: {{pretrained: {{value: no}}, augment: {{values: [on, off]}}}}
search: {{command: {{defaults: {{augment: on}}}}, {SMALL}
""",
        r"--augment=(True|False) --pretrained=False",
    ),
    "boolean flags": (
        f"""
program: train.py
method: grid
command: ["${{env}}", "${{interpreter}}", "${{program}}", "${{args_no_boolean_flags}}"]
metric: {{name: val_acc, goal: maximize}}
parameters:
  amp: {{values: [true, false]}}
  ema: {{value: false}}
  tta: {{value: true}}
  lr: {{value: 1e-4}}
search: {{command: {{defaults: {{amp: true}}}}, {SMALL}
""",
        r"(--amp )?--lr=0\.0001 --tta",
    ),
    "hydra": (
        f"""
program: train.py
method: random
command: ["${{env}}", "${{interpreter}}", "${{program}}", "hydra.run={{x}}", "${{args_no_hyphens}}"]
metric: {{name: val_acc, goal: maximize}}
parameters: {{model.depth: {{min: 1, max: 9}}}}
search: {{command: {{defaults: {{model.depth: 3}}}}, {SMALL}
""",
        r"hydra\.run=\{x\} model\.depth=\d",
    ),
    "JSON": (
        f"""
program: train.py
method: random
command: ["${{interpreter}}", "${{program}}", "--config", "${{args_json}}"]
metric: {{name: val_acc, goal: maximize}}
parameters:
  net: {{parameters: {{width: {{min: 1, max: 9}}, bias: {{value: true}}}}}}
  drop: {{value: null}}
search: {{command: {{defaults: {{net: {{width: 3}}}}}}, {SMALL}
""",
        r'--config \{"drop": null, "net": \{"bias": true, "width": \d\}\}',
    ),
    "a file of JSON": (
        f"""
program: train.py
method: random
command: ["${{interpreter}}", "${{program}}", "${{args_json_file}}"]
metric: {{name: val_acc, goal: maximize}}
parameters: {{net: {{parameters: {{width: {{min: 1, max: 9}}}}}}}}
search: {{command: {{defaults: {{net.width: 3}}}}, {SMALL}
""",
        r'\S+/trials/trial-\d+/arguments\.json \| \{"net": \{"width": \d\}\}',
    ),
    "hyperband, exponents and rounding": (
        """
program: train.py
method: bayes
name: with brackets
metric: {name: val_acc, goal: maximize, impute: worst}
early_terminate: {type: hyperband, max_iter: 2, s: 1, eta: 2, strict: true}
run_cap: 3
parameters:
  lr: {distribution: log_uniform, min: -9.2, max: -2.3}
  hidden: {distribution: q_log_uniform_values, min: 16, max: 256, q: 16}
search: {command: {defaults: {lr: 0.01, hidden: 64}}, scheduler: {mode: asha_stopping}}
""",
        r"--hidden=\d+ --lr=0\.\d+",
    ),
    "variables and epochs by a flag": (
        f"""
program: train.py
method: random
command: ["${{env}}", "A=1", "${{interpreter}}", "${{program}}", "--data=${{envvar:SWEEP_DATA}}/x", "--epochs={{epochs}}", "${{args}}"]
metric: {{name: val_acc, goal: maximize}}
parameters: {{lr: {{mu: 0.0, sigma: 1.0, distribution: normal}}}}
search: {{command: {{defaults: {{lr: 0.5}}}}, {SMALL}
""",  # noqa: E501
        r"--data=/data/x --epochs=2 --lr=-?\d\S*",
    ),
    "minimize, probabilities and repeated values": (
        f"""
program: train.py
method: random
metric: {{name: loss}}
parameters:
  depth: {{values: [1, 2, 3], probabilities: [0.5, 0.25, 0.25]}}
  wd: {{values: [0.05, 0.00005, 0.00005]}}
search: {{command: {{defaults: {{depth: 1, wd: 0.05}}}}, {SMALL}
""",
        r"--depth=[123] --wd=(0\.05|5e-05)",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sweep_file_of_this_shape_is_searched_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.setenv("SWEEP_DATA", "/data")
    text, line = SHAPES[shape]
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "sweep.yaml").write_text(text)
    space = load_space(str(tmp_path / "sweep.yaml"), spaces_dir=SPACES)
    run, reason = executed(space, tmp_path, make_sampler(space))
    num_trials = len(run.history.trials)
    assert reason in ("all 3 trials done", "the whole list was tried, after 2 trials")
    assert {trial.status for trial in run.history.trials.values()} <= {"finished", "stopped"}
    seen = [seen_by(path) for path in tmp_path.glob("seen-*.json")]
    assert len(seen) == num_trials >= 2
    assert [words for words in seen if not re.fullmatch(line, words)] == []


def seen_by(path: Path) -> str:
    words, files = json.loads(path.read_text())
    return " ".join(words) + "".join(f" | {content}" for content in files)


def test_what_a_trial_was_given_is_what_its_script_saw(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "sweep.yaml").write_text(SHAPES["JSON"][0])
    run, _ = executed(load_space(str(tmp_path / "sweep.yaml"), spaces_dir=SPACES), tmp_path)
    given: list[Any] = sorted(trial.hparams["net.width"] for trial in run.history.trials.values())
    seen = [json.loads(path.read_text())[0][1] for path in tmp_path.glob("seen-*.json")]
    assert sorted(json.loads(config)["net"]["width"] for config in seen) == given
