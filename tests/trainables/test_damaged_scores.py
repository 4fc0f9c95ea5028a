"""Files of scores that a kill, a resumed script or a spreadsheet left odd, and metrics that never come."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter

from tests.support.command_spaces import made_command
from trainables.command.ecosystems import MetricsSpec
from trainables.command.metric_sources import MetricSource, source_of
from trainables.command.missing_scores import Strays, Validations, is_near
from trainables.core.contract import BadResult, Budget, Training, TrainingContext

LONG = Budget(epochs=50)
CSV = {"csv": "{checkpoint_dir}/**/results.csv"}


def csv_source(folder: Path, **settings: str) -> MetricSource:
    return source_of(
        MetricsSpec.of({"csv": {"file": "{checkpoint_dir}/**/*.csv", **settings}}), "acc", folder, folder
    )


def rows_of(folder: Path, text: str, **settings: str) -> list[dict[str, Any]]:
    (folder / "a.csv").write_text(text, encoding="utf-8")
    return csv_source(folder, **settings).new(is_final=True)


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("\ufeffepoch,acc\n1,0.5\n2,0.7\n", {1: 0.5, 2: 0.7}),  # as Excel saves it
        ('"epoch  ", "acc "\n1,0.5\n2,0.7\n', {1: 0.5, 2: 0.7}),
        ("epoch,acc\r\n1,0.5\r\n2,0.7\r\n", {1: 0.5, 2: 0.7}),
        ("\n\nepoch,acc\n\n1,0.5\n\n2,0.7", {1: 0.5, 2: 0.7}),
        ("epoch,acc\n1,0.5\nepoch,acc\n2,0.7\n", {1: 0.5, 2: 0.7}),  # timm's, resumed
        ("epoch,acc\n1,0.5\nepoch,loss,acc\n2,9,0.7\n", {1: 0.5, 2: 0.7}),  # a column more from there on
        ("epoch,acc\n1,0.5\nepoch, acc\n2,0.7\n", {1: 0.5, 2: 0.7}),
        ("epoch;acc\n1;5e-1\n2;.7\n", {1: 0.5, 2: 0.7}),
        ("epoch\tacc\n1\t0.5\n2\t0.7\n", {1: 0.5, 2: 0.7}),
        ("epoch,acc,\n1,0.5,\n2,0.7,\n", {1: 0.5, 2: 0.7}),  # a comma after each cell
        ("epoch,kind,acc\n1,epoch,0.5\n2,epoch,0.7\n", {1: 0.5, 2: 0.7}),  # no header in between
        ("0,acc\n1,0.5\n", {None: 0.5}),  # a header that is a number
        ("epoch,acc\n1,0.5\n2,inf\n3,-Infinity\n", {1: 0.5, 2: math.inf, 3: -math.inf}),
        ("epoch,acc\n1.0,0.5\n2.0,\n3.0,0.7\n", {1: 0.5, 2: None, 3: 0.7}),
        ("epoch,acc\n1,0.5\n2,N/A\n3,None\n4,-\n", {1: 0.5, 2: None, 3: None, 4: None}),
        (" epoch   acc\n     1   0.5\n     2   0.7\n", {1: 0.5, 2: 0.7}),
        ("epoch acc, train acc\n", {}),
        ("# started in May\nepoch,acc\n1,0.5\n2,0.7\n", {1: 0.5, 2: 0.7}),
        ("# a run\n# epoch acc\n1 0.5\n2 0.7\n", {1: 0.5, 2: 0.7}),  # as NumPy's savetxt writes it
        ("#epoch,acc\n1,0.5\n# resumed\n2,0.7\n", {1: 0.5, 2: 0.7}),
        ("epoch,acc\n1,50.5%\n2,70 %\n", {1: 50.5, 2: 70.0}),
    ],
)
def test_an_odd_table_gives_its_rows(tmp_path: Path, text: str, scores: dict[int, float | None]) -> None:
    assert {row.get("epoch"): row.get("acc") for row in rows_of(tmp_path, text)} == scores


def test_brackets_without_end_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[" * 100_000)
    assert source_of(MetricsSpec.of("jsonl"), "acc", tmp_path, tmp_path).new(is_final=True) == []


def test_a_folder_whose_name_is_a_pattern_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "run [a-b] *"
    folder.mkdir()
    assert rows_of(folder, "epoch,acc\n1,0.5\n") == [{"epoch": 1, "acc": 0.5}]
    history = folder / "wandb.jsonl"
    history.write_text('{"acc": 0.5}\n')
    assert source_of(MetricsSpec.of("wandb"), "acc", folder, history).new(is_final=True) == [{"acc": 0.5}]


def test_nan_is_a_number(tmp_path: Path) -> None:
    assert [math.isnan(row["acc"]) for row in rows_of(tmp_path, "epoch,acc\n1,nan\n2,NaN\n3,-nan\n")] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "epoch,acc\n1,0,5\n",
            "its first row has 3 cells (1, 0, 5) and its header 2 names; write decimals with a",
        ),
        ("epoch,loss,acc\n1,0,25,0,5\n", "its first row has 5 cells (1, 0, 25, 0, 5) and its header 3 names"),
        ("acc,epoch\n0,5,1\n", "its first row has 3 cells (0, 5, 1) and its header 2 names"),
    ],
)
def test_decimal_commas_between_commas_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BadResult) as refused:
        rows_of(tmp_path, text)
    assert reason in str(refused.value)
    assert "a.csv: " in str(refused.value)


def test_a_row_that_a_kill_cut_and_the_next_run_continued_is_left_out_and_named(tmp_path: Path) -> None:
    source = csv_source(tmp_path)
    (tmp_path / "a.csv").write_text("epoch,acc\n1,0.5\n2,0.2,0.7\n3,0.8\n")
    assert source.new(is_final=True) == [{"epoch": 1, "acc": 0.5}, {"epoch": 3, "acc": 0.8}]
    assert source.notes == {
        "unread": "1 rows of a.csv are left out: more cells than the header has names, as where a kill cut a "
        "row"
    }


def test_rows_of_two_runs_in_one_folder_are_named(tmp_path: Path) -> None:
    source = csv_source(tmp_path)
    for name in ("train", "train2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.csv").write_text("epoch,acc\n1,0.5\n")
    assert len(source.new(is_final=True)) == 2
    assert source.notes == {
        "files": "2 files have rows: train/results.csv, train2/results.csv; for an epoch in several of them, "
        "the first counts"
    }


def test_a_file_that_is_replaced_by_another_gives_the_rows_of_both(tmp_path: Path) -> None:
    source = csv_source(tmp_path)
    path = tmp_path / "a.csv"
    path.write_text("epoch,acc\n1,0.5\n2,0.7\n")
    assert [row["epoch"] for row in source.new(is_final=False)] == [1, 2]
    path.rename(tmp_path / "a.csv.1")
    path.write_text("epoch,acc\n3,0.75\n")
    assert source.new(is_final=False) == [{"epoch": 3, "acc": 0.75}]


def test_a_table_that_is_written_whole_each_time_gives_each_row_once(tmp_path: Path) -> None:
    source = csv_source(tmp_path)
    found = []
    for last in range(1, 5):
        lines = ["epoch,acc", *(f"{epoch},{epoch / 8}" for epoch in range(1, last + 1))]
        for part in (lines[:1], lines[:-1], lines):  # read while it is written
            (tmp_path / "a.csv").write_text("\n".join(part) + "\n")
            found += source.new(is_final=False)
    assert [row["acc"] for row in found] == [0.125, 0.25, 0.375, 0.5]


def test_a_row_whose_numbers_are_written_otherwise_is_the_same(tmp_path: Path) -> None:
    source = csv_source(tmp_path)
    (tmp_path / "a.csv").write_text(",acc\n0,1\n")
    assert source.new(is_final=False) == [{"acc": 1.0}]
    (tmp_path / "a.csv").write_text(",acc\n0,1.0\n1,0.5\n")
    assert source.new(is_final=True) == [{"acc": 0.5}]


def test_one_array_of_json_is_read_each_time_it_is_written_whole(tmp_path: Path) -> None:
    spec = MetricsSpec.of({"jsonl": "{checkpoint_dir}/history.json"})
    source = source_of(spec, "val.acc", tmp_path, tmp_path)
    found = []
    for last in range(1, 4):
        history = [{"epoch": epoch, "val": {"acc": epoch / 8}} for epoch in range(1, last + 1)]
        (tmp_path / "history.json").write_text(json.dumps(history, indent=2)[:-1])
        assert source.new(is_final=False) == []  # half written
        (tmp_path / "history.json").write_text(json.dumps(history, indent=2))
        found += source.new(is_final=False)
    assert found == [{"epoch": epoch, "val.acc": epoch / 8} for epoch in (1, 2, 3)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{\n "epoch": 2,\n "val": {"acc": 0.5}\n}', [{"epoch": 2, "val.acc": 0.5}]),
        (
            '{"loss": [2, 1], "val_acc": [0.1, 0.2]}',
            [{"loss": 2, "val_acc": 0.1}, {"loss": 1, "val_acc": 0.2}],
        ),
        ('started\n{"Epoch": 1, "val_acc": 0.1}\n', [{"epoch": 1, "val_acc": 0.1}]),
        ("[]", []),
        ("{", []),
    ],
)
def test_a_file_of_json_is_read_however_it_is_laid_out(
    tmp_path: Path, text: str, found: list[dict[str, Any]]
) -> None:
    (tmp_path / "history.json").write_text(text)
    spec = MetricsSpec.of({"jsonl": "{checkpoint_dir}/history.json"})
    assert source_of(spec, "val_acc", tmp_path, tmp_path).new(is_final=True) == found


def test_epochs_count_by_a_column_of_any_case(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "Epoch,acc\n2,0.5\n4,0.7\n") == [
        {"epoch": 2, "acc": 0.5},
        {"epoch": 4, "acc": 0.7},
    ]


def events(folder: Path) -> bytes:
    with SummaryWriter(str(folder / "whole")) as writer:
        for step in (1, 2):
            writer.add_scalar("acc", step / 4, step)
    return next((folder / "whole").iterdir()).read_bytes()


def event_source(folder: Path) -> MetricSource:
    spec = MetricsSpec.of({"tensorboard": {"file": "{checkpoint_dir}/run/*", "epoch": "step"}})
    return source_of(spec, "acc", folder, folder)


def test_events_that_a_kill_cut_are_followed_by_those_of_the_next_process(tmp_path: Path) -> None:
    whole = events(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "events.out.tfevents.1").write_bytes(whole[:-5])
    source = event_source(tmp_path)
    assert source.new(is_final=False) == [{"acc": 0.25, "epoch": 1}]
    (run / "events.out.tfevents.2").write_bytes(whole)
    assert [row["epoch"] for row in source.new(is_final=True)] == [1, 2]
    assert source.notes == {}


def test_damaged_events_are_named_and_those_before_them_read(tmp_path: Path) -> None:
    whole = events(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "e").write_bytes(whole[:-30] + b"\xff" * 14 + whole[-16:])
    source = event_source(tmp_path)
    assert [row["epoch"] for row in source.new(is_final=True)] == [1]
    assert source.notes in ({}, {"unread": "not read to its end, as its records are damaged: e"})
    assert source.new(is_final=True) == []


# What says that the metric will not come.
@pytest.mark.parametrize(
    ("rows", "num_epochs"),
    [
        ([{"epoch": 0, "loss": 1}, {"epoch": 0, "val_loss": 1}, {"epoch": 1, "val_loss": 1}], 2),
        ([{"epoch": 0.5, "val_loss": 1}, {"epoch": 1, "loss": 1}], 0),
        ([{"val/loss": 1}] * 9, 0),  # by batch, before any training
        ([{"loss": 1}, *[{"val/loss": 1}] * 9, {"loss": 1}, {"val/loss": 1}], 2),
        ([{"train/loss": 1, "val/loss": 1}] * 4, 4),
        ([{"lr": 0.1, "value": 1}] * 4, 0),  # no word for validation
        ([{"epoch": True, "val": 1}], 0),
    ],
)
def test_validated_epochs_are_counted(rows: list[dict[str, Any]], num_epochs: int) -> None:
    validations = Validations()
    for row in rows:
        validations.see(row)
    assert validations.num_epochs == num_epochs


@pytest.mark.parametrize(
    ("metric", "name", "near"),
    [
        *(
            ("val_acc", "val/acc", True),
            ("val_acc", "val_accuracy", True),
            ("mAP50", "metrics/mAP50(B)", True),
        ),
        *(("val_acc", "val_loss", False), ("eval_top1", "eval_loss", False), ("val/FID", "val/loss", False)),
        ("eval_accuracy", "eval_acc", True),
    ],
)
def test_a_name_is_near_where_it_may_be_meant(metric: str, name: str, near: bool) -> None:
    assert is_near(metric, ["epoch", name]) is near


TABLE = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "results.csv"
for epoch in range(1, 4):
    with path.open("a") as file:
        file.write("HEAD\\n" * (epoch == 1) + f"{epoch},0.5,0.5\\n")
time.sleep(120)
"""


def started(folder: Path, script: str, **changes: Any) -> Training:
    run = ["{python}", "script.py", "--out", "{checkpoint_dir}"]
    changes = {"run": run, "resume": [], "test": [], "defaults": {"lr": 0.1}, "first_epoch": None} | changes
    trainable = made_command(folder, script, **{"graceful_s": 1.0, **changes}).load()
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder, folder=folder / "trial")
    return trainable.start(trainable.hparams(), LONG, context)


def failure(folder: Path, script: str, **changes: Any) -> str:
    training = started(folder, script, **changes)
    with pytest.raises(BadResult) as raised:
        [training.run_epoch(LONG) for _ in range(LONG.epochs)]
    return str(raised.value)


@pytest.mark.parametrize(
    ("script", "changes", "reason"),
    [
        (
            TABLE.replace("HEAD", "epoch,metrics/acc,val/loss"),
            {"metrics": CSV},
            "the script reported no val_acc until epoch 3: results.csv: has the columns epoch, metrics/acc, "
            "val/loss",
        ),
        (
            TABLE.replace("HEAD", "epoch,val/acc,x")
            .replace("results.csv", "log.jsonl")
            .replace('f"{epoch},0.5,0.5', '\'{"epoch": %d, "val/acc": 1}\' % epoch + "'),
            {"metrics": {"jsonl": "{checkpoint_dir}/log.jsonl"}},
            "the script reported no val_acc until epoch 3: log.jsonl: has the keys epoch, val/acc; "
            "did you mean val/acc?",
        ),
        (
            """
            import time, wandb
            wandb.init()
            for epoch in range(3):
                wandb.log({"loss": 1.0})
                wandb.log({"val/acc": 0.5})
            time.sleep(120)
            """,
            {"metrics": "wandb"},
            "the script reported no val_acc until epoch 3: wandb.jsonl: wandb.log gave loss, val/acc; "
            "did you mean val/acc?",
        ),
    ],
)
def test_a_metric_that_will_not_come_is_named_while_the_script_trains_on(
    tmp_path: Path, script: str, changes: dict[str, Any], reason: str
) -> None:
    assert failure(tmp_path, script, **changes) == reason


def test_a_script_that_scores_every_few_epochs_is_waited_for(tmp_path: Path) -> None:
    script = """
        import json, pathlib, sys
        with (pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "log.jsonl").open("w") as file:
            for epoch in range(1, 51):
                score = {"val_mAP": epoch / 100} if epoch % 25 == 0 else {}
                print(json.dumps({"epoch": epoch, "val_loss": 1.0, **score}), file=file, flush=True)
    """
    training = started(tmp_path, script, metric="val_mAP", metrics={"jsonl": "{checkpoint_dir}/log.jsonl"})
    rows = [training.run_epoch(LONG) for _ in range(LONG.epochs)]
    assert [row["val_mAP"] for row in rows if "val_mAP" in row] == [0.25, 0.5]


def test_a_file_that_is_written_outside_of_the_trials_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("old", "results/run/trials/trial-0001/checkpoint", "runs/train"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "old" / "results.csv").touch()
    counts: dict[str, int] = {}
    strays = Strays("{checkpoint_dir}/**/results.csv", tmp_path, lambda path: counts.get(path.parent.name, 9))
    (tmp_path / "results/run/trials/trial-0001/script.lock").touch()
    for name in ("results/run/trials/trial-0001/checkpoint", "runs/train"):
        (tmp_path / name / "results.csv").touch()
    counts["train"] = 2
    assert strays.seen(1.0) is None, "searched for after 2 s"
    assert strays.seen(2.0) is None, "it counts two epochs alone"
    counts["train"] = 3
    assert strays.seen(5.9) is None, "searched for again after 4 s more"
    assert strays.seen(6.0) == tmp_path / "runs/train/results.csv"


def test_no_file_is_searched_for_by_a_pattern(tmp_path: Path) -> None:
    strays = Strays("{checkpoint_dir}/*.csv", tmp_path, lambda path: 9)
    (tmp_path / "predictions.csv").touch()
    assert strays.seen(100.0) is strays.now() is None


def test_a_script_that_ends_says_where_its_scores_went(tmp_path: Path) -> None:
    script = """
        import pathlib
        pathlib.Path("runs").mkdir()
        pathlib.Path("runs/results.csv").write_text("epoch,val_acc\\n1,0.5\\n")
    """
    assert failure(tmp_path, script, metrics=CSV) == (
        f"the script ended without a val_acc: no file matches {tmp_path}/trial/checkpoint/**/results.csv; "
        f"there is nothing; {tmp_path}/runs/results.csv was written meanwhile: let the script write to "
        "{checkpoint_dir}"
    )


def test_printed_lines_without_the_metric_say_what_they_have(tmp_path: Path) -> None:
    script = """
        import json
        for epoch in range(1, 51):
            print(json.dumps({"epoch": epoch, "train_loss": 1.0, "val_accuracy": 0.5}))
    """
    assert failure(tmp_path, script, first_epoch=1) == (
        "the script reported no val_acc for epoch 50, where a rung ends (it did for: none); set "
        "search.ladder.epochs to epochs that it scores, or let it score this one; its lines have "
        "train_loss, val_accuracy; "
        "did you mean val_accuracy?"
    )
