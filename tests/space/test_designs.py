"""Space files that say themselves which points are trained."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from search.space import SpaceError, dump_space, load_space
from tests.support.space_files import load

TEXT = """
parameters:
  lr: {min: 0.01, max: 0.5}
  batch_size: {values: [32, 64]}
search: {trainable: ./model.py, data: none}
"""
ABLATIONS = "ablations={optimizer: {optimizer: [sgd, adamw]}, size: [{batch_size: 32}, {batch_size: [64]}]}"


def problems_of(folder: Path, *changes: str, text: str = TEXT) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        load(folder, text, *(f"search.{change}" for change in changes))
    return list(caught.value.problems)


WRONG = {
    "trials=[]": "search.trials: must be a list such as [{lr: 0.1}], or a .json file of one, got []",
    "trials=[1]": "search.trials: must be a list such as [{lr: 0.1}], or a .json file of one, got [1]",
    "trials=points": (
        "search.trials: must be a list such as [{lr: 0.1}], or a .json file of one, got 'points'"
    ),
    "trials=[{lr: '0.1'}]": "search.trials[0].lr: is text, '0.1'; write 0.1 without quotes",
    "trials=[{lr: 0.1}, {a.lrr: 0.1}]": (
        "search.trials[1].a.lrr: the trainable has no such hyperparameter; did you mean lr?"
    ),
    "trials=[{a.lr: 0.1, b.lr: 0.2}]": (
        "search.trials[0].b.lr: means lr, and so does a.lr; give one of them"
    ),
    "trials=[{lr: 11.0}]": "search.trials[0]: lr must be at most 10, got 11.0",
    "trials=[{optimizer: adam}]": "search.trials[0].optimizer: must be one of sgd, adamw, got 'adam'",
    "design=factorial": "search.design: must be one of one-factor, joint, grid, got 'factorial'",
    "design=joint": (
        "parameters.lr: joint needs values or whole numbers; write values: [...], or search.levels: 5"
    ),
    "levels=1": "search.levels: must be at least 2, got 1",
    "levels=3": "search.levels: is for a design; write design: one-factor, or leave it out",
    "repeats=0": "search.repeats: must be at least 1, got 0",
    "repeats=3": (
        "search.repeats: is for trials, a design or ablations; promote.seeds repeats the best of a search"
    ),
    "ablations=[lr]": "search.ablations: must look like {optimizer: {optimizer: [sgd, adamw]}}, got ['lr']",
    "ablations={lr: 0.1}": (
        "search.ablations.lr: must look like {optimizer: {optimizer: [sgd, adamw]}}, "
        "or a list of such mappings, got 0.1"
    ),
    "ablations={rate: {lr: []}}": (
        "search.ablations.rate: each hyperparameter needs a value, got {'lr': []}"
    ),
    "ablations={rate: {lrr: 0.1}}": (
        "search.ablations.rate.lrr: model has no such hyperparameter; did you mean lr?"
    ),
    "ablations={rate: {lr: [0.1, 11.0]}}": "search.ablations.rate: lr must be at most 10, got 11.0",
    "chosen_ablations=lr": "search.chosen_ablations: there are no ablations; write search.ablations",
    "chosen_ablations=5": "search.chosen_ablations: must be names such as optimizer,image_size, got 5",
}


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_list_or_design_is_named_with_what_is_allowed(tmp_path: Path, change: str) -> None:
    (problem,) = problems_of(tmp_path, change)
    assert problem.startswith(WRONG[change])


def test_an_unknown_ablation_is_named(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, ABLATIONS, "chosen_ablations=optimiser,size")
    assert problem == ("search.chosen_ablations: there is no ablation 'optimiser'; did you mean optimizer?")


def test_only_one_key_says_which_points_are_trained(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "trials=[{lr: 0.1}]", "design=joint", "levels=3")
    assert problem == "search: give one of trials, design and ablations, got trials, design"


def test_a_design_of_too_many_points_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "design=joint", "levels=6000")
    assert problem == (
        "search.design: joint has 12000 points, more than 10000; give fewer values, or use design: one-factor"
    )


def test_an_ablation_of_too_many_points_is_refused(tmp_path: Path) -> None:
    values = list(range(1, 102))
    (problem,) = problems_of(
        tmp_path, f"ablations={{all: {{batch_size: {values}, warmup_epochs: {values}}}}}"
    )
    assert problem == "search.ablations.all: has 10201 points, more than 10000; give fewer values"


def test_trials_of_a_file_are_read_with_their_dotted_keys(tmp_path: Path) -> None:
    rows = [{"training.optimizer.lr": 0.2}, {"training.optimizer.lr": 0.3, "model": "large"}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    space = load(tmp_path, "search: {trainable: ./model.py, data: none, trials: list.json}")
    assert space.trials == ({"lr": 0.2}, {"lr": 0.3, "model": "large"})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ("[{", "is not JSON: Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"),
        ('[{"lr": NaN}]', ": numbers must be finite, got NaN"),
        ('"list.json"', ": must be a list such as [{lr: 0.1}], or a .json file of one, got 'list.json'"),
    ],
)
def test_a_file_that_holds_no_trials_is_named(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "list.json"
    if content is not None:
        path.write_text(content)
    (line,) = problems_of(tmp_path, f"trials={path}")
    assert line.removeprefix(f"search.trials: {path}").strip() == problem


@pytest.mark.parametrize(
    "changes",
    [
        ["trials=[{lr: 0.1}, {model: large}]", "repeats=3"],
        ["design=one-factor", "levels=3"],
        [ABLATIONS, "chosen_ablations=[size]"],
    ],
)
def test_a_space_with_points_of_its_own_is_the_same_after_writing_and_reading(
    tmp_path: Path, changes: list[str]
) -> None:
    space = load(tmp_path, TEXT, *(f"search.{change}" for change in changes))
    dump_space(space, tmp_path / "written.yaml")
    assert load_space(str(tmp_path / "written.yaml"), spaces_dir=tmp_path) == space


def test_a_list_needs_no_parameters_and_no_limits(tmp_path: Path) -> None:
    space = load(tmp_path, "search: {trainable: ./model.py, data: none, trials: [{lr: 0.1}]}")
    assert (space.parameters, space.is_listed) == ({}, True)
    assert not [notice for notice in space.notices if "limits" in notice]


def test_a_sampler_beside_a_list_is_reported_to_be_ignored(tmp_path: Path) -> None:
    space = load(tmp_path, TEXT, "search.trials=[{lr: 0.1}]", "search.sampler=tpe")
    assert "search.sampler: ignored; trials decides which points are trained" in space.notices


def test_a_sampler_that_lacks_its_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (cmaes,) = problems_of(tmp_path, "sampler=cmaes")
    assert cmaes == "search.sampler: cmaes needs cmaes; pip install cmaes, or use tpe"
    (gp,) = problems_of(tmp_path, "sampler=gp")
    assert gp == "search.sampler: gp needs scipy, torch; pip install scipy torch, or use tpe"


def test_what_a_sampler_costs_or_leaves_to_chance_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    changes = ["search.when={lr: {batch_size: 32}}", "parameters.optimizer.values=[sgd, adamw]"]
    notes = {
        kind: [
            notice.partition(": ")[2]
            for notice in load(tmp_path, TEXT, f"search.sampler={kind}", *changes).notices
            if notice.startswith("search.sampler")
        ]
        for kind in ("tpe", "nsga2", "cmaes", "gp")
    }
    stopped = "learns nothing from trials that a rung stops; tpe does"
    assert notes == {
        "tpe": [],
        "nsga2": [f"nsga2 {stopped}", "nsga2 draws lr at random; tpe does not"],
        "cmaes": [f"cmaes {stopped}", "cmaes draws lr, batch_size, optimizer at random; tpe does not"],
        "gp": [
            "gp loads torch into the search's own process: seconds, and half a GB",
            f"gp {stopped}",
            "gp draws lr at random; tpe does not",
        ],
    }
