"""What train.py resumes from, and what it refuses to train on."""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path

import pytest

from search.cli import run as command
from search.space import dump_space
from tests.support.toy_runs import executed, fateful_space, listed, toy_file
from trainables.core.checkpoint import previous_of, read_identity, save_checkpoint

BUDGET = 'budget: was {"epochs": [1, 3, 9]}'
OTHER = '{"epochs": [1, 9]}'


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return toy_file(tmp_path)


def train(space: Path, *flags: object) -> int:
    return command("train", ["--space", str(space), *map(str, flags)])


def scores(folder: Path) -> list[tuple[str, str]]:
    """Epoch and score of each line of history.csv."""
    with (folder / "history.csv").open(newline="") as file:
        return [(row["epoch"], row["val_accuracy"]) for row in csv.DictReader(file)]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (["--hparam", "lr=1e-6"], ["hparams.lr: was 0.05, now 1e-06"]),
        (
            ["--hparam", "batch_size=32"],
            ["hparams.batch_size: was 64, now 32", "hparams.lr: was 0.05, now 0.01"],
        ),
        (["--hparam", "lr=0.05", "--seed", "5"], ["seed: was 0, now 5"]),
        (["--hparam", "lr=0.05", "--set", "search.precision=bf16"], ['precision: was "auto", now "bf16"']),
        (["--hparam", "lr=0.05", "--set", "search.ladder.epochs=[1, 9]"], [f"{BUDGET}, now {OTHER}"]),
        (
            ["--hparam", "lr=0.05", "--full"],
            ['budget: was {"epochs": [1, 3, 9]}, now {"epochs": [9]}'],
        ),
        (
            ["--hparam", "lr=0.02", "--seed", "5", "--set", "search.validation_subset=100"],
            [
                "hparams.lr: was 0.05, now 0.02",
                "seed: was 0, now 5",
                "validation_subset: was nothing, now 100",
            ],
        ),
    ],
)
def test_a_folder_of_another_training_is_refused_with_every_difference(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str], flags: list[str], lines: list[str]
) -> None:
    out = tmp_path / "out"
    assert train(space, "--hparam", "lr=0.05", "--out", out, "--keep-every", 4) == 0
    before = contents(out)
    capsys.readouterr()
    assert train(space, *flags, "--out", out) == 2
    output = capsys.readouterr()
    assert "epoch" not in output.out
    files = "(checkpoint.pt, epoch-0004.pt, epoch-0008.pt)"
    first, *found, last = output.err.splitlines()
    assert first == f"{out} holds another training:"
    assert sorted(found) == sorted(f"  {line} {files}" for line in lines)
    assert last == "give another --out or the earlier settings, or move these files away"
    assert contents(out) == before


def test_a_folder_of_another_space_s_training_is_refused(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(space, "--out", tmp_path / "out") == 0
    fateful_space(tmp_path)
    dumped = tmp_path / "made.yaml"
    assert train(dumped, "--out", tmp_path / "out") == 2
    output = capsys.readouterr().err
    assert 'trainable: was "toy", now "fateful.py"' in output
    assert "hparams.score: was nothing, now 0.5" in output
    assert "hparams.lr: was 0.01, now nothing" in output


def test_a_trial_s_own_folder_is_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = fateful_space(tmp_path)
    run, _ = executed(space, tmp_path, listed({"fate": "fine", "score": 0.5}))
    dump_space(space, tmp_path / "run.yaml")
    folder = run.ledger.trial_folder("trial-0000")
    assert train(tmp_path / "run.yaml", "--out", folder) == 2
    output = capsys.readouterr().err
    assert f'run: was "{run.history.run_id}", now nothing (checkpoint.pt)' in output
    assert 'trial: was "trial-0000", now "train" (checkpoint.pt)' in output


def test_weights_of_another_program_are_not_written_over(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("final.pt", "best.pt", "epoch-0001.pt"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b"precious weights of another program, and longer than a digest" * 3)
        assert train(space, "--out", folder, "--test") == 2
        assert f"{name} is damaged (it does not end with its SHA-256" in capsys.readouterr().err
        assert [path.name for path in folder.iterdir()] == [name]


def test_the_same_settings_resume_and_change_nothing(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(space, "--out", out) == 0
    first = scores(out)
    capsys.readouterr()
    assert train(space, "--out", out) == 0
    assert capsys.readouterr().out.count("epoch ") == 1  # the last one, which the checkpoint was saved after
    assert scores(out) == first


@pytest.mark.parametrize("name", ["epoch-0004.pt", "epoch-0008.pt", "best.pt", "final.pt", "checkpoint.pt"])
def test_every_state_that_a_training_leaves_can_be_resumed(tmp_path: Path, space: Path, name: str) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    assert train(space, "--out", out, "--keep-every", 4, "--test") == 0
    epoch = read_identity(out / name)["epoch"]
    assert train(space, "--resume", out / name, "--out", again, "--test") == 0
    assert scores(again) == scores(out)[epoch - 1 :]
    if epoch < 9:
        assert (again / "test.json").read_text() == (out / "test.json").read_text()


def test_a_state_is_resumed_in_its_own_folder_from_where_it_was(tmp_path: Path, space: Path) -> None:
    out = tmp_path / "out"
    assert train(space, "--out", out, "--keep-every", 2) == 0
    whole = scores(out)
    assert train(space, "--resume", out / "epoch-0002.pt", "--out", out, "--keep-every", 2) == 0
    assert scores(out) == whole
    assert len(whole) == 9


def test_a_trial_s_checkpoint_is_resumed_outside_its_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = fateful_space(tmp_path)
    run, _ = executed(space, tmp_path, listed({"fate": "fine", "score": 0.25}))
    dump_space(space, run.ledger.space_file)
    flags = ("--trial", f"{run.ledger.folder}:trial-0000", "--out", tmp_path / "out")
    state = run.ledger.trial_folder("trial-0000") / "checkpoint.pt"
    assert train(run.ledger.space_file, "--resume", state, *flags) == 0
    assert "epoch 3" in capsys.readouterr().out
    assert train(run.ledger.space_file, "--resume", state, "--hparam", "score=0.5") == 2
    assert "hparams.score: was 0.25, now 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"x" * 5000, None])
def test_a_file_that_is_no_state_is_refused_by_name(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    file = tmp_path / "some.pt"
    if content is not None:
        file.write_bytes(content)
    assert train(space, "--resume", file, "--out", tmp_path / "out") == 2
    output = capsys.readouterr().err
    assert output.startswith(f"--resume: {file} ")
    assert ("does not exist" if content is None else "is damaged") in output
    assert not (tmp_path / "out").exists()


def test_a_whole_file_without_a_training_in_it_is_refused(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path / "state.pt", {"epochs_done": 3})
    assert train(space, "--resume", tmp_path / "state.pt") == 2
    assert "belongs to another training (trainable: was nothing" in capsys.readouterr().err


@pytest.mark.parametrize("check", ["--smoke", "--probe", "--overfit=8"])
def test_a_check_resumes_nothing(
    tmp_path: Path, space: Path, check: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train(space, check, "--resume", tmp_path / "x.pt")
    assert "--resume goes with a training" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_checkpoint_of_train_py_is_reported_and_the_end_is_the_same(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    draw, out = random.Random(seed), tmp_path / "out"
    assert train(space, "--out", out, "--keep-every", 4) == 0
    whole = scores(out)
    shutil.copy(out / "epoch-0004.pt", previous_of(out / "checkpoint.pt"))
    content = bytearray((out / "checkpoint.pt").read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    (out / "checkpoint.pt").write_bytes(content)
    capsys.readouterr()
    assert train(space, "--out", out) == 0
    output = capsys.readouterr().out
    assert "checkpoint.pt is damaged (" in output
    assert "set aside as checkpoint.set-aside-1.pt; the training goes back to epoch 4" in output
    assert scores(out) == whole
