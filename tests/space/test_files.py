"""Wrong space files: one message that lists every problem, and never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from search.cli import run
from search.space import Space, SpaceError, load_space
from search.space.distributions import DISTRIBUTIONS
from tests.support.space_files import write_space

NO_HOME = "a path in it begins with ~ and the name of an unknown user; write it in full"
SEARCH = "search: {trainable: ./model.py, data: mnist5k}"
LR = "parameters: {lr: {min: 0.01, max: 0.5}}"


def problems_of(folder: Path, text: str, *overrides: str) -> list[str]:
    path = write_space(folder, text)
    with pytest.raises(SpaceError) as caught:
        load_space(str(path), overrides=overrides, spaces_dir=folder)
    return listed_in(str(caught.value), path)


def listed_in(message: str, path: Path) -> list[str]:
    first, *problems = message.split("\n")
    if not problems:
        assert first.startswith(f"{path}: ")
        return [first.removeprefix(f"{path}: ")]
    assert first == f"{path} has {len(problems)} problems:"
    assert "Traceback" not in message
    assert "pydantic" not in message
    assert all(problem.startswith("  ") for problem in problems)
    return [problem.strip() for problem in problems]


PARAMETERS = {
    "lrr: {values: [1]}": ["parameters.lrr: model has no such hyperparameter; did you mean lr?"],
    "lr: 0.1": ["parameters.lr: must be a mapping, got 0.1; write {value: 0.1}"],
    "lr: [0.1, 0.2]": ["parameters.lr: must be a mapping, got [0.1, 0.2]; write {values: [0.1, 0.2]}"],
    "lr: {}": ["parameters.lr: give value, or values, or min and max, or mu and sigma; got nothing"],
    "lr: {min: '1e-4', max: 1}": ["parameters.lr.min: is text, '1e-4'; write 1e-4 without quotes"],
    "lr: {min: low, max: 1}": ["parameters.lr.min: must be a number, got the text 'low'"],
    "lr: {min: 0.1}": ["parameters.lr: max must be given for uniform"],
    "lr: {min: 0.5, max: 0.1}": ["parameters.lr: min 0.5 is above max 0.1"],
    "lr: {min: 0.5, max: 0.5}": ["parameters.lr: min and max are both 0.5; write value: 0.5"],
    "lr: {min: 0.1, mx: 1.0}": ["parameters.lr.mx: there is no such key; did you mean max?"],
    "lr: {value: 1.0, values: [1.0]}": [
        "parameters.lr: give value, or values, or min and max, or mu and sigma; got value, values"
    ],
    "lr: {distribution: uniform, values: [1.0]}": ["parameters.lr: uniform takes min, max, not values"],
    "lr: {distribution: unifrom, min: 0.1, max: 1.0}": [
        "parameters.lr.distribution: 'unifrom' is not known; did you mean uniform?"
    ],
    "lr: {values: []}": ["parameters.lr.values: must not be empty"],
    "lr: {values: 0.1}": ["parameters.lr.values: must be a list of values, got 0.1"],
    "lr: {values: [0.1, 0.2], probabilities: [0.5, 0.6]}": [
        "parameters.lr.probabilities: must sum to 1, got 1.1"
    ],
    "lr: {values: [0.1, 0.2], probabilities: [1.0]}": [
        "parameters.lr.probabilities: must be as many as the values, 2, got 1"
    ],
    "lr: {values: [0.1, 0.2], probabilities: [1.5, -0.5]}": [
        "parameters.lr.probabilities: must be numbers from 0 to 1, got -0.5"
    ],
    "lr: {distribution: q_uniform, min: 0.0, max: 1.0, q: 0}": ["parameters.lr.q: must be above 0, got 0"],
    "lr: {distribution: q_uniform, min: 0.1, max: 0.2, q: 0.6}": [
        "parameters.lr.q: leaves one value: 0.1 and 0.2 both round to 0"
    ],
    "lr: {distribution: beta, a: 2, b: 5}": [
        "parameters.lr.distribution: beta is one of W&B's that is not supported; "
        "use uniform or normal, or values with probabilities"
    ],
    "lr: {distribution: q_beta}": [
        "parameters.lr.distribution: q_beta is one of W&B's that is not supported; "
        "use q_uniform or q_normal, or values with probabilities"
    ],
    "lr: {distribution: cauchy, min: 0, max: 1}": [
        "parameters.lr.distribution: 'cauchy' is not known (there are constant, categorical, "
        "categorical_w_probabilities, int_uniform, uniform, q_uniform, log_uniform, q_log_uniform, "
        "inv_log_uniform, log_uniform_values, q_log_uniform_values, inv_log_uniform_values, normal, "
        "q_normal, log_normal, q_log_normal)"
    ],
    "lr: {min: 0,1, max: 1}": [
        "parameters.lr: a key must be text, got 1; write decimals with a point, or quote it"
    ],
    "lr: {distribution: uniform, min: -1.0e+308, max: 1.0e+308}": [
        "parameters.lr.max: is too far from min for a number, got -1e+308 and 1e+308"
    ],
    "lr: {distribution: log_normal, mu: 0, sigma: 500}": [
        "parameters.lr.sigma: is too large: draws within 5 deviations of mu are beyond any number, got 500"
    ],
    "LR: {min: 0.1, max: 0.2}": ["parameters.LR: model has no such hyperparameter; did you mean lr?"],
    "lr: {mu: 0, sigma: -1}": ["parameters.lr.sigma: must be above 0, got -1"],
    "lr: {distribution: log_normal, mu: 900}": [
        "parameters.lr.mu: must be an exponent of e from -700 to 700, got 900"
    ],
    "lr: {distribution: log_uniform_values, min: -9, max: 0}": [
        "parameters.lr.min: must be above 0 on a logarithmic scale, got -9; "
        "if these are exponents of e, use log_uniform"
    ],
    "lr: {distribution: log_uniform_values, min: 0, max: 1}": [
        "parameters.lr.min: must be above 0 on a logarithmic scale, got 0"
    ],
    "lr: {min: .nan, max: 1.0}": ["parameters.lr.min: must be finite and below 2**63, got nan"],
    "lr: {min: 0.1, max: .inf}": ["parameters.lr.max: must be finite and below 2**63, got inf"],
    "lr: {value: 99999999999999999999}": [
        "parameters.lr.value: must be finite and below 2**63, got a larger number"
    ],
    "lr: {values: [2024-01-01, 0.1]}": ["parameters.lr.values: must be a number, got the text '2024-01-01'"],
    "lr: {values: [on, 0.1]}": [
        "parameters.lr.values: must be a number, got true (without quotes on is true, as W&B reads it)"
    ],
    "optimizer: {values: [sgd, no]}": [
        "parameters.optimizer.values: must be one of sgd, adamw, got false "
        "(without quotes no is false, as W&B reads it)"
    ],
    "batch_size: {distribution: int_uniform, min: 0.5, max: 8}": [
        "parameters.batch_size.min: must be a whole number for int_uniform, got 0.5; or use uniform"
    ],
    "batch_size: {values: [32, '64']}": [
        "parameters.batch_size.values: is text, '64'; write 64 without quotes"
    ],
    "batch_size: {values: [32, 0.5]}": ["parameters.batch_size.values: must be a whole number, got 0.5"],
    "batch_size: {distribution: log_uniform_values, min: 16, max: 256}": [
        "parameters.batch_size: must be a whole number, got 16.0; "
        "use int_uniform, or a q_ distribution with q: 1",
        "parameters.batch_size: must be a whole number, got 256.0; "
        "use int_uniform, or a q_ distribution with q: 1",
    ],
    "nesterov: {values: ['yes', 'no']}": [
        "parameters.nesterov.values: is text, 'yes'; write true",
        "parameters.nesterov.values: is text, 'no'; write false",
    ],
    "model: {values: [small, larg]}": [
        "parameters.model.values: must be one of small, large, got 'larg'; did you mean large?"
    ],
    "lr: {min: 0.1, max: 20.0}": ["parameters.lr: lr must be at most 10, got 20.0"],
    "lr: {value: 11.0}\n  momentum: {min: 0.1, max: 0.9}": ["parameters.lr: lr must be at most 10, got 11.0"],
    "optimizer: {value: adamw}\n  momentum: {min: 0.9, max: 0.99}": [
        "parameters.momentum: adamw takes no momentum above 0.95"
    ],
    "lr: {value: 0.1}": [
        "parameters: there is nothing to search; give at least one parameter values, or min and max"
    ],
    "1: {value: 0.1}\n  lr: {values: [0.1]}": ["parameters: a key must be text, got 1; quote it"],
    "head: {parameters: {width: {values: [1, 2]}}}": [
        "parameters.head.width: model has no such hyperparameter (there are model, optimizer, lr, "
        "batch_size, weight_decay, momentum, nesterov, sizes, warmup_epochs)"
    ],
}


@pytest.mark.parametrize("entry", PARAMETERS)
def test_a_wrong_parameter_is_named_with_what_to_write(tmp_path: Path, entry: str) -> None:
    assert problems_of(tmp_path, f"parameters:\n  {entry}\n{SEARCH}") == PARAMETERS[entry]


SECTION = {
    "ladder.epochs=[3, 1]": "search.ladder.epochs: must rise from rung to rung, got [3, 1]",
    "ladder.epochs=1,3,9": "search.ladder.epochs: is text, '1,3,9'; write [1,3,9]",
    "ladder.epochs='9'": "search.ladder.epochs: is text, '9'; write 9 without quotes",
    "ladder.epochs=0": "search.ladder.epochs: must be at least 1, got 0",
    "ladder.epochs=[]": "search.ladder: a ladder needs at least one rung",
    "ladder={subset: 0.5}": "search.ladder.epochs: is missing; write epochs: [1, 3, 9]",
    "ladder={epochs: [1, 3], subset: [0.5]}": (
        "search.ladder: lists must have one value per rung, got epochs 2, subset 1"
    ),
    "ladder={epochs: [1, 3], subset: [1.0, 0.5]}": (
        "search.ladder.subset: must not fall from rung to rung, got [1.0, 0.5]"
    ),
    "ladder={epochs: [1, 3], subset: [0.5, 500]}": (
        "search.ladder.subset: must be all fractions or all counts, got [0.5, 500]"
    ),
    "ladder={epochs: 1, subset: 1}": (
        "search.ladder.subset: 1 may mean all examples or a single one; write 1.0 for all of them"
    ),
    "ladder={epochs: 1, subset: 1.5}": (
        "search.ladder.subset: must be a fraction above 0 and up to 1.0, or a whole number, got 1.5"
    ),
    "ladder={epochs: 1, resolution: 28.5}": "search.ladder.resolution: must be a whole number, got 28.5",
    "ladder=[1, 3]": "search.ladder: must be a mapping of keys, got [1, 3]",
    "lader={epochs: 1}": "search.lader: there is no such key; did you mean ladder?",
    "data=5": "search.data: must be a name or a mapping of names to plain values, got 5",
    "data=null": "search.data: is missing; name the data to train on, or write data: none",
    "trainable=clasification": "search.trainable: no trainable is named 'clasification'; did you mean",
    "trainable=./absent.py": "search.trainable: trainable file ",
    "scheduler.eta=1.5": "search.scheduler.eta: must be from 2 to 1000, got 1.5",
    "scheduler.control_fraction=2": (
        "search.scheduler.control_fraction: must be a fraction from 0 to 1, got 2"
    ),
    "scheduler.epsilon=0.1": (
        "search.scheduler.epsilon: has an effect only with mode: pasha, got mode: asha; leave it out"
    ),
    "scheduler.brackets=9": (
        "search.scheduler.brackets: must be from 1 to 3 for a ladder of 3 rungs with mode: asha, got 9"
    ),
    "metering.exclusive_slots=1": "search.metering.exclusive_slots: must be true or false, got 1",
    "metering.cpu_watts_max=65": ("search.metering.cpu_watts_idle: is missing: give both, or neither"),
    "metering.cpu_tdp_threads=64": (
        "search.metering.cpu_tdp_w: is missing: the TDP of the processor with cpu_tdp_threads"
    ),
    "metering={cpu_watts_idle: 7, cpu_watts_max: 65, cpu_tdp_w: 105}": (
        "search.metering.cpu_tdp_w: replaces cpu_watts_idle and cpu_watts_max: give it, or those two"
    ),
    "metering={cpu_watts_idle: 70, cpu_watts_max: 65}": (
        "search.metering.cpu_watts_idle: must be at most cpu_watts_max, 65, got 70"
    ),
    "scheduler.mode=stoping": (
        "search.scheduler.mode: must be one of asha, asha_stopping, pasha, freeze_thaw, none, got 'stoping'; "
        "did you mean asha_stopping?"
    ),
    "sampler=tpee": (
        "search.sampler: must be one of tpe, random, gp, nsga2, cmaes, grid, got 'tpee'; did you mean tpe?"
    ),
    "sampler=grid": "parameters.lr: a grid needs values or whole numbers; write values: [...]",
    "limits.trials=0": "search.limits.trials: must be at least 1, got 0",
    "limits.hours=-1": "search.limits.hours: must be above 0, got -1",
    "limits.kwh='0.5'": "search.limits.kwh: is text, '0.5'; write 0.5 without quotes",
    "limits.trails=3": "search.limits.trails: there is no such key; did you mean trials?",
    "resources.gpus_per_trial=-1": "search.resources.gpus_per_trial: must be 0 or more, got -1",
    "promote.top=true": "search.promote.top: must be a whole number, got true",
    "precision=fp8": "search.precision: must be one of auto, fp32, bf16, fp16, got 'fp8'",
    "seed=-1": "search.seed: must be from 0 to 4294967295, got -1",
    "patience=2.5": "search.patience: must be a whole number, got 2.5",
    "early_stop_threshold=low": "search.early_stop_threshold: must be a number, got the text 'low'",
    "when={lr: sgd}": "search.when.lr: must look like {momentum: {optimizer: sgd}}, got 'sgd'",
    "when={mom: {lr: 0.1}}": "search.when.mom: is not among the parameters (there are lr)",
    "when={lr: {optimiser: sgd}}": "search.when.lr.optimiser: is not among the parameters (there are lr)",
    "limits.hours=1:30": "search.limits.hours: must be a number, got the text '1:30'",
    "hours=2": "search.hours: there is no such key here; write search.limits.hours",
    "metric=loss": "search.metric: there is no such key here; write metric",
    "epochs=9": "search.epochs: there is no such key here; write search.ladder.epochs or search.budget.epo",
    "scheduler=asha": "search.scheduler: must be a mapping of keys, got 'asha'; write {mode: asha}",
    "sampler=TPE": (
        "search.sampler: must be one of tpe, random, gp, nsga2, cmaes, grid, got 'TPE'; did you mean tpe?"
    ),
    "trials=10": (
        "search.trials: must be a list such as [{lr: 0.1}], or a .json file of one, got 10; the number of "
        "trials is search.limits.trials"
    ),
    "when={lr: {lr: 0.1}}": "search.when: conditions form a circle: lr -> lr",
    "initial_points={lr: 0.1}": (
        "search.initial_points: must be a list of points such as [{lr: 0.1}], got {'lr': 0.1}"
    ),
    "initial_points=[{lr: 0.1}, {l: 0.1}]": (
        "search.initial_points[1].l: is not among the parameters; did you mean lr?"
    ),
    "initial_points=[{lr: 0.6}]": "search.initial_points[0].lr: must be a number from 0.01 to 0.5, got 0.6",
    "initial_points=[{lr: '0.1'}]": "search.initial_points[0].lr: is text, '0.1'; write 0.1 without quotes",
}


@pytest.mark.parametrize("change", SECTION)
def test_a_wrong_key_under_search_is_named_with_what_is_allowed(tmp_path: Path, change: str) -> None:
    (problem,) = problems_of(tmp_path, f"{LR}\n{SEARCH}", f"search.{change}")
    assert problem.startswith(SECTION[change])


FILES = {
    "": "file: is empty",
    "- 1": "file: must be a mapping of keys, got a list",
    "just words": "file: must be a mapping of keys, got text",
    "a: [1, 2": "file: line 1, column 9: expected ',' or ']', but got '<stream end>'",
    "a:\n\tb: 1": "file: line 2, column 1: a tab; indent with spaces",
    "a: 1\n---\nb: 2": "file: line 2, column 1: a second document begins; keep one, and remove the line with",
    "a: b: c": "file: line 1, column 5: a colon where no key can be; quote the text, or indent it rightly",
    "a:\n  b: 1\n c: 2": "file: line 3, column 2: it does not continue the lines above; indent it like those",
    "a: @b": "file: line 1, column 4: found character '@' that cannot start any token; quote the text",
    "a: !!python/name:os.system 1": (
        "file: line 1, column 4: could not determine a constructor for the tag '!!python/name:os.system'; "
        "write plain numbers, text, lists and mappings"
    ),
    "a: !!int x": "file: is not YAML: invalid literal for int()",
    "[" * 600: "file: is nested too deeply",
    f"{LR}\n{SEARCH}\nparamters: 1": "paramters: there is no such key; did you mean parameters?",
    f"{LR}\n{SEARCH}\nlimits: {{trials: 3}}": "limits: there is no such key here; write search.limits",
    f"{LR}\n{SEARCH}\nscheduler: {{job: j, mode: none}}": (
        "scheduler.mode: there is no such key here; write search.scheduler.mode"
    ),
    f"{LR}\nname: a/b\n{SEARCH}": "name: must be usable as a folder's name (no slash, no leading dot), got "
    "'a/b'",
    f"{LR}\nmethod: baies\n{SEARCH}": "method: must be one of bayes, random, grid, custom, got 'baies'",
    f"{LR}\nmethod: grid\n{SEARCH}": "parameters.lr: a grid needs values or whole numbers",
    f"{LR}\nmetric: {{goal: max}}\n{SEARCH}": "metric.goal: must be one of maximize, minimize, got 'max'",
    f"{LR}\nmetric: {{goal: minimize}}\n{SEARCH}": "metric.goal: must be maximize for val_accuracy,",
    f"{LR}\nrun_cap: 0\n{SEARCH}": "run_cap: must be at least 1, got 0",
    f"{LR}\nearly_terminate: {{type: hyperband}}\n{SEARCH}": "early_terminate: give min_iter, or",
    f"{LR}\nearly_terminate: {{max_iter: 27}}\n{SEARCH}": "early_terminate.s: must be given with max_iter",
    f"{LR}\nearly_terminate: {{type: median, min_iter: 2}}\n{SEARCH}": "early_terminate.type: must be one of",
    f"{LR}\n{LR}\n{SEARCH}": "line 2: the key 'parameters' is given twice",
    f"{LR}\nsearch: quick": "search: must be a mapping of keys, got 'quick'",
    f"{LR}\nmetric: loss\n{SEARCH}": (
        "metric: must be a mapping of keys, got 'loss'; write {name: val_acc, goal: maximize}"
    ),
    f"{LR}\nMETHOD: bayes\n{SEARCH}": "METHOD: there is no such key; did you mean method?",
    f"{LR}\nhours: 2\n{SEARCH}": "hours: there is no such key here; write search.limits.hours",
    LR + "\nsearch: {trainable: ./model.py}": "search.data: is missing; name the data to train on",
    LR: "search: is missing; write program: train.py for a script of your own, or search: {data: photos} for",
    SEARCH: "parameters: is missing; write parameters: {lr: {min: 0.001, max: 0.1}}",
    f"parameters: [lr]\n{SEARCH}": "parameters: must be a mapping, got ['lr']",
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: text[:30])
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith(FILES[text].removeprefix("file: "))


def test_the_command_refuses_every_wrong_file_with_its_message_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [*(f"parameters:\n  {entry}\n{SEARCH}" for entry in PARAMETERS), *FILES]
    assert len(texts) >= 40
    for text in texts:
        path = write_space(tmp_path, text)
        assert run("search", ["--space", str(path), "--results", str(tmp_path / "results")]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert listed_in(err.rstrip("\n"), path)
        assert "Traceback" not in err
    assert not (tmp_path / "results").exists()


def test_all_problems_are_listed_in_one_message(tmp_path: Path) -> None:
    text = """
    parameters:
      lr: {min: '1e-4', max: 0.1}
      lrr: {value: 1}
      batch_size: {values: [32, 0.5]}
    search: {trainable: ./model.py, ladder: {epochs: [3, 1]}, limits: {trials: 0, hour: 2}}
    """
    assert problems_of(tmp_path, text) == [
        "search.ladder.epochs: must rise from rung to rung, got [3, 1]",
        "search.limits.trials: must be at least 1, got 0",
        "search.limits.hour: there is no such key; did you mean hours?",
        "parameters.lr.min: is text, '1e-4'; write 1e-4 without quotes",
        "search.data: is missing; name the data to train on, or write data: none",
        "parameters.lrr: model has no such hyperparameter; did you mean lr?",
        "parameters.batch_size.values: must be a whole number, got 0.5",
    ]


def test_conditions_speak_of_values_that_their_parameter_can_have(tmp_path: Path) -> None:
    text = f"""
parameters: {{momentum: {{min: 0.5, max: 0.9}}, optimizer: {{values: [sgd, adamw]}}, model: {{value: small}}}}
{SEARCH}
"""
    when = "search.when={momentum: {optimizer: sdg}, model: {optimizer: []}, optimizer: {momentum: 0.5}}"
    assert problems_of(tmp_path, text, when) == [
        "search.when.momentum.optimizer: must be one of sgd, adamw, got 'sdg'",
        "search.when.model: has one fixed value, so it cannot have a condition",
        "search.when.model.optimizer: must be a value or a list of values, got an empty list",
        "search.when: conditions form a circle: momentum -> optimizer -> momentum",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("search.seed", "override search.seed: must be KEY=VALUE, such as parameters.lr.max=0.3"),
        ("search..seed=1", "override search..seed=1: must be KEY=VALUE, such as parameters.lr.max=0.3"),
        (
            "parameters.lr.max.x=1",
            "override parameters.lr.max.x=1: parameters.lr.max is 0.5, not a mapping",
        ),
        (
            "search.seed=[1",
            "override search.seed=[1: the value line 1, column 3: "
            "expected ',' or ']', but got '<stream end>'",
        ),
    ],
)
def test_a_wrong_override_is_one_of_the_problems(tmp_path: Path, override: str, problem: str) -> None:
    assert problems_of(tmp_path, f"{LR}\n{SEARCH}", override) == [problem]


def test_a_missing_file_lists_those_there_are(tmp_path: Path) -> None:
    write_space(tmp_path, LR, "toy.yaml")
    write_space(tmp_path, LR, "first.yaml")
    for name, hint in {"toi": "; did you mean toy.yaml?", "zzz": " (there are first.yaml, toy.yaml)"}.items():
        with pytest.raises(SpaceError) as caught:
            load_space(name, spaces_dir=tmp_path)
        assert listed_in(str(caught.value), tmp_path / f"{name}.yaml") == [f"there is no such file{hint}"]


def test_a_folder_and_foreign_bytes_are_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    reasons = {".": "is a folder; name the file in it", "bytes.yaml": "is not UTF-8 text (byte 3)"}
    for name, reason in reasons.items():
        with pytest.raises(SpaceError, match=rf"^{tmp_path}.*: ") as caught:
            load_space(f"{tmp_path}/{name}", spaces_dir=tmp_path)
        assert reason in str(caught.value)


def test_a_file_in_the_current_folder_is_named_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match=r"^spaces/toy\.yaml: there is no such file"):
        load_space("toy", spaces_dir=Path("spaces"))


def test_anchors_that_expand_without_end_are_refused(tmp_path: Path) -> None:
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for name, last in zip("bcdef", "abcde", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{last}'] * 10)}]\n"
    text = "is too large: with its anchors it has 1234573 values, more than 300000"
    assert problems_of(tmp_path, bomb) == [text]
    merged = "a: &a {x: 1}\n" + "".join(
        f"{name}: &{name} {{<<: [{', '.join([f'*{last}'] * 10)}]}}\n"
        for name, last in zip("bcdef", "abcde", strict=True)
    )
    assert problems_of(tmp_path, merged)[0].startswith("is too large: with its anchors it has ")
    assert problems_of(tmp_path, "a: &a [*a]") == ["line 1: an anchor contains itself"]
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(SpaceError, match=r"^the space: is too deep or too large at a\.a\.a\."):
        load_space(endless)


def test_a_trainable_that_fails_on_import_is_a_problem_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ny = x / 0\n")
    (problem,) = problems_of(tmp_path, f"{LR}\n{SEARCH}", "search.trainable=./broken.py")
    assert problem.endswith(
        f"fails on import: ZeroDivisionError: division by zero ({tmp_path}/broken.py, line 2)"
    )


_VOCABULARY = """
value values min max mu sigma q distribution probabilities parameters lr batch_size optimizer model epochs
subset resolution trials hours kwh eta mode when start ladder limits search data trainable metric goal
min_iter max_iter s uniform log_uniform q_log_uniform_values normal sgd method early_terminate scheduler
"""
_WORDS = st.sampled_from(_VOCABULARY.split())
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 50),
    st.floats(),
    _WORDS,
    st.text(),
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_WORDS, inner, max_size=4)),
    max_leaves=8,
)
_ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "distribution": st.one_of(st.sampled_from(list(DISTRIBUTIONS)), _TREES),
        "min": _SCALARS,
        "max": _SCALARS,
        "q": _SCALARS,
        "mu": _SCALARS,
        "value": _TREES,
        "values": _TREES,
    },
)
_RANGES = st.fixed_dictionaries(
    {"distribution": st.sampled_from(list(DISTRIBUTIONS)), "min": st.floats(), "max": st.floats()},
    optional={"q": st.one_of(st.floats(), st.integers(1, 9))},
)


def outcome(path: Path) -> Space | SpaceError:
    try:
        return load_space(str(path), spaces_dir=path.parent)
    except SpaceError as error:
        return error


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    parameters=st.dictionaries(
        st.sampled_from(["lr", "batch_size", "optimizer"]), st.one_of(_ENTRIES, _RANGES)
    ),
    section=st.dictionaries(_WORDS, _TREES, max_size=4),
    rest=st.dictionaries(_WORDS, _TREES, max_size=2),
)
def test_any_mapping_is_a_space_or_a_space_error(
    tmp_path: Path, parameters: Any, section: Any, rest: Any
) -> None:
    path = write_space(tmp_path, "")
    content = {
        **rest,
        "parameters": parameters,
        "search": {**section, "trainable": "./model.py", "data": "x"},
    }
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(content, file)
    assert isinstance(outcome(path), Space | SpaceError)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.one_of(st.text(), st.text(alphabet="ab:-[]{}&*!?|>'\"%@ \n\t0159.~<=", max_size=60)))
def test_any_text_is_a_space_or_a_space_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert isinstance(outcome(path), SpaceError)


@pytest.mark.parametrize(
    "changes",
    [
        ("search.warm_start=['~nobody-of-this-name/run']",),
        ("search.trainable=classification", "search.data=imagefolder:~nobody-of-this-name/photos"),
        ("search.trials=~nobody-of-this-name/points.json",),
    ],
)
def test_a_path_in_the_home_of_a_user_that_is_not_there_is_a_problem_of_the_space(
    tmp_path: Path, changes: tuple[str, ...]
) -> None:
    toy = "parameters: {lr: {min: 0.01, max: 0.5}}\nsearch: {trainable: toy, data: none}"
    assert problems_of(tmp_path, toy, *changes) == [NO_HOME]
    with pytest.raises(SpaceError) as error:
        load_space(YAML(typ="safe").load(toy), overrides=changes)
    assert str(error.value) == f"the space: {NO_HOME}"
    with pytest.raises(
        SpaceError, match="it begins with ~ and the name of an unknown user; write it in full"
    ):
        load_space("~nobody-of-this-name/lr.yaml")


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("{name: val_loss}", "min"),
        ("{name: val_f1_macro}", "max"),
        ("{name: val_top5_accuracy, goal: maximize}", "max"),
        ("{name: my_own_score}", "min"),  # as W&B takes what nothing is known of
    ],
)
def test_a_score_that_a_trainable_is_known_to_report_has_its_own_goal(
    tmp_path: Path, metric: str, mode: str
) -> None:
    path = write_space(tmp_path, f"{LR}\nmetric: {metric}\nsearch: {{data: digits, ladder: {{epochs: 1}}}}")
    assert load_space(str(path), spaces_dir=tmp_path).mode == mode


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        (
            "{name: val_acuracy}",
            "metric.name: classification reports no val_acuracy; did you mean val_accuracy?",
        ),
        ("{name: val_loss, goal: maximize}", "metric.goal: must be minimize for val_loss, got maximize"),
    ],
)
def test_a_score_that_a_trainable_does_not_report_so_is_named(
    tmp_path: Path, metric: str, problem: str
) -> None:
    text = f"{LR}\nmetric: {metric}\nsearch: {{data: digits, ladder: {{epochs: 1}}}}"
    assert problems_of(tmp_path, text) == [problem]
