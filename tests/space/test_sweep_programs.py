"""A W&B sweep file with its program alone: what is searched, and what is chosen for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.space import SPACES, dump_space, load_space
from tests.support.sweep_files import about, problems, sweep
from trainables.command.spec import CommandSpec

PROGRAM = """
program: fit.py
method: random
metric: {name: val_acc, goal: maximize}
parameters:
  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-2}
  layers: {values: [2, 4]}
  wd: {value: 0}
"""


def test_a_sweep_file_alone_is_searched_from_the_middle_of_its_ranges_and_says_so(tmp_path: Path) -> None:
    space = sweep(tmp_path, PROGRAM)
    description = space.trainable.command
    assert description
    assert description["defaults"] == {"lr": 0.001, "layers": 2, "wd": 0}
    assert description["metrics"] == {"wandb": {"lines": True}}
    assert [rung.epochs for rung in space.ladder.rungs] == [1, 3, 9, 27, 81]
    assert space.scheduler.mode == "asha_stopping"
    notices = "\n".join(space.notices)
    assert (
        "trial 0, which the others are compared with, has the middle of the range for lr, layers" in notices
    )
    assert "search.ladder: not given; trials are compared after 1, 3, 9, 27, 81 epochs" in notices
    assert "search.scheduler.mode: asha_stopping, since search.command.resume is not given" in notices


@pytest.mark.parametrize(
    ("entry", "epochs"),
    [
        ("epochs: {values: [10, 50, 20]}", [5, 16, 50]),
        ("epochs: {min: 5, max: 60}", [6, 20, 60]),
        ("epochs: {values: [9]}", [1, 3, 9]),
        ("num_epochs: {value: 30}", [3, 10, 30]),
        ("trainer.max_epochs: {distribution: q_uniform, min: 9, max: 90, q: 9}", [10, 30, 90]),
        ("n-epochs: {values: [2, 4]}", [1, 4]),
        ("epochs: {value: many}", [1, 3, 9, 27, 81]),
        ("warmup_epochs: {value: 5}", [1, 3, 9, 27, 81]),
    ],
)
def test_a_sweeps_epochs_by_any_usual_name_are_its_ladder(
    tmp_path: Path, entry: str, epochs: list[int]
) -> None:
    space = sweep(tmp_path, f"{PROGRAM}  {entry}\n")
    assert [rung.epochs for rung in space.ladder.rungs] == epochs


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("epochs: {values: [10, 50, 20]}", "--epochs=10"),
        ("seed: {values: [11, 23]}", "--seed=11"),
        ("data: {value: coco.yaml}", "--data=coco.yaml"),
        ("device: {value: cuda}", "--device=cuda"),
        ("resolution: {values: [224, 384]}", "--resolution=224"),
        ("subset: {min: 0.2, max: 0.8}", "--subset=0.5"),
    ],
)
def test_a_sweep_may_name_its_parameters_as_a_place_of_ours_and_the_script_gets_its_value(
    tmp_path: Path, entry: str, word: str
) -> None:
    space = sweep(tmp_path, f"{PROGRAM}  {entry}\n")
    dump_space(space, tmp_path / "space.yaml")
    assert load_space(str(tmp_path / "space.yaml"), spaces_dir=tmp_path) == space
    assert space.trainable.command
    spec = CommandSpec.of(space.trainable.command)
    places = {"epochs": 81, "seed": 0, "data": "none", "device": "cpu", "python": "python", "subset": 1.0}
    assert word in spec.run_line(space.default_hparams(space.trainable.load()), places)


def test_a_sweeps_seed_of_several_values_is_searched_with_a_note(tmp_path: Path) -> None:
    assert about(sweep(tmp_path, f"{PROGRAM}  seed: {{values: [1, 2]}}\n"), "parameters.seed") == [
        "searched like any other, so a lucky seed may win; with one value it is each training's own"
    ]


def test_a_place_that_the_sweeps_command_asks_for_is_no_hyperparameter(tmp_path: Path) -> None:
    command = "command: ['${interpreter}', '${program}', '--size={resolution}', '${args}']"
    found = problems(tmp_path, f"{PROGRAM}  resolution: {{values: [224, 384]}}\n{command}\n")
    assert found[0].startswith(
        "parameters.resolution: is not a hyperparameter: search.ladder.resolution sets"
    )


def test_a_sweep_without_a_metric_is_told_how_to_name_one(tmp_path: Path) -> None:
    text = "program: fit.py\nmethod: random\nparameters: {lr: {values: [1, 2]}}"
    assert problems(tmp_path, text) == (
        "metric: is missing, and trials are ranked by it; write metric: {name: val_acc, goal: maximize}",
    )


def test_a_metric_with_a_mistake_is_one_problem(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, PROGRAM.replace("maximize", "maximise"))
    assert problem.startswith("metric.goal: must be one of maximize, minimize, got 'maximise'")


@pytest.mark.parametrize(
    ("form", "words"),
    [("", ["--epochs=9", "--lr=0.001", "--seed=7"]), ("no_hyphens", ["epochs=9", "lr=0.001", "seed=7"])],
)
def test_a_sweeps_own_epochs_are_its_ladder_and_reach_the_script(
    tmp_path: Path, form: str, words: list[str]
) -> None:
    text = (
        "program: fit.py\nmetric: {name: val_acc, goal: maximize}\n"
        f"command: ['${{interpreter}}', '${{program}}', '${{args{'_' + form if form else ''}}}']\n"
        "parameters: {epochs: {value: 9}, seed: {value: 42},"
        " lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-2}}"
    )
    space = sweep(tmp_path, text)
    assert [rung.epochs for rung in space.ladder.rungs] == [1, 3, 9]
    assert list(space.parameters) == ["lr"]
    assert space.fixed == {}
    assert space.trainable.command
    spec = CommandSpec.of(space.trainable.command)
    line = spec.run_line({"lr": 0.001}, {"epochs": 9, "seed": 7, "python": "python"})
    assert sorted(line[2:]) == words
    assert json.loads(spec.json_of({"lr": 0.001}, {"epochs": 9, "seed": 7})) == {
        "epochs": 9,
        "seed": 7,
        "lr": 0.001,
    }


def test_with_that_the_program_is_what_is_searched(tmp_path: Path) -> None:
    keys = "search: {command: {defaults: {lr: 0.001, layers: 2}}, ladder: {epochs: [1, 3, 9]}}"
    space = sweep(tmp_path, PROGRAM + keys)
    description = space.trainable.command
    assert description
    assert description["run"] == ["/usr/bin/env", "{python}", "fit.py", "${args}"]
    assert (space.metric, space.mode, space.title) == ("val_acc", "max", "python fit.py")
    assert not any(note.startswith("program") for note in space.notices)


def test_a_sweep_file_in_a_folder_below_is_searched_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "train.py").write_text("")
    (tmp_path / "below" / "sweep.yaml").write_text(
        "program: train.py\nmetric: {name: val_acc}\nparameters: {lr: {min: 0.1, max: 0.2}}\n"
    )
    monkeypatch.chdir(tmp_path)
    command = load_space("./below/sweep.yaml", spaces_dir=SPACES).trainable.command
    assert command
    assert command["folder"] == str(tmp_path / "below")


def test_the_words_of_a_sweeps_command_are_kept(tmp_path: Path) -> None:
    keys = "search: {command: {defaults: {lr: 0.001, layers: 2}}, ladder: {epochs: [1]}}"
    command = (
        'command: ["${env}", python3, -m, fit, "--epochs={epochs}", "hydra={a}", 3, "${args_no_hyphens}"]\n'
    )
    description = sweep(tmp_path, PROGRAM + command + keys).trainable.command
    assert description
    assert description["run"] == [
        "/usr/bin/env",
        "python3",
        "-m",
        "fit",
        "--epochs={epochs}",
        "hydra={{a}}",
        "3",
        "${args_no_hyphens}",
    ]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ('["${env}", "${programme}"]', "command: ${programme} is not known; did you mean ${program}?"),
        ("python fit.py", "command: must be a list of words such as"),
        (
            '[python, fit.py, "--x=${args}"]',
            "command: ${args} in '--x=${args}' must be a word of its own",
        ),
        (
            '[python, fit.py, "${envvar:NO_SUCH_VARIABLE}"]',
            "search.command: the variable NO_SUCH_VARIABLE is not set",
        ),
    ],
)
def test_a_command_that_cannot_be_filled_is_named(tmp_path: Path, command: str, problem: str) -> None:
    keys = "search: {command: {defaults: {lr: 0.001, layers: 2}}, ladder: {epochs: [1]}}"
    assert problems(tmp_path, f"{PROGRAM}command: {command}\n{keys}")[0].startswith(problem)


@pytest.mark.parametrize(
    ("name", "folder"), [("ResNet/CIFAR \\\\ lr", "ResNet-CIFAR - lr"), ("../../up", "up"), ("/", "sweep")]
)
def test_a_sweeps_name_becomes_one_that_a_folder_may_have(tmp_path: Path, name: str, folder: str) -> None:
    space = sweep(tmp_path, f'{PROGRAM}name: "{name}"\n')
    assert (space.name, about(space, "name")) == (
        folder,
        [f"the run is called {folder}, a name that its folder can have"],
    )


@pytest.mark.parametrize(
    ("early", "epochs", "rungs"),
    [
        ("min_iter: 3", "epochs: {value: 27}", [3, 9, 27]),
        ("min_iter: 3", "trainer.max_epochs: {value: 30}", [3, 9, 27, 30]),
        ("min_iter: 3", "epochs: {values: [2, 4]}", [3, 4]),
        ("min_iter: 3", "epochs: {value: 2}", [2]),
        ("max_iter: 81, s: 3", "epochs: {value: 27}", [3, 9, 27]),
        ("max_iter: 27, s: 2", "epochs: {value: 50}", [3, 9, 27, 50]),
    ],
)
def test_brackets_end_at_the_sweeps_own_epochs(
    tmp_path: Path, early: str, epochs: str, rungs: list[int]
) -> None:
    text = f"""
program: fit.py
metric: {{name: val_acc}}
early_terminate: {{type: hyperband, {early}}}
parameters: {{lr: {{min: 0.1, max: 0.2}}, {epochs}}}
"""
    space = sweep(tmp_path, text)
    assert [rung.epochs for rung in space.ladder.rungs] == rungs
    assert about(space, "early_terminate") == [f"read as search.ladder.epochs: {rungs}"]


@pytest.mark.parametrize("values", ["[0, 0.1, 0.5]", "[1, 1.0e-5]", "[0, -0.5]"])
def test_whole_numbers_and_fractions_may_be_values_of_one_parameter(tmp_path: Path, values: str) -> None:
    text = f"program: fit.py\nmetric: {{name: val_acc}}\nparameters: {{dropout: {{values: {values}}}}}"
    command = sweep(tmp_path, text).trainable.command
    assert command
    assert repr(command["defaults"]) in ("{'dropout': 0.0}", "{'dropout': 1.0}")


def test_overrides_of_hydra_are_names_of_hyperparameters(tmp_path: Path) -> None:
    text = """
program: fit.py
command: ['${interpreter}', '${program}', '${args_no_hyphens}']
metric: {name: val_acc}
parameters:
  +experiment: {value: mnist}
  ++db@backup: {values: [sql, text]}
  model.layers[0].size: {min: 1, max: 9}
"""
    space = sweep(tmp_path, text, None, "parameters.model.layers[0].size.max=5")
    assert space.trainable.command
    line = CommandSpec.of(space.trainable.command).run_line(
        {"++db@backup": "sql", "model.layers[0].size": 5, "+experiment": "mnist"}, {"python": "python"}
    )
    assert sorted(line[2:]) == ["++db@backup=sql", "+experiment=mnist", "model.layers[0].size=5"]
