"""Files that people bring to a search and that are no spaces, or none as they stand: each is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.cli.search import parser
from search.init_script import UnreadableScript
from search.init_script import write_space as write_space_of
from search.space import SPACES, Choice, Real, SpaceError, load_space
from tests.support.space_files import write_space
from tests.support.sweep_files import about, problems, sweep

OTHERS = {
    "nni.json": '{"lr": {"_type": "loguniform", "_value": [0.0001, 0.1]}}',
    "syne_tune.json": '{"lr": {"domain_cls": "Float", "domain_kwargs": {"lower": 0.1}}, "epochs": 10}',
    "optuna.json": '{"lr": {"name": "FloatDistribution", "attributes": {"low": 0.1, "high": 1.0}}}',
    "katib.yaml": "apiVersion: kubeflow.org/v1beta1\nkind: Experiment\nmetadata: {name: a}\nspec: {}\n",
    "determined.yaml": "name: a\nhyperparameters: {lr: {type: log, minval: -4, maxval: -1}}\nsearcher: {}\n",
    "azure.yaml": "type: sweep\nsearch_space: {lr: {type: uniform}}\nlimits: {max_total_trials: 20}\n",
    "hydra.yaml": "defaults: [{override hydra/sweeper: optuna}]\nhydra: {sweeper: {n_trials: 20}}\nlr: 0.1\n",
    "flat.yaml": "lr: {min: 0.001, max: 0.1}\nbatch_size: {values: [16, 32]}\n",
}
TOY = "search: {trainable: toy, data: none, limits: {trials: 3}}\n"


def problems_at(source: Any, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(SpaceError) as caught:
        load_space(source, overrides=overrides, spaces_dir=SPACES)
    return caught.value.problems


@pytest.mark.parametrize("name", OTHERS)
def test_another_programs_file_is_one_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(OTHERS[name])
    (problem,) = problems_at(str(tmp_path / name))
    keys = {"nni.json": "lr", "katib.yaml": "metadata, spec", "hydra.yaml": "defaults, hydra, lr"}
    assert problem.startswith(f"file: is not a space: it has {keys.get(name, '')}")
    assert problem.endswith("parameters: {lr: {min: 0.001, max: 0.1}} and so on (docs/spaces.md)")


def test_a_script_given_as_a_space_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.py").write_text("open('ran', 'w')\nimport optuna\n")
    (problem,) = problems_at("./study.py")
    assert problem.startswith("file: is a script, and is not run here; jouletune init-script study.py writes")
    assert not Path("ran").exists()


def test_a_word_without_a_slash_is_explained_by_what_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name in ("sweep.json", "study.py", "short.yml"):
        Path(name).touch()
    hints = {
        "sweep.json": "for the one in this folder write ./sweep.json",
        "study.py": "for the one in this folder write ./study.py",
        "short": "for the one in this folder write ./short.yml",
        "folder": "folder is a folder: name the file in it",
        ".": ". is a folder: name the file in it",
    }
    for word, hint in hints.items():
        assert problems_at(word) == (f"file: there is no such file; {hint}",)
    assert problems_at("./sweeep.json") == ("file: there is no such file; did you mean sweep.json?",)


def test_a_file_larger_than_any_space_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(8 * 2**20 + 1)
    (problem,) = problems_at(str(tmp_path / "large.yaml"))
    assert problem == (
        "file: is no space: it has more than 8 MiB; search.trials takes a JSON file of many points"
    )


def test_a_large_list_is_no_bomb() -> None:
    space = load_space(
        {
            "program": "python",
            "command": ["${program}"],
            "metric": {"name": "loss"},
            "parameters": {"sizes": {"value": list(range(100_000))}, "lr": {"min": 0.0, "max": 1.0}},
        }
    )
    assert len(space.fixed["sizes"]) == 100_000


@pytest.mark.parametrize("key", ["\u00a0\u00a0lr", "\u200blr", "lr\u00a0"])
def test_a_key_with_characters_that_cannot_be_seen_is_named_with_them(tmp_path: Path, key: str) -> None:
    path = write_space(tmp_path, f"parameters:\n  {key}: {{min: 0.1, max: 0.2}}\n{TOY}")
    text = f"the key {key!a} has characters that cannot be seen; type it again, after plain spaces"
    assert problems_at(str(path)) == (f"parameters: {text}",)


def test_a_key_that_only_holds_anchors_is_left_out_with_a_note(tmp_path: Path) -> None:
    text = """
x-ranges:
  usual: &usual {distribution: log_uniform_values, min: 1.0e-4}
program: fit.py
metric: {name: val_acc}
parameters:
  lr: {<<: *usual, max: 0.1}
  wd: {<<: *usual, max: 0.2}
"""
    space = sweep(tmp_path, text)
    assert about(space, "x-ranges") == ["ignored; it holds anchors"]
    assert space.parameters == {"lr": Real(1e-4, 0.1, log=True), "wd": Real(1e-4, 0.2, log=True)}
    unused = problems(tmp_path, text.replace("&usual ", "").replace("<<: *usual, ", "min: 0.0001, "))
    assert unused[0].startswith("x-ranges: there is no such key")


def test_json_may_write_a_character_in_two_halves(tmp_path: Path) -> None:
    content = {
        "program": "fit.py",
        "metric": {"name": "val_acc"},
        "parameters": {"icon": {"values": ["\N{GRINNING FACE}", "a/b"]}},
    }
    space = sweep(tmp_path, json.dumps(content, indent="\t").replace("/", "\\/"))
    assert space.parameters == {"icon": Choice(("\N{GRINNING FACE}", "a/b"))}
    (problem,) = problems(tmp_path, json.dumps(content).replace("\\ude00", ""))
    assert problem == r"parameters.icon.values[0]: has half of a character, got '\ud83d'"


def test_a_distribution_of_another_library_is_one_problem() -> None:
    class Float:
        lower, upper = 1e-4, 1e-1

    space = {"parameters": {"lr": Float()}, "search": {"trainable": "toy", "data": "none"}}
    assert problems_at(space) == (
        "parameters.lr: must be a number or text, got a Float; "
        "write a distribution, such as {distribution: log_uniform_values, min: 0.0001, max: 0.1}",
    )


@pytest.mark.parametrize(("override", "key"), [("lr=0.1", "lr"), ("lr.max=0.3", "lr")])
def test_an_override_without_its_parameters_is_answered_with_them(
    tmp_path: Path, override: str, key: str
) -> None:
    path = write_space(tmp_path, f"parameters: {{lr: {{min: 0.1, max: 0.2}}}}\n{TOY}")
    assert problems_at(str(path), override) == (f"{key}: there is no such key here; write parameters.{key}",)


LISTS = {
    '[{"lr": 1e400}]': "numbers must be finite, got 1e400",
    '[{"lr": NaN}]': "numbers must be finite, got NaN",
    f'[{{"batch_size": {"9" * 30}}}]': "numbers must be below 2**63, got one of 30 digits",
    '[{"lr": 0.1, "lr": 0.2}]': "the key 'lr' is given twice in {'lr': 0.2}",
    json.dumps([{"lr": 0.1}] * 10_001): "must be at most 10000 points, got 10001",
}


@pytest.mark.parametrize("text", LISTS, ids=lambda text: text[:16])
def test_a_list_of_trials_is_held_to_what_a_space_allows(tmp_path: Path, text: str) -> None:
    (tmp_path / "points.json").write_text(text)
    path = write_space(tmp_path, "search: {trainable: toy, data: none, trials: points.json}\n")
    assert problems_at(str(path)) == (f"search.trials: {tmp_path}/points.json: {LISTS[text]}",)


def test_a_list_of_trials_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "points.json").write_text('[{"lr": 0.1}]', encoding="utf-8-sig")
    path = write_space(tmp_path, "search: {trainable: toy, data: none, trials: points.json}\n")
    assert load_space(str(path)).trials == ({"lr": 0.1},)


def test_a_script_that_searches_by_itself_is_not_run_for_its_flags(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        "open('ran', 'w')\nimport optuna\nstudy = optuna.create_study()\nstudy.optimize(print)\n"
    )
    with pytest.raises(
        UnreadableScript, match="is not run: it searches by itself, by optimize, and parses no"
    ):
        write_space_of(script)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.py"]


@pytest.mark.parametrize("flag", ["--trials", "--hours", "--kwh", "--budget-epochs"])
def test_a_limit_from_a_variable_that_is_not_set_is_refused(
    capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--space", "lr_bs", flag, ""])
    assert capsys.readouterr().err == f"search.py: error: argument {flag}: must not be empty\n"
