"""Scripts as trainables: started with flags, scored by their lines, held, resumed and ended."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from search.budget import Ladder
from search.trial import Checkpointing, EpochRow, run_trial
from search.trial.failure import classify
from tests.support.command_spaces import made_command
from tests.support.toy_runs import SteadyMeter
from trainables.command.template import flagged
from trainables.core.contract import BadResult, Budget, ScriptFailed, Training, TrainingContext
from trainables.core.load import TrainableRef, UnknownTrainable, load_trainable, trainable_names

NINE = Budget(epochs=9)
RUN = ["{python}", "script.py"]

# Writes down its arguments.
ECHO = """
import json, pathlib, sys
import time
pathlib.Path("argv.json").write_text(json.dumps(sys.argv[1:]))
print('{"epoch": 1, "val_acc": 1.0}')
"""


def started(
    folder: Path, script: str, budget: Budget = NINE, hparams: Any = None, **changes: Any
) -> Training:
    """A training by `script`, which runs in `folder` and keeps its files in folder/trial."""
    changes = {"run": RUN, "resume": [], "test": [], "defaults": {}} | changes
    trainable = made_command(folder, script, **changes).load()
    context = TrainingContext(data="none", data_seed=3, seed=7, cache_dir=folder, folder=folder / "trial")
    return trainable.start(trainable.hparams(**(hparams or {})), budget, context)


def arguments_of(folder: Path, hparams: dict[str, Any], **changes: Any) -> list[str]:
    """The arguments that reach a script."""
    training = started(folder, ECHO, hparams=hparams, defaults=hparams, **changes)
    training.run_epoch(NINE)
    arguments: list[str] = json.loads((folder / "argv.json").read_text())
    return arguments


def climbed(command: TrainableRef, folder: Path, ladder: Ladder, count: int | None = None) -> list[EpochRow]:
    """Rows of a trial in folder/trial, from its checkpoint on."""
    trainable = command.load()
    context = TrainingContext(
        data="none", data_seed=0, seed=1, cache_dir=folder, folder=folder / "trial", horizon=ladder.horizon
    )
    checkpointing = Checkpointing(path=folder / "trial" / "checkpoint.pt")
    running = run_trial(
        trainable, trainable.hparams(), ladder, context, SteadyMeter(), checkpointing=checkpointing
    )
    return [row for _, row in zip(range(count or 99), running, strict=False)]


def scores(rows: list[EpochRow]) -> list[tuple[int, float]]:
    return [(row.epoch, row.metrics["val_acc"]) for row in rows]


def test_without_a_description_a_command_is_no_trainable() -> None:
    assert "command" not in trainable_names()
    with pytest.raises(UnknownTrainable):
        load_trainable("command")


@pytest.mark.parametrize("value", [1e-7, 0.1 + 0.2, 1e22, -1e-5, 5e-324, 123456789.123456789])
def test_numbers_reach_a_script_in_full_precision(tmp_path: Path, value: float) -> None:
    flag, text = (
        arguments_of(tmp_path, {"lr": value})[0:2]
        if value > 0
        else arguments_of(tmp_path, {"lr": value})[0].split("=")
    )
    assert (flag, float(text)) == ("--lr", value)
    place = arguments_of(tmp_path, {"lr": value}, run=[*RUN, "--rate={lr}"])
    assert float(place[0].removeprefix("--rate=")) == value


@pytest.mark.parametrize(
    "text", ["two words", "it's", '"quoted"', "$HOME; rm -rf *", "{lr}", "a\nb", "ü", ""]
)
def test_text_reaches_a_script_as_it_is(tmp_path: Path, text: str) -> None:
    assert arguments_of(tmp_path, {"note": text}) == ["--note", text]
    assert arguments_of(tmp_path, {"note": text}, run=[*RUN, "--x={note}"]) == [f"--x={text}"]


def test_hyperparameters_without_a_place_follow_as_flags(tmp_path: Path) -> None:
    hparams = {"lr": 0.1, "batch_size": 64, "momentum": 0.9, "nesterov": True, "amp": False}
    flags = {"batch_size": "--batch-size", "momentum": "--momentum="}
    run = [*RUN, "-l", "{lr}", "--amp", "{amp}"]
    expected = ["-l", "0.1", "--amp", "false", "--batch-size", "64", "--momentum=0.9", "--nesterov"]
    assert arguments_of(tmp_path, hparams, flags=flags, run=run) == expected


@pytest.mark.parametrize(
    ("pair", "value", "expected"),
    [
        ("--augment/--no-augment", True, ["--augment"]),
        ("--augment/--no-augment", False, ["--no-augment"]),
        ("-a/-A", False, ["-A"]),
        ("--augment", False, []),
    ],
)
def test_a_pair_of_flags_says_false_as_well(
    tmp_path: Path, pair: str, value: bool, expected: list[str]
) -> None:
    flags = {"augment": pair}
    assert arguments_of(tmp_path, {"augment": value}, flags=flags) == expected
    run = [*RUN, "${args_no_boolean_flags}"]
    assert arguments_of(tmp_path, {"augment": value}, flags=flags, run=run) == expected


@pytest.mark.parametrize(("value", "words"), [(True, ["--amp=True"]), (False, ["--amp=False"])])
def test_a_flag_that_is_joined_says_true_and_false_in_words(value: bool, words: list[str]) -> None:
    """As fire, Hydra and `type=str2bool` read them; `--amp=` alone would be false to the last."""
    assert flagged("--amp=", value) == words


def test_a_script_gets_its_budget_and_context(tmp_path: Path) -> None:
    run = [*RUN, "{epochs} {until} {subset} {resolution} {seed} {data_seed} {data} {device}", "{{as}}"]
    budget = Budget(epochs=4, subset=0.25, resolution=16)
    training = started(tmp_path, ECHO, run=run)
    training.run_epoch(budget)
    assert json.loads((tmp_path / "argv.json").read_text()) == ["9 4 0.25 16 7 3 none cpu", "{as}"]


def test_variables_and_the_folder_are_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    script = """
        import json, os
        print(json.dumps({"val_acc": float(os.environ["SCORE"]), "is_here": os.path.exists("script.py") + 0,
            "gpu": int(os.environ["CUDA_VISIBLE_DEVICES"])}))
    """
    training = started(tmp_path, script, env={"SCORE": "0.25"})
    assert training.run_epoch(NINE) == {"val_acc": 0.25, "is_here": 1.0, "gpu": 3.0}


def test_a_relative_folder_is_the_starters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    trainable = made_command(tmp_path).load()
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=tmp_path, folder=Path("trial"))
    trainable.start(trainable.hparams(), NINE, context).run_epoch(NINE)
    assert (tmp_path / "here/trial/checkpoint/state.json").exists()


def test_only_json_with_the_metric_is_a_score_and_the_rest_stays_in_the_log(tmp_path: Path) -> None:
    script = """
        print('epoch 1/2', {"val_acc": 0.1}, flush=True)
        print('{"step": 10, "loss": 0.3}')
        print('{not json}')
        print('  {"val_acc": 0.5, "loss": 2, "note": "text", "is_best": true}')
        print('[1, 2]')
        print('{"val_acc": NaN}', end='')
    """
    training = started(tmp_path, script)
    assert training.run_epoch(NINE) == {"val_acc": 0.5, "loss": 2.0}
    assert math.isnan(training.run_epoch(NINE)["val_acc"])
    assert training.epochs_done == 2
    assert len((tmp_path / "trial/stdout.txt").read_text().splitlines()) == 6


def failure(folder: Path, script: str, num_good: int = 0, **changes: Any) -> tuple[str, str]:
    """Cause and message of the epoch after `num_good` good ones."""
    training = started(folder, script, **changes)
    for _ in range(num_good):
        training.run_epoch(NINE)
    with pytest.raises((BadResult, ScriptFailed)) as caught:
        training.run_epoch(NINE)
    found = classify(caught.value)
    return found.cause, found.message


def test_a_script_without_the_metric_fails_and_the_failure_says_what_it_printed(tmp_path: Path) -> None:
    assert failure(tmp_path, """print('started'); print('{"acc": 0.5}')""") == (
        "bad_result",
        'BadResult: the script ended without a JSON line with val_acc; it printed: started; {"acc": 0.5}',
    )
    assert failure(tmp_path, "") == (
        "bad_result",
        "BadResult: the script ended without a JSON line with val_acc; it printed: nothing",
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            '{"val_acc": "0.5"}',
            "the script reported val_acc as '0.5', which is not a number; write it without quotes",
        ),
        ('{"val_acc": true}', "the script reported val_acc as True, which is not a number"),
        (
            '{"epoch": 0, "val_acc": 1}',
            "the script reported epoch 0; epochs are counted from 1: print epoch + 1, or write first_epoch: "
            "0 under search.command",
        ),
        (
            '{"epoch": "2/9", "val_acc": 1}',
            "the script reported epoch '2/9'; epochs are counted from 1: print a count",
        ),
    ],
)
def test_a_line_that_makes_no_sense_is_a_bad_result(tmp_path: Path, line: str, text: str) -> None:
    assert failure(tmp_path, f"print({line!r})") == ("bad_result", f"BadResult: {text}")


def test_a_script_that_takes_too_long_is_a_bad_result(tmp_path: Path) -> None:
    script = "import time; time.sleep(600)"
    assert failure(tmp_path, script, timeout_s=0.2) == (
        "bad_result",
        "BadResult: the script reported no val_acc within 0.2 s",
    )


@pytest.mark.parametrize(
    ("script", "cause", "message"),
    [
        ("1 / 0", "crash", "the script ended with status 1: ZeroDivisionError: division by zero"),
        ("raise MemoryError", "out_of_memory", "the script ended with status 1: MemoryError"),
        (
            "import sys; sys.exit('RuntimeError: CUDA out of memory. Tried to allocate')",
            "out_of_memory",
            "the script ended with status 1: RuntimeError: CUDA out of memory. Tried to allocate",
        ),
        (
            "raise ConnectionError('hub')",
            "network",
            "the script ended with status 1: ConnectionError: hub",
        ),
        ("import sys; sys.exit(3)", "crash", "the script ended with status 3: it printed no error"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "crash",
            "the script was killed by signal 9: it printed no error",
        ),
    ],
)
def test_a_script_that_fails_is_a_failure_with_its_own_words(
    tmp_path: Path, script: str, cause: str, message: str
) -> None:
    first = "print('{\"val_acc\": 1}', flush=True)\n"
    assert failure(tmp_path, first + script, num_good=1) == (cause, f"ScriptFailed: {message}")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, message = failure(tmp_path, "", run=["no-such-program"])
    assert message.endswith("no-such-program cannot be started: No such file or directory")


def test_a_script_that_ends_early_has_nothing_more_to_learn(tmp_path: Path) -> None:
    lines = """
        for epoch in (1, 2):
            print('{"epoch": %d, "val_acc": 0.5, "num_examples": 10}' % epoch)
    """
    training = started(tmp_path, lines)
    found = [training.run_epoch(NINE) for _ in range(3)]
    assert [row["num_examples"] for row in found] == [10.0, 10.0, 0.0]
    assert training.done_reason == "the script ended by itself after epoch 2"


def test_a_script_may_say_that_it_is_done(tmp_path: Path) -> None:
    training = started(tmp_path, """print('{"val_acc": 0.5, "done_reason": "no gain for 5 epochs"}')""")
    training.run_epoch(NINE)
    assert training.done_reason == "no gain for 5 epochs"


def test_one_process_trains_all_epochs_and_stands_still_between_them(tmp_path: Path) -> None:
    script = """
        import json, os
        for epoch in range(1, 10):
            print(json.dumps({"epoch": epoch, "val_acc": 0.1, "pid": os.getpid()}))
            for _ in range(50): open(f"working-{epoch}", "a").write("x" * 100_000)
    """
    training = started(tmp_path, script)
    pids = set()
    for _ in range(4):
        pids.add(training.run_epoch(NINE)["pid"])
        states = state_of(int(training.notes()["pid"]))
        assert states in {"T", "Z"}
    assert {str(int(pid)) for pid in pids} == {training.notes()["pid"]}


def state_of(pid: int) -> str:
    """T is stopped; it may be on its way there when this is called, and waits for a core if all are busy."""
    ends_s = time.monotonic() + 30
    while True:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in ("T", "Z") or time.monotonic() > ends_s:
            return state
        time.sleep(0.001)


def test_the_command_as_it_ran_is_in_the_notes(tmp_path: Path) -> None:
    training = started(
        tmp_path, ECHO, run=["python", "script.py"], hparams={"lr": 1e-7}, defaults={"lr": 0.1}
    )
    training.run_epoch(NINE)
    assert training.notes()["command"] == "python script.py --lr 1e-07"


def test_a_trial_resumes_from_the_scripts_checkpoint(tmp_path: Path) -> None:
    ladder = Ladder((Budget(epochs=1), Budget(epochs=3), Budget(epochs=5)))
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
    command = made_command(tmp_path)
    whole = climbed(command, tmp_path / "whole", ladder)
    first = climbed(command, tmp_path / "halves", ladder, count=3)
    rest = climbed(command, tmp_path / "halves", ladder)
    assert rest[0].is_replay
    assert scores([*first, *rest[1:]]) == scores(whole)
