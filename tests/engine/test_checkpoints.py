"""A checkpoint says whose it is and proves that it is whole; what is neither is named, never trained on."""

from __future__ import annotations

import hashlib
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.budget import Ladder
from search.trial import Checkpointing, EpochRow, run_trial
from search.trial.checkpoints import SavedState, differences, identity_of, read_file, read_newest
from tests.support.toy_runs import SteadyMeter
from trainables.core.checkpoint import (
    UnreadableCheckpoint,
    load_checkpoint,
    previous_of,
    read_identity,
    save_checkpoint,
)
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import load_trainable

TOY = load_trainable("toy")
LADDER = Ladder((Budget(epochs=2), Budget(epochs=6)))
MINE = identity_of(run="a1", trial="trial-0003", hparams={"lr": 0.05}, seed=7)
STATE = {"epochs_done": 3, "weights": torch.arange(1000.0)}

Damage = Callable[[Path, random.Random], None]


def rows(path: Path, identity: dict[str, Any] = MINE, **settings: Any) -> Iterator[EpochRow]:
    """The rows of a training that saves after each epoch."""
    context = TrainingContext(data="none", data_seed=0, seed=1, cache_dir=path.parent)
    checkpointing = Checkpointing(path=path, every_s=0.0, **settings)
    return run_trial(
        TOY, TOY.hparams(), LADDER, context, SteadyMeter(), checkpointing=checkpointing, identity=identity
    )


def killed_after(path: Path, num_rows: int, identity: dict[str, Any] = MINE) -> list[EpochRow]:
    """The rows until a kill, which leaves both checkpoints."""
    running = rows(path, identity)
    given = [next(running) for _ in range(num_rows)]
    kept = previous_of(path).read_bytes() if previous_of(path).exists() else None
    running.close()  # type: ignore[attr-defined]
    if kept is not None:
        previous_of(path).write_bytes(kept)
    return given


def flip_a_bit(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def zero_a_block(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start, length = draw.randrange(len(content) - 64), draw.randint(33, 512)
    if any(content[start : start + length]):
        content[start : start + length] = bytes(len(content[start : start + length]))
    else:
        content[-1] ^= 1
    path.write_bytes(content)


def swap_two_blocks(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    at = draw.randrange(1, len(content) - 1)
    path.write_bytes(content[at:] + content[:at])


def add_bytes(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.randint(1, 300)))


def zero_all(path: Path, draw: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def put_a_folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("")


def put_a_pipe(path: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def put_another_format(path: Path, draw: random.Random) -> None:
    torch.save({"training": {"epochs_done": 5}}, path)


def put_text(path: Path, draw: random.Random) -> None:
    path.write_text("no archive at all" * draw.randint(0, 9))


def point_at_itself(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


DAMAGES: tuple[Damage, ...] = (
    flip_a_bit,
    cut,
    zero_a_block,
    swap_two_blocks,
    add_bytes,
    zero_all,
    empty,
    put_a_folder,
    put_a_pipe,
    put_another_format,
    put_text,
    point_at_itself,
)


def test_the_file_proves_itself_to_a_shell_and_is_what_torch_reads(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_checkpoint(path, STATE, MINE)
    content = path.read_bytes()
    assert hashlib.sha256(content[:-64]).hexdigest() == content[-64:].decode()
    assert read_identity(path) == MINE
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    for plain in (torch.load(path, weights_only=True, map_location="cpu"), load_checkpoint(path)):
        assert plain.keys() == STATE.keys()
        assert torch.equal(plain["weights"], STATE["weights"])


def test_every_flipped_bit_of_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"epochs_done": 3}, MINE)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        with pytest.raises(UnreadableCheckpoint, match=r"state\.pt is damaged"):
            read_identity(path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_named_and_the_one_before_resumed(
    tmp_path: Path, damage: Damage
) -> None:
    for number in range(4):
        draw, path = random.Random(f"{damage.__name__} {number}"), tmp_path / str(number) / "checkpoint.pt"
        undisturbed = [row.metrics for row in rows(tmp_path / f"whole-{number}" / "checkpoint.pt")]
        killed_after(path, 4)
        damage(path, draw)
        first, *rest = rows(path)
        assert (first.epoch, first.is_replay) == (3, True)
        assert [row.metrics for row in rest] == undisturbed[3:]
        note = rest[0].notes["checkpoint"]
        assert note.startswith(str(path))
        assert note.endswith("set aside as checkpoint.set-aside-1.pt; the training goes back to epoch 3")
        assert {each.name for each in path.parent.iterdir()} == {"checkpoint.pt", "checkpoint.set-aside-1.pt"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_both_are_damaged_the_training_starts_again(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "trial" / "checkpoint.pt"
    undisturbed = [row.metrics for row in rows(tmp_path / "whole" / "checkpoint.pt")]
    killed_after(path, 4)
    for each in (path, previous_of(path)):
        damage(each, random.Random(damage.__name__))
    again = list(rows(path))
    assert [row.metrics for row in again] == undisturbed
    note = again[0].notes["checkpoint"]
    assert f"{path} " in note
    assert f"{previous_of(path)} " in note
    assert note.endswith("set aside as checkpoint-previous.set-aside-1.pt; the training starts again")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": "b2"}, "belongs to trial-0003 of another run"),
        ({"trial": "trial-0004"}, "belongs to trial-0004"),
        ({"seed": 8}, "belongs to another training (seed: was 8, now 7)"),
        ({"hparams": {"lr": 1e-6}}, "belongs to another training (hparams.lr: was 1e-06, now 0.05)"),
        (
            {"hparams": {"lr": 0.05, "depth": 2}},
            "belongs to another training (hparams.depth: was 2, now nothing)",
        ),
        ({"hparams": {}, "seed": 9}, "(seed: was 9, now 7; hparams.lr: was nothing, now 0.05)"),
        ({"run": "b2", "trial": ""}, "belongs to a training of another run"),
    ],
)
def test_a_whole_checkpoint_of_another_training_is_found_by_what_it_says_it_is_of(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    killed_after(path, 3, {**MINE, **changes})
    previous_of(path).unlink()
    swapped = path.read_bytes()
    first, *_ = rows(path)
    assert first.epoch == 1
    assert message in first.notes["checkpoint"]
    assert (tmp_path / "checkpoint.set-aside-1.pt").read_bytes() == swapped


def test_two_trials_whose_files_were_swapped_both_start_again_and_lose_no_file(tmp_path: Path) -> None:
    paths = [tmp_path / name / "checkpoint.pt" for name in ("trial-0003", "trial-0004")]
    for path in paths:
        killed_after(path, 3, {**MINE, "trial": path.parent.name})
        previous_of(path).unlink()
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    for path, content in zip(paths, reversed(contents), strict=True):
        first, *_ = rows(path, {**MINE, "trial": path.parent.name})
        assert (first.epoch, first.is_replay) == (1, False)
        assert (path.parent / "checkpoint.set-aside-1.pt").read_bytes() == content


@pytest.mark.parametrize(("known", "first_epoch"), [(5, 4), (4, 4), (3, 4), (2, 3), (1, 1), (0, 1)])
def test_a_checkpoint_is_at_most_one_epoch_ahead_of_the_journal(
    tmp_path: Path, known: int, first_epoch: int
) -> None:
    path = tmp_path / "checkpoint.pt"
    undisturbed = killed_after(path, 4)
    resumed = list(rows(path, known_epochs=known))
    assert resumed[0].epoch == first_epoch
    curve = {row.epoch: row.metrics for row in [*undisturbed[:known], *resumed]}
    assert sorted(curve) == [1, 2, 3, 4, 5, 6]
    if known < 3:
        assert f"is of epoch 4, but the journal has {known} epochs" in str(
            [row.notes.get("checkpoint") for row in resumed]
        )


def test_a_training_has_two_checkpoints_and_one_that_has_left_its_worker_has_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    running = rows(path)
    next(running)
    assert {each.name for each in tmp_path.iterdir()} == {"checkpoint.pt"}
    for epoch in (2, 3):
        next(running)
        assert (read_identity(path)["epoch"], read_identity(previous_of(path))["epoch"]) == (epoch, epoch - 1)
    running.close()  # type: ignore[attr-defined]
    assert {each.name for each in tmp_path.iterdir()} == {"checkpoint.pt"}


def test_the_one_before_stays_where_the_newest_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    running = rows(path)
    for _ in range(3):
        next(running)
    flip_a_bit(path, random.Random(0))
    running.close()  # type: ignore[attr-defined]
    assert read_identity(previous_of(path))["epoch"] == 2


def test_a_file_system_without_hard_links_keeps_two_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2, 3):
        save_checkpoint(path, {"epochs_done": epoch}, before=previous_of(path))
    assert (load_checkpoint(path), load_checkpoint(previous_of(path))) == (
        {"epochs_done": 3},
        {"epochs_done": 2},
    )


def test_a_newest_checkpoint_that_is_gone_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    killed_after(path, 4)
    path.unlink()
    saved, notes = read_newest(path, MINE)
    assert saved
    assert saved.row.epoch == 3
    assert notes == {"checkpoint": f"{path} is gone; the training goes back to epoch 3"}


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")]
)
def test_a_file_that_answers_nothing_is_a_damage_and_a_storage_that_is_gone_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    path = tmp_path / "checkpoint.pt"
    killed_after(path, 2)
    opened = Path.open

    def refuse(self: Path, *arguments: Any, **others: Any) -> Any:
        if self == path:
            raise error
        return opened(self, *arguments, **others)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableCheckpoint, match=f"cannot be read \\({error.strerror}\\)"):
        read_identity(path)
    error.errno = 116  # stale file handle: it may pass
    with pytest.raises(OSError, match="Errno 116"):
        read_newest(path, MINE)
    assert path.exists()


@pytest.mark.parametrize("damage", [flip_a_bit, cut, empty, put_a_folder, put_another_format])
def test_a_file_that_was_asked_for_by_name_is_refused_where_it_is_damaged(
    tmp_path: Path, damage: Damage
) -> None:
    path = tmp_path / "checkpoint.pt"
    killed_after(path, 2)
    damage(path, random.Random(1))
    with pytest.raises(UnreadableCheckpoint, match=r"checkpoint\.pt is (damaged|not a file)"):
        read_file(path, MINE)
    assert path.exists()


def test_a_file_that_was_asked_for_by_name_may_be_of_another_run_but_of_no_other_settings(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.pt"
    killed_after(path, 2)
    assert read_file(path, {**MINE, "run": "", "trial": "train"}).row.epoch == 2
    with pytest.raises(UnreadableCheckpoint, match="seed: was 7, now 8"):
        read_file(path, {**MINE, "seed": 8})


def test_a_state_survives_its_file_whatever_its_training_names_its_entries(tmp_path: Path) -> None:
    row = EpochRow(epoch=5, rung=1, metrics={"val_accuracy": 0.5}, seconds=1.0)
    state = SavedState(training={"row": 1, "best": 2, "training": 3}, epochs_done=2, row=row, best=[1, 0.5])
    save_checkpoint(tmp_path / "state.pt", state.to_dict())
    assert SavedState.from_dict(load_checkpoint(tmp_path / "state.pt")) == state


def test_long_hparams_stand_in_an_identity_as_their_digest() -> None:
    long = identity_of(run="a", trial="b", hparams={"text": "x" * 100_000})
    assert list(long["hparams"]) == ["sha256"]
    assert differences(long, identity_of(run="a", trial="b", hparams={"text": "x" * 100_000})) == []
    assert len(differences(long, identity_of(run="a", trial="b", hparams={"text": "x" * 100_001}))) == 1


def test_an_identity_compares_as_json_gives_it_back() -> None:
    odd = {"lr": float("nan"), "sizes": (1, 2), "name": "ä\u2028PK\x05\x06"}
    identity = identity_of(run="a", trial="b", hparams=odd, seed=1)
    assert identity["hparams"]["sizes"] == [1, 2]
    assert differences(identity, identity_of(run="a", trial="b", hparams=odd, seed=1)) == []


def test_a_name_with_an_archive_s_own_signature_does_not_hide_whose_a_file_is(tmp_path: Path) -> None:
    identity = identity_of(run="PK\x05\x06", trial="trial-0000", hparams={"x": "PK\x05\x06" * 50})
    save_checkpoint(tmp_path / "state.pt", {"bytes": b"PK\x05\x06" * 20}, identity)
    assert read_identity(tmp_path / "state.pt") == identity
    assert load_checkpoint(tmp_path / "state.pt") == {"bytes": b"PK\x05\x06" * 20}


def test_a_saved_row_is_replayed_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    *_, last = killed_after(path, 3)
    assert next(rows(path)) == replace(last, is_replay=True)
