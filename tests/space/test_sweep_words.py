"""Each word of a W&B sweep file's `command`: what a real script receives, to the letter."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from search.space import SPACES, load_space
from search.space.errors import SpaceError
from tests.support.toy_runs import executed

# Writes down what it was started with.
SCRIPT = """
import json, os, pathlib, sys
files = [pathlib.Path(word).read_text() for word in sys.argv[1:] if word.endswith(".json")]
seen = {"words": sys.argv[1:], "files": files, "script": sys.argv[0], "python": sys.executable,
        "folder": os.getcwd(), "mine": os.environ.get("MINE")}
pathlib.Path("seen.json").write_text(json.dumps(seen))
print(json.dumps({"epoch": 1, "val_acc": 0.5}), flush=True)
"""
LOGS = """
import json, pathlib
import wandb
with wandb.init(config={"lr": 9.0, "own": 1}) as run:
    pathlib.Path("config.json").write_text(json.dumps(dict(wandb.config)))
    run.log({"epoch": 1, "val_acc": 0.5})
"""
SWEEP = """
program: train.py
method: grid
metric: {name: val_acc, goal: maximize}
COMMAND
parameters:
  amp: {value: true}
  ema: {value: false}
  layers: {value: 3}
  lr: {value: 1.0e-4}
  net: {parameters: {act: {value: relu}, widths: {value: [8, 16]}}}
  opt: {values: [adam]}
search: {ladder: {epochs: [1]}, limits: {trials: 1}, command: {defaults: {opt: adam}}}
"""
AS_JSON: dict[str, Any] = {
    "amp": True,
    "ema": False,
    "layers": 3,
    "lr": 1e-4,
    "net": {"act": "relu", "widths": [8, 16]},
    "opt": "adam",
}
ARGS = [
    "--amp=True",
    "--ema=False",
    "--layers=3",
    "--lr=0.0001",
    "--net.act=relu",
    "--net.widths=[8, 16]",
    "--opt=adam",
]


def seen(folder: Path, command: str) -> dict[str, Any]:
    """What the script was started with by a sweep file with this command, "" for none."""
    (folder / "train.py").write_text(SCRIPT)
    (folder / "sweep.yaml").write_text(SWEEP.replace("COMMAND", command and f"command: {command}"))
    space = load_space(str(folder / "sweep.yaml"), spaces_dir=SPACES)
    executed(space, folder)
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return found


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ARGS),
        ('["${env}", "${interpreter}", "${program}", "${args}"]', ARGS),
        ('["${interpreter}", "${program}", "${args_no_hyphens}"]', [word[2:] for word in ARGS]),
        (
            '["${interpreter}", "${program}", "${args_no_boolean_flags}"]',
            ["--amp", *ARGS[2:]],
        ),
        ('["${interpreter}", "${program}", "--n", "{epochs}", "${args}"]', ["--n", "1", *ARGS]),
        ('["${interpreter}", "${program}", "-d", "${envvar:MINE}/x", "${args}"]', ["-d", "/data/x", *ARGS]),
        ('["${interpreter}", "${program}", "-d", "${envvar:MINE}/x"]', ["-d", "/data/x"]),
    ],
)
def test_the_script_receives_exactly_these_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    monkeypatch.setenv("MINE", "/data")
    assert seen(tmp_path, command)["words"] == words


def test_the_interpreter_is_the_searchs_python_and_env_passes_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "/data")
    found = seen(tmp_path, "")
    assert Path(found["python"]).samefile(sys.executable)
    assert (found["script"], found["folder"], found["mine"]) == ("train.py", str(tmp_path), "/data")


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="the variable NOT_SET_ANYWHERE is not set"):
        seen(tmp_path, '["${interpreter}", "${program}", "${envvar:NOT_SET_ANYWHERE}", "${args}"]')


def test_all_hyperparameters_are_one_word_of_json(tmp_path: Path) -> None:
    (word,) = seen(tmp_path, '["${interpreter}", "${program}", "${args_json}"]')["words"]
    assert json.loads(word) == AS_JSON


def test_all_hyperparameters_are_a_file_of_json(tmp_path: Path) -> None:
    found = seen(tmp_path, '["${interpreter}", "${program}", "${args_json_file}"]')
    assert Path(found["words"][0]).is_absolute()
    assert [json.loads(text) for text in found["files"]] == [AS_JSON]


def test_wandbs_config_has_the_trials_values_with_their_types(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(LOGS)
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("COMMAND", ""))
    executed(load_space(str(tmp_path / "sweep.yaml"), spaces_dir=SPACES), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {**AS_JSON, "own": 1}
    assert {name: type(value).__name__ for name, value in config.items()} == {
        "amp": "bool",
        "ema": "bool",
        "layers": "int",
        "lr": "float",
        "net": "dict",
        "opt": "str",
        "own": "int",
    }
