"""Scores as scripts print them: every few epochs, in several lines, behind other text, late or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from search import cli
from search.budget import Ladder
from search.trial import Checkpointing, EpochRow, run_trial
from tests.support.command_spaces import made_command
from tests.support.toy_runs import SteadyMeter
from trainables.command.files import Files, Lines
from trainables.command.rows import read_row
from trainables.core.checkpoint import UnreadableCheckpoint
from trainables.core.contract import BadResult, Budget, ScriptFailed, Training, TrainingContext

RUN = ["{python}", "script.py", "--epochs", "{epochs}"]
UNTIL = ["{python}", "script.py", "--epochs", "{until}"]

# Scores the epochs that `scores` is true of; the score is the epoch's hundredths.
SCRIPT = """
import argparse, json, os, pathlib
flags = argparse.ArgumentParser()
flags.add_argument("--epochs", type=int)
flags.add_argument("--out", type=pathlib.Path)
flags.add_argument("--resume", type=pathlib.Path)
args = flags.parse_args()
state = args.resume / "state" if args.resume else None
done = int(state.read_text()) if state and state.exists() else 0
for epoch in range(done + 1, args.epochs + 1):
    if {scores}:
        print(json.dumps({{"epoch": epoch, "val_acc": epoch / 100}}), flush=True)
    if args.out:  # after it is printed, so that a kill at any moment loses no line
        (args.out / "new").write_text(str(epoch))
        os.replace(args.out / "new", args.out / "state")
"""


def started(folder: Path, script: str, epochs: int = 4, **changes: Any) -> Training:
    changes = {"run": RUN, "resume": [], "test": [], "defaults": {}} | changes
    trainable = made_command(folder, script, **changes).load()
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder, folder=folder / "trial")
    return trainable.start(trainable.hparams(), Budget(epochs=epochs), context)


def printing(*lines: str) -> str:
    """A script that prints these lines at once."""
    return f"import sys\nsys.stdout.buffer.write({chr(10).join(lines).encode()!r} + b'\\n')\n"


def values(folder: Path, script: str, epochs: int = 4, **changes: Any) -> list[dict[str, float]]:
    training = started(folder, script, epochs, **changes)
    return [dict(training.run_epoch(Budget(epochs=epochs))) for _ in range(epochs)]


def climbed(folder: Path, scores: str, ladder: Ladder, count: int = 99, **changes: Any) -> list[EpochRow]:
    """Rows of a trial from its checkpoint on, by a script that scores epochs for which `scores` holds."""
    command = made_command(folder, SCRIPT.format(scores=scores), **{"defaults": {}, "test": []}, **changes)
    trainable = command.load()
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder, folder=folder / "trial")
    rows = run_trial(
        trainable,
        trainable.hparams(),
        ladder,
        context,
        SteadyMeter(),
        checkpointing=Checkpointing(path=folder / "trial/checkpoint.pt"),
    )
    return [row for _, row in zip(range(count), rows, strict=False)]


def ladder(*epochs: int) -> Ladder:
    return Ladder(tuple(Budget(epochs=end) for end in epochs))


def scores(rows: list[EpochRow]) -> dict[int, float | None]:
    return {row.epoch: row.metrics.get("val_acc") for row in rows}


@pytest.mark.parametrize(
    ("when", "rungs", "scored"),
    [
        ("epoch % 2 == 0", (2, 4), [2, 4]),
        ("epoch % 3 == 0", (3, 6), [3, 6]),
        ("epoch in (1, 4)", (1, 4), [1, 4]),
    ],
)
def test_scores_of_every_few_epochs_count_where_a_rung_ends(
    tmp_path: Path, when: str, rungs: tuple[int, ...], scored: list[int]
) -> None:
    rows = climbed(tmp_path, when, ladder(*rungs), run=RUN, resume=[])
    assert scores(rows) == {
        epoch: epoch / 100 if epoch in scored else None for epoch in range(1, rungs[-1] + 1)
    }
    assert [row.epoch for row in rows if row.completes_rung] == list(rungs)


def test_a_script_that_scores_only_its_end_is_given_it_by_until(tmp_path: Path) -> None:
    rows = climbed(tmp_path, "epoch == args.epochs", ladder(1, 3, 6), run=UNTIL, resume=[])
    assert scores(rows) == {1: 0.01, 2: None, 3: 0.03, 4: None, 5: None, 6: 0.06}


def test_a_rung_that_ends_without_a_score_says_so_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadResult) as refused:
        climbed(tmp_path, "epoch % 2 == 0", ladder(3, 6), run=RUN, resume=[])
    assert str(refused.value) == (
        "the script reported no val_acc for epoch 3, where a rung ends (it did for: 2, 4, 6); set "
        "search.ladder.epochs to epochs that it scores, or let it score this one, such as its last: "
        "{until} in run is the epoch at which the rung ends; if it counts epochs from 0, write first_epoch: "
        "0 under search.command"
    )


@pytest.mark.parametrize("run", [RUN, UNTIL])
def test_a_script_that_ends_before_its_next_score_has_none_at_the_rung(
    tmp_path: Path, run: list[str]
) -> None:
    """The last score is not taken for that of a later epoch."""
    with pytest.raises(
        BadResult, match=r"reported no val_acc for epoch 5, where a rung ends \(it did for: 2, 4\)"
    ):
        climbed(tmp_path, "epoch % 2 == 0", ladder(5), run=run, resume=[])


def test_epochs_counted_from_0_are_read_where_the_space_says_so(tmp_path: Path) -> None:
    lines = [json.dumps({"epoch": epoch, "val_acc": epoch / 10}) for epoch in (1, 3)]
    assert values(tmp_path, printing(*lines), first_epoch=0) == [{}, {"val_acc": 0.1}, {}, {"val_acc": 0.3}]
    with pytest.raises(BadResult, match=r"epoch -1; epochs are counted from 0"):
        values(tmp_path, printing('{"epoch": -1, "val_acc": 1}'), first_epoch=0)


def test_training_and_validation_in_lines_of_their_own_are_one_epoch(tmp_path: Path) -> None:
    lines = [
        '{"epoch": 1, "train_loss": 0.9}',
        '{"epoch": 1, "val_acc": 0.5, "val_loss": 0.7}',
        '{"epoch": 2, "train_loss": 0.8, "val_loss": 0.6}',
        '{"epoch": 3, "val_acc": 0.6}',
        '{"epoch": 3, "train_loss": 0.7}',
        '{"epoch": 4, "train_loss": 0.6}',
        '{"epoch": 4, "val_acc": 0.7}',
    ]
    assert values(tmp_path, printing(*lines)) == [
        {"train_loss": 0.9, "val_acc": 0.5, "val_loss": 0.7},
        {"train_loss": 0.8},
        {"val_acc": 0.6, "train_loss": 0.7},
        {"train_loss": 0.6, "val_acc": 0.7},
    ]


def test_of_two_scores_of_one_epoch_the_last_counts_with_a_note(tmp_path: Path) -> None:
    lines = ['{"epoch": 1, "val_acc": 0.5}', '{"epoch": 1, "val_acc": 0.75}', '{"epoch": 2, "val_acc": 1}']
    training = started(tmp_path, printing(*lines))
    assert training.run_epoch(Budget(epochs=4)) == {"val_acc": 0.75}
    assert training.notes()["twice"] == "epoch 1 has two values of val_acc, 0.5 and 0.75: the last counts"


def test_a_second_score_that_comes_when_the_first_was_taken_is_noted(tmp_path: Path) -> None:
    script = """
        import time
        print('{"epoch": 1, "val_acc": 0.5}', flush=True)
        time.sleep(0.4)
        print('{"epoch": 1, "val_acc": 0.75}')
        print('{"epoch": 2, "val_acc": 1}')
    """
    training = started(tmp_path, script, epochs=2)
    assert training.run_epoch(Budget(epochs=2)) == {"val_acc": 0.5}
    training.run_epoch(Budget(epochs=2))
    assert training.notes()["late"] == (
        "a second val_acc of epoch 1, 0.75, came after 0.5 had been recorded: the first counts"
    )


@pytest.mark.parametrize("count", ["", '"epoch": 1, '])
def test_a_null_score_is_an_epoch_without_one(tmp_path: Path, count: str) -> None:
    lines = [f'{{{count}"val_acc": null, "train_loss": 2}}', f'{{{count.replace("1", "2")}"val_acc": 0.5}}']
    found = values(tmp_path, printing(*lines), epochs=2, run=RUN[:2])
    assert found == [{"train_loss": 2.0}, {"val_acc": 0.5}]


@pytest.mark.parametrize("end", ["2", "3"])
def test_one_line_without_a_count_is_the_score_of_the_scripts_end(tmp_path: Path, end: str) -> None:
    script = "print('{\"val_acc\": 0.5}', flush=True)"
    found = values(tmp_path, script, epochs=int(end), run=UNTIL)
    assert found == [{}] * (int(end) - 1) + [{"val_acc": 0.5}]


def test_each_rung_of_a_script_that_prints_one_line_has_its_own_score(tmp_path: Path) -> None:
    script = "import sys\nprint('{\"val_acc\": 0.%s}' % sys.argv[-1])"
    command = made_command(tmp_path, script, run=UNTIL, resume=[], test=[], defaults={})
    trainable = command.load()
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=tmp_path, folder=tmp_path / "trial")
    rows = list(run_trial(trainable, trainable.hparams(), ladder(1, 3, 6), context, SteadyMeter()))
    assert scores(rows) == {1: 0.1, 2: None, 3: 0.3, 4: None, 5: None, 6: 0.6}


def test_a_resumed_script_that_scores_every_few_epochs_is_not_begun_anew(tmp_path: Path) -> None:
    run = [*RUN, "--out", "{checkpoint_dir}"]
    first = climbed(tmp_path, "epoch % 2 == 0", ladder(2, 4, 8), count=4, run=run)
    rest = climbed(tmp_path, "epoch % 2 == 0", ladder(2, 4, 8), run=run)
    assert scores([*first, *rest[1:]]) == {
        epoch: epoch / 100 if epoch % 2 == 0 else None for epoch in range(1, 9)
    }
    assert not any("repeated" in row.notes for row in rest)


def test_a_resumed_script_that_scores_its_end_is_not_begun_anew(tmp_path: Path) -> None:
    run = [*UNTIL, "--out", "{checkpoint_dir}"]
    rows = climbed(tmp_path, "epoch == args.epochs", ladder(1, 2, 4, 8), run=run)
    assert [epoch for epoch, score in scores(rows).items() if score] == [1, 2, 4, 8]
    assert not any("repeated" in row.notes for row in rows)


@pytest.mark.parametrize(
    ("line", "epoch", "score"),
    [
        ('{"epoch": 3, "val_acc": 0.5}', 3, 0.5),
        ('{"epoch": 3.0, "val_acc": 1}', 3, 1.0),
        ('100%|####| 10/10 [00:01<00:00, 9it/s]{"epoch": 3, "val_acc": 0.5}', 3, 0.5),
        ('100%|####| 10/10 {"val_acc": 0.5}', None, 0.5),
        ('INFO:root:{"epoch": 3, "val_acc": 0.5}', 3, 0.5),
        ('[rank0] {\'a\': 1} {"epoch": 3, "val_acc": 0.5}', 3, 0.5),
        ('\x1b[32m{"epoch": 3, "val_acc": 0.5}\x1b[0m', 3, 0.5),
        ('\x1b[?25l{"epoch": 3, "val_acc": 0.5}\x1b[K\x1b[?25h', 3, 0.5),  # as of a bar that hides the cursor
        ('{"epoch": 3, "val_acc": Infinity}', 3, math.inf),
        ('{"epoch": 3, "val_acc": -inf, "note": "inf"}', 3, -math.inf),
        ('{"epoch": 3, "val_acc": "inf"}', 3, math.inf),
        ('{"epoch": 3, "val_acc": 1' + "0" * 400 + "}", 3, math.inf),
        ('{"epoch": 3, "val_acc": 0.5, "text": "' + "x" * 5_000_000 + '"}', 3, 0.5),
        ('{"epoch": 0.5, "val_acc": 0.5}', 0.5, 0.5),
    ],
)
def test_a_score_is_read_as_it_is_printed(line: str, epoch: float | None, score: float) -> None:
    row = read_row(line, "val_acc")
    assert row
    assert (row.epoch, row.values["val_acc"]) == (epoch, score)


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", '"NaN"'])
def test_a_score_that_is_no_number_any_more_is_read(text: str) -> None:
    row = read_row(f'{{"epoch": 1, "val_acc": {text}, "lr": 0.1}}', "val_acc")
    assert row
    assert math.isnan(row.values["val_acc"])
    assert row.values["lr"] == 0.1


@pytest.mark.parametrize(
    "line",
    [
        'best so far: {"val_acc": 0.5}',
        "{'epoch': 1, 'val_acc': 0.5}",
        '{"epochs": 3, "lr": 0.1}',
        '{"epoch": "warm-up", "loss": 0.5}',
        "{" * 100_000 + "}",
        '["val_acc", 0.5]',
        '{"epoch": 1, "val_acc": 0.5} done',
    ],
)
def test_chatter_is_no_score(line: str) -> None:
    assert read_row(line, "val_acc") is None


def test_scores_within_an_epoch_are_counted_and_left_out(tmp_path: Path) -> None:
    lines = [json.dumps({"epoch": epoch, "val_acc": epoch}) for epoch in (0.25, 0.5, 1.0, 1.5, 2.0)]
    training = started(tmp_path, printing(*lines), epochs=2)
    assert [training.run_epoch(Budget(epochs=2))["val_acc"] for _ in range(2)] == [1.0, 2.0]
    assert training.notes()["within"] == (
        "3 lines with val_acc are left out: they are from within an epoch, such as 1.5"
    )


def test_lines_end_at_carriage_returns_and_any_bytes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "out"
    lines = Lines(path, is_from_end=False)
    with path.open("ab", buffering=0) as file:
        file.write(b'\r 50%|\r100%|{"a": 1}\r\n\xff\xfe{"b": 2}\n{"c": ')
        assert [line.strip() for line in lines.new(is_final=False)] == [
            '100%|{"a": 1}',
            '\ufffd\ufffd{"b": 2}',
        ]
        file.write(b'"\xe2\x80\xa8')
        assert lines.new(is_final=False) == []
        file.write(b'3"}')
        assert lines.new(is_final=True) == ['{"c": "\u20283"}']


def test_output_that_is_kept_back_until_the_end_is_still_read(tmp_path: Path) -> None:
    script = """
        import sys, io
        out = io.TextIOWrapper(open(1, "wb", buffering=1 << 16), write_through=False)
        for epoch in range(1, 5):
            print('{"epoch": %d, "val_acc": 0.%d}' % (epoch, epoch), file=out)
        out.flush()
    """
    assert [row["val_acc"] for row in values(tmp_path, script)] == [0.1, 0.2, 0.3, 0.4]


def test_scores_that_were_printed_before_a_crash_count(tmp_path: Path) -> None:
    training = started(tmp_path, printing('{"val_acc": 0.1}', '{"val_acc": 0.2}') + "1 / 0")
    assert [training.run_epoch(Budget(epochs=4))["val_acc"] for _ in range(2)] == [0.1, 0.2]
    with pytest.raises(ScriptFailed, match="ZeroDivisionError"):
        training.run_epoch(Budget(epochs=4))


def test_a_score_in_a_printed_dict_is_hinted_at(tmp_path: Path) -> None:
    with pytest.raises(BadResult) as refused:
        values(tmp_path, printing("{'epoch': 1, 'val_acc': 0.5}"))
    assert str(refused.value).endswith(
        "it printed: {'epoch': 1, 'val_acc': 0.5}; val_acc is in a line that is not a JSON object "
        "({'epoch': 1, 'val_acc': 0.5}); print(json.dumps({...})) writes one"
    )


def test_a_script_that_scores_every_second_epoch_passes_the_smoke_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = SCRIPT.format(scores="epoch % 2 == 0").replace("args = ", "flags.add_argument('--lr')\nargs = ")
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "space.yaml").write_text(
        "parameters: {lr: {values: [0.1, 0.2]}}\n"
        "search:\n  trainable: command\n  ladder: {epochs: [2, 4]}\n  command:\n"
        "    {run: '{python} script.py --epochs {epochs} --out {checkpoint_dir}', metric: val_acc,\n"
        "     mode: max, resume: '--resume {checkpoint_dir}', defaults: {lr: 0.1}}\n"
    )
    arguments = ["--space", str(tmp_path / "space.yaml")]
    assert cli.run("train", [*arguments, "--smoke"]) == 0, capsys.readouterr().out
    output = capsys.readouterr().out
    assert "passed  resume: largest difference 0" in output
    assert "precision" not in output  # which is the script's own affair


LOGGING = """
import json, logging
logging.basicConfig(level=logging.INFO)
for epoch in (1, 2):
    logging.info(json.dumps({COUNT"val_acc": epoch / 100}))
"""


def test_scores_on_standard_error_count_where_standard_output_has_none(tmp_path: Path) -> None:
    script = """print('{"lr": 0.1, "epochs": 2}')\n""" + LOGGING.replace("COUNT", '"epoch": epoch, ')
    assert values(tmp_path, script, 2) == [{"val_acc": 0.01}, {"val_acc": 0.02}]


def test_a_score_behind_other_text_and_without_its_epoch_is_hinted_at(tmp_path: Path) -> None:
    hint = r'val_acc after other text \(INFO:root:\) counts only if its object also has an "epoch"'
    with pytest.raises(BadResult, match=hint):
        values(tmp_path, LOGGING.replace("COUNT", ""), 2)


def test_standard_error_is_left_alone_where_standard_output_has_scores(tmp_path: Path) -> None:
    printed = 'print(json.dumps({"val_acc": 0.5 + epoch / 100}), flush=True)'
    both = LOGGING.replace("COUNT", "").replace("    logging", f"    {printed}\n    logging")
    assert values(tmp_path, both, 2) == [{"val_acc": 0.51}, {"val_acc": 0.52}]


def test_numbers_of_nested_objects_have_dotted_names(tmp_path: Path) -> None:
    script = printing('{"epoch": 1, "val": {"acc": 0.5}, "train": {"loss": 2, "by": {"head": 1}}}')
    assert values(tmp_path, script, 1, metric="val.acc") == [
        {"val.acc": 0.5, "train.loss": 2.0, "train.by.head": 1.0}
    ]


def test_an_epoch_may_be_written_in_any_case(tmp_path: Path) -> None:
    script = printing('{"Epoch": 2, "val_acc": 0.5}', '{"Epoch": 4, "val_acc": 0.75}')
    assert values(tmp_path, script) == [{}, {"val_acc": 0.5}, {}, {"val_acc": 0.75}]


@pytest.mark.parametrize("name", ["../../lost", "/tmp/lost-by-jouletune", "link/lost"])
def test_a_states_files_stay_in_the_trials_folder(tmp_path: Path, name: str) -> None:
    files = Files(tmp_path / "trial")
    (files.checkpoint / "link").symlink_to(tmp_path)
    with pytest.raises(UnreadableCheckpoint, match="which is outside of its folder"):
        files.unpack({"weights/a.bin": b"1", name: b"2"})
    assert not (tmp_path / "lost").exists()
    assert not (files.checkpoint / "weights").exists()
    files.unpack({"weights/a.bin": b"1"})
    assert files.packed()["weights/a.bin"] == b"1"
