"""W&B's sweep files as they are: groups, names, values and keys, each read as W&B reads it, or named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from search.space import Choice, Real, SpaceError, dump_space, load_space
from search.space.parameters import Fixed
from search.space.space import yaml_text
from search.space.yaml_parser import plain_scalar
from tests.support.space_files import load
from tests.support.sweep_files import about, problems, sweep


@pytest.mark.parametrize(
    ("word", "value", "note"),
    [
        ("no", False, "no is false, as W&B reads it; quote it for the text"),
        ("Yes", True, "Yes is true, as W&B reads it; quote it for the text"),
        ("OFF", False, "OFF is false, as W&B reads it; quote it for the text"),
        ("on", True, "on is true, as W&B reads it; quote it for the text"),
        ("010", 8, "010 is 8, as W&B reads it; quote it for the text"),
        ("1_000", 1000, "1_000 is 1000, as W&B reads it; quote it for the text"),
        ("0b101", 5, "0b101 is 5, as W&B reads it; quote it for the text"),
        ("12:30", 750, "12:30 is 750, as W&B reads it; quote it for the text"),
        ("1:30.5", 90.5, "1:30.5 is 90.5, as W&B reads it; quote it for the text"),
        ("08", "08", "08 is text, as W&B reads it"),
        ("2024-01-01", "2024-01-01", "2024-01-01 is text here; quote it"),
        ("1e-4", 1e-4, "1e-4 is a number here, and text to W&B; write 0.0001 for both"),
        ("1e-7", 1e-7, "1e-7 is a number here, and text to W&B; write 1.0e-07 for both"),
    ],
)
def test_a_word_that_yamls_versions_read_differently_is_read_as_wandb_does_and_noted(
    tmp_path: Path, word: str, value: Any, note: str
) -> None:
    space = sweep(
        tmp_path, f"program: fit.py\nparameters: {{x: {{value: {word}}}, y: {{min: 0, max: 1}}}}", "{y: 0}"
    )
    assert repr(space.fixed["x"]) == repr(value)
    assert about(space, "parameters.x.value") == [note]


@pytest.mark.parametrize(
    "word", ["'no'", '"on"', "y", "None", "1.0e-4", "0x1f", "12:3x", "true", "-5", "1.5"]
)
def test_a_word_that_all_read_alike_is_not_noted(tmp_path: Path, word: str) -> None:
    space = sweep(
        tmp_path, f"program: fit.py\nparameters: {{x: {{value: {word}}}, y: {{min: 0, max: 1}}}}", "{y: 0}"
    )
    assert (space.fixed["x"], about(space, "parameters.x.value")) == (yaml.safe_load(word), [])


def test_exponents_among_bounds_and_in_spaces_of_ours_need_no_note(tmp_path: Path) -> None:
    ours = "parameters: {lr: {values: [1e-4, 1e-3]}, wd: {min: 1e-5, max: 1e-2}}"
    assert not any("1e-" in note for note in sweep(tmp_path, ours, "{lr: 1e-4, wd: 1e-3}").notices)


def test_a_key_keeps_its_word_and_so_does_a_command(tmp_path: Path) -> None:
    text = "parameters: {on: {min: 0, max: 1}, no: {value: 1}}"
    space = sweep(tmp_path, text, "{on: 0}", "search.command.run=[python, fit.py, --aug, no, 010]")
    assert (list(space.parameters), list(space.fixed)) == (["on"], ["no"])
    description = space.trainable.command
    assert description
    assert description["run"][-2:] == ["no", "010"]


@given(text=st.text(alphabet="0123456789_.:-+eExXbonyYNOfFs ", min_size=1, max_size=9))
@example(text="-.0_")
@example(text="+.5_0")
def test_a_word_is_what_pyyaml_reads_but_for_exponents_and_dates(text: str) -> None:
    read = plain_scalar(text)
    if read is None or read.kind in ("exponent", "date"):
        return
    if text[:2] in ("-.", "+."):  # PyYAML forgets the sign of .5 and sees text in -.5: here it is a number
        assert read.value == yaml.safe_load(text[1:]) * (-1 if text[0] == "-" else 1)
        return
    try:
        known = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, AttributeError):
        return
    assert repr(read.value) == repr(known)


_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
_CONTENT = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(content=st.dictionaries(st.text(alphabet="abno_.-"), _CONTENT, max_size=4))
def test_what_is_written_reads_the_same_with_pyyaml(content: dict[str, Any]) -> None:
    assert repr(yaml.safe_load(yaml_text(content))) == repr(content)


LOOKING_LIKE = [
    *("no", "yes", "on", "OFF", "y", "n", "010", "1_000", "12:30", "1e-4", "1e5", "2024-01-01", "=", "~"),
    *("null", "0o7", ".5", "08", "<<", "0x1f", "true", "", ":0", ":a b", "a: b"),
]


@pytest.mark.parametrize("word", LOOKING_LIKE)
def test_texts_that_look_like_something_else_are_quoted(word: str) -> None:
    for content in ({"x": [word]}, {"x": {"y": word}}, {"x": {word: 1}}):
        assert yaml.safe_load(yaml_text(content)) == content


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_so_that_pyyaml_reads_the_same_number(number: float) -> None:
    assert repr(yaml.safe_load(yaml_text({"x": number}))["x"]) == repr(number)


NESTED = """
program: fit.py
parameters:
  batch_size: {values: [16, 32]}
  optimizer:
    parameters:
      lr: {distribution: log_uniform_values, min: 0.0001, max: 0.1}
      sched: {parameters: {name: {values: [cos, step]}, warmup: {value: 5}}}
"""


def test_groups_are_dotted_names_of_a_command_and_survive_being_written(tmp_path: Path) -> None:
    defaults = "{batch_size: 16, optimizer: {lr: 0.01, sched: {name: cos}}}"
    space = sweep(tmp_path, NESTED, defaults)
    assert list(space.parameters) == ["batch_size", "optimizer.lr", "optimizer.sched.name"]
    assert space.fixed == {"optimizer.sched.warmup": 5}
    assert space == sweep(tmp_path, NESTED, "{batch_size: 16, optimizer.lr: 0.01, optimizer.sched.name: cos}")
    dump_space(space, tmp_path / "space.yaml")
    assert load_space(str(tmp_path / "space.yaml"), spaces_dir=tmp_path) == space
    assert space.default_hparams(space.trainable.load())["optimizer.sched.name"] == "cos"


@pytest.mark.parametrize("name", ["train.lr", "learning-rate", "learning rate", "class", "größe", "data/lr"])
def test_a_script_may_call_its_hyperparameters_as_it_likes(tmp_path: Path, name: str) -> None:
    space = sweep(tmp_path, f'parameters: {{"{name}": {{min: 0.0, max: 1.0}}}}', f'{{"{name}": 0.5}}')
    assert space.default_hparams(space.trainable.load()) == {name: 0.5}


@pytest.mark.parametrize("name", ["--lr", "a=b", "{lr}", "1st"])
def test_a_name_that_is_no_flag_is_refused(tmp_path: Path, name: str) -> None:
    found = problems(tmp_path, f'parameters: {{"{name}": {{min: 0.0, max: 1.0}}}}', f'{{"{name}": 0.5}}')
    assert (
        f"parameters.{name}: must begin with a letter, or Hydra's + or ~ and one, and contain only letters, "
        "digits, spaces and . _ - / @ : [ ]" in found
    )


OURS = "search: {trainable: ./model.py, data: mnist5k, ladder: {epochs: [1]}, limits: {trials: 3}}"


def test_a_trainable_takes_groups_dots_and_dashes_where_they_mean_one_of_its_names(tmp_path: Path) -> None:
    text = f"""
parameters:
  optim: {{parameters: {{lr: {{min: 0.01, max: 0.5}}, name: {{value: 1}}}}}}
  model.weight-decay: {{min: 0.0, max: 0.1}}
  batch size: {{values: [32, 64]}}
{OURS}
"""
    with pytest.raises(SpaceError) as caught:
        load(tmp_path, text)
    assert caught.value.problems == (
        "parameters.optim.name: model has no such hyperparameter; did you mean optimizer?",
    )
    space = load(
        tmp_path,
        text.replace(", name: {value: 1}", ""),
        "search.initial_points=[{lr: 0.1}]".replace("lr", "optim.lr"),
    )
    assert list(space.parameters) == ["lr", "weight_decay", "batch_size"]
    assert space.initial_points == ({"lr": 0.1},)
    assert about(space, "parameters") == [
        "optim.lr is lr, model.weight-decay is weight_decay, batch size is batch_size of the trainable"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("lr: {min: 0.1, max: 1.0}", "a: {parameters: {lr: {min: 0.1, max: 1.0}}}"),
        ("a.lr: {value: 0.1}", "b.lr: {value: 0.1}"),
    ],
)
def test_two_names_of_one_hyperparameter_are_both_named(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(SpaceError) as caught:
        load(tmp_path, f"parameters:\n  {first}\n  {second}\n  momentum: {{min: 0.5, max: 0.9}}\n{OURS}")
    names = [
        f"parameters.{name}" for name in (("lr", "a.lr") if first.startswith("lr") else ("a.lr", "b.lr"))
    ]
    assert (
        caught.value.problems[0] == f"{names[1]}: means lr of model, and so does {names[0]}; give one of them"
    )


def test_one_name_in_a_group_and_with_a_dot_is_given_twice(tmp_path: Path) -> None:
    text = "parameters: {a.b: {value: 1}, a: {parameters: {b: {min: 0, max: 1}}}}"
    assert problems(tmp_path, text, "{}")[0] == (
        "parameters.a.b: is given twice, as a.b and in the group a; give one of them"
    )


@pytest.mark.parametrize(
    ("values", "default"),
    [
        ("[[8, 16], [32]]", "[8, 16]"),
        ("[null, 8]", "null"),
        ("[{a: 1}, {a: 2}]", "{a: 1}"),
        ("[auto, 3, 0.5]", "auto"),
    ],
)
def test_a_script_takes_lists_mappings_null_and_values_of_several_kinds(
    tmp_path: Path, values: str, default: str
) -> None:
    space = sweep(tmp_path, f"parameters: {{x: {{values: {values}}}}}", f"{{x: {default}}}")
    assert space.parameters == {"x": Choice(tuple(yaml.safe_load(values)))}
    assert not any("default configuration" in note for note in space.notices)


def test_a_value_given_twice_is_drawn_twice_as_often_and_a_grid_tries_it_once(tmp_path: Path) -> None:
    text = "parameters: {wd: {values: [0.05, 0.00005, 0.00005]}, on: {values: [true, true]}}"
    space = sweep(tmp_path, text, "{wd: 0.05, on: true}")
    assert space.parameters == {
        "wd": Choice((0.05, 5e-5), (pytest.approx(1 / 3), pytest.approx(2 / 3))),
        "on": Choice((True,)),
    }
    assert about(space, "parameters.wd") == [
        "5e-05 given more than once, and drawn that much more often, as W&B does"
    ]
    grid = sweep(tmp_path, f"method: grid\n{text}", "{wd: 0.05, on: true}")
    assert grid.parameters["wd"] == Choice((0.05, 5e-5))


def test_exponents_that_look_like_values_are_taken_and_noted(tmp_path: Path) -> None:
    bounds = {
        "log_uniform": "min: 1e-4, max: 0.1",
        "q_log_uniform": "min: 16, max: 32, q: 1",
        "inv_log_uniform": "min: 0.001, max: 0.1",
    }
    texts = {
        "log_uniform": "1 to 1.105; for values from 0.0001 to 0.1",
        "q_log_uniform": "8.886e+06 to 7.896e+13; for values from 16 to 32",
        "inv_log_uniform": "0.9048 to 0.999; for values from 0.001 to 0.1",
    }
    for name, given_bounds in bounds.items():
        space = sweep(tmp_path, f"parameters: {{x: {{distribution: {name}, {given_bounds}}}}}", "{x: 1}")
        note = f"{name} takes exponents of e, so this is {texts[name]} write {name}_values"
        assert about(space, "parameters.x")[0] == note
    for usual in (
        "log_uniform, min: -9.2, max: -2.3",
        "q_log_uniform, min: 0.69, max: 7.6",
        "inv_log_uniform, min: 2.3, max: 9.2",
    ):
        space = sweep(tmp_path, f"parameters: {{x: {{distribution: {usual}}}}}", "{x: 1}")
        assert not any("exponents" in note for note in space.notices)


def test_keys_of_wandbs_own_are_noted(tmp_path: Path) -> None:
    text = """
apiVersion: v1
kind: sweep
job: team/project/train:latest
image_uri: some/image
project: p
entity: e
description: what it is
controller: {type: local}
scheduler: {engine: wandb}
method: custom
run_cap: 7
parameters: {lr: {min: 0.0001, max: 0.1}}
"""
    space = sweep(
        tmp_path,
        text,
        "{lr: 0.01}",
        "search.limits.trials=null",
        "metric.impute=worst",
        "metric.impute_while_running='false'",
        "metrics=[{name: val_acc, goal: maximize}]",
    )
    noted = [note.partition(":")[0] for note in space.notices]
    assert noted[:4] == [
        "apiVersion, kind, job, image_uri, project, entity, controller, scheduler",
        "method",
        "metrics",
        "metric.impute",
    ]
    assert (space.limits.trials, space.sampler) == (7, "tpe")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("epochs", "search.ladder sets how long trials train"),
        ("seed", "seeds are not searched: search.seed seeds the search"),
        ("resolution", "search.ladder.resolution sets the size of images"),
        ("data", "search.data names the data to train on"),
        ("device", "search.resources sets what a trial gets"),
        ("checkpoint_dir", "each trial has a folder of its own"),
    ],
)
def test_a_reserved_name_is_answered_with_where_it_goes(tmp_path: Path, name: str, answer: str) -> None:
    text = f"parameters: {{{name}: {{values: [1, 2]}}, lr: {{min: 0.1, max: 0.2}}}}"
    [problem] = problems(tmp_path, text, "{lr: 0.1}")
    assert problem.startswith(f"parameters.{name}: is not a hyperparameter: {answer}")
    if name != "checkpoint_dir":
        with pytest.raises(
            SpaceError, match=f"parameters.{name}: is not a hyperparameter of model: {answer}"
        ):
            load(tmp_path, f"{text}\n{OURS}")


def test_a_fixed_number_of_epochs_is_answered_with_its_ladder(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "parameters: {epochs: {value: 50}, lr: {min: 0.1, max: 0.2}}", "{lr: 0.1}")
    assert "write ladder: {epochs: [5, 16, 50]}. The script gets it where its command has {epochs}" in problem


def test_a_metric_without_a_goal_is_minimized_as_wandb_does_and_that_is_reported(tmp_path: Path) -> None:
    space = sweep(tmp_path, "parameters: {lr: {min: 0.1, max: 0.2}}", "{lr: 0.1}", "metric.goal=null")
    assert space.mode == "min"
    assert "metric.goal: not given; minimize, as in W&B" in space.notices


def test_brackets_may_name_both_ends(tmp_path: Path) -> None:
    text = f"parameters: {{lr: {{min: 0.1, max: 0.2}}}}\n{OURS.replace('ladder: {epochs: [1]}, ', '')}"
    early = "early_terminate={type: hyperband, min_iter: 1, max_iter: 27, s: 2, eta: 3}"
    assert [rung.epochs for rung in load(tmp_path, text, early).ladder.rungs] == [3, 9, 27]


def test_a_fixed_value_is_no_range(tmp_path: Path) -> None:
    entries = sweep(
        tmp_path, "parameters: {a: {value: [1, 2]}, b: {distribution: uniform, min: 0, max: 1}}", "{b: 0}"
    )
    assert (entries.fixed, entries.parameters) == ({"a": [1, 2]}, {"b": Real(0.0, 1.0)})
    assert Fixed([1]) == Fixed([1])
