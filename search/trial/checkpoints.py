"""A trial's checkpoints on a disk that may fail. Each names its owner; losing one costs epochs only."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from search.trial.row import EpochRow
from search.trial.trial_folder import TrialFolder
from trainables.core.checkpoint import (
    UnreadableCheckpoint,
    UnwrittenCheckpoint,
    load_checkpoint,
    previous_of,
    read_identity,
    save_checkpoint,
)

Notes = dict[str, str]
Identity = Mapping[str, Any]

# Beside the entries of the training's own state, which thus stays readable for users who want its weights.
_PROGRESS = "jouletune"
_PLACE = ("run", "trial")  # where a training belongs; the rest of its identity is what it trains
_MOST_HPARAMS_BYTES = 32_000  # of JSON: an identity has room for 60 KB


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """Where a trial's state is kept and how often it is written.

    Attributes:
        path: Full state; a trial that finds its own there resumes from it.
        every_s: Longest stretch of training that a kill may cost; rung ends are saved in any case.
        keep_every: Also keep the state after each multiple of this many epochs, as epoch-0010.pt and so on.
        known_epochs: Epochs of the trial that the journal has; None without a journal. A state that is more
            than one epoch ahead is not used: the rows between would be missing permanently.
        must_save: Called after each epoch; returns whether its state must be saved in any case.
    """

    path: Path
    every_s: float = 60.0
    keep_every: int | None = None
    known_epochs: int | None = None
    must_save: Callable[[], bool] = bool

    def kept(self, epoch: int) -> Path | None:
        """Where the state after `epoch` is kept permanently; None if it is not."""
        if self.keep_every is None or epoch % self.keep_every:
            return None
        return TrialFolder(self.path.parent).kept(epoch)


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """The state of a training after an epoch.

    Attributes:
        training: The training's own state.
        epochs_done: Epochs that the training counted: fewer than the trial's where each rung is a training.
        row: Row of the epoch that it was saved after.
        best: `FinalOutputs.best` at that time.
        has_weights_only: `training` holds what was learnt, without what resuming needs.
        measured: Numbers that were known before the first epoch, as in the rows.
    """

    training: Mapping[str, Any]
    epochs_done: int
    row: EpochRow
    best: list[float] | None = None
    has_weights_only: bool = False
    measured: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        progress = {"epochs_done": self.epochs_done, "row": self.row.to_dict(), "best": self.best}
        if self.has_weights_only:
            progress["has_weights_only"] = True
        if self.measured:
            progress["measured"] = dict(self.measured)
        return {**self.training, _PROGRESS: progress}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SavedState:
        training, progress = dict(content), content[_PROGRESS]
        del training[_PROGRESS]
        row = EpochRow.from_dict(progress["row"])
        return cls(training=training, **{**progress, "row": row})


def identity_of(*, run: str, trial: str, hparams: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """The identity that a trial's states carry, as it reads back from JSON.

    Hparams of more than 32 KB are replaced by their SHA-256.
    """
    text = json.dumps(dict(hparams), sort_keys=True)
    if len(text) > _MOST_HPARAMS_BYTES:
        text = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()})
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return {"run": run, "trial": trial, "hparams": json.loads(text), **plain}


def differences(found: Identity, expected: Identity) -> list[str]:
    """Describe every setting in which the identity `found` differs from the one that is `expected`."""
    was, now = _flat(found), _flat(expected)
    names = [name for name in now if _text(was.get(name)) != _text(now[name])]
    names += [
        name for name in was if name.startswith("hparams.") and name not in now and "hparams" in expected
    ]
    return [f"{name}: was {_text(was.get(name))}, now {_text(now.get(name))}" for name in names]


def settings_in(identity: Identity) -> dict[str, Any]:
    """The part of an identity that says what is trained, without run and trial."""
    return {name: value for name, value in identity.items() if name not in _PLACE}


def check_of(path: Path, expected: Identity, known_epochs: int | None, found: Identity) -> None:
    """Check that a state is of the training that is `expected`, and not too far ahead of the journal.

    Args:
        known_epochs: Epochs that the journal has; None without a journal. A state may be one epoch ahead: the
            row of that epoch was lost on the way, and the state has it. Further ahead, rows would be missing.

    Raises:
        UnreadableCheckpoint: The check failed; the message says why.
    """
    changed = differences(found, expected)
    is_elsewhere = [name for name in _PLACE if name in expected and found.get(name) != expected[name]]
    if "run" in is_elsewhere:
        raise UnreadableCheckpoint(f"{path} belongs to {found.get('trial') or 'a training'} of another run")
    if is_elsewhere:
        raise UnreadableCheckpoint(f"{path} belongs to {found.get('trial') or 'another training'}")
    if changed:
        raise UnreadableCheckpoint(f"{path} belongs to another training ({'; '.join(changed)})")
    if known_epochs is not None and found.get("epoch", 0) > known_epochs + 1:
        raise UnreadableCheckpoint(
            f"{path} is of epoch {found['epoch']}, but the journal has {known_epochs} epochs of the trial"
        )


def read_state(
    checkpointing: Checkpointing | None, identity: Identity, resume: Path | None
) -> tuple[SavedState | None, Notes]:
    """Read the state that a trial resumes from: `resume` if given, else its newest checkpoint, if any."""
    if resume:
        return read_file(resume, identity), {}
    if checkpointing:
        return read_newest(checkpointing.path, identity, checkpointing.known_epochs)
    return None, {}


def read_newest(
    path: Path, identity: Identity, known_epochs: int | None = None
) -> tuple[SavedState | None, Notes]:
    """Read what a trial resumes from: the newest of its two checkpoints that is intact and its own, if any.

    A file that cannot be used is set aside, so that nothing is lost, and named in a note.

    Args:
        identity: Identity of the trial.
        known_epochs: As for `check_of`.
    """
    problems = []
    for file in (path, previous_of(path)):
        check = partial(check_of, file, identity, known_epochs)
        try:
            saved = SavedState.from_dict(load_checkpoint(file, check))
        except FileNotFoundError:
            continue
        except (UnreadableCheckpoint, KeyError, TypeError) as error:
            why = (
                error if isinstance(error, UnreadableCheckpoint) else f"{file} does not hold a trial's state"
            )
            problems.append(f"{why}; {_set_aside_text(file)}")
        else:
            if file != path and not problems:
                problems.append(f"{path} is gone")
            return saved, _notes(path, problems, f"the training goes back to epoch {saved.row.epoch}")
    return None, _notes(path, problems, "the training starts again")


def read_file(path: Path, identity: Identity) -> SavedState:
    """Read the state that `--resume FILE` names, which may be any with the same settings.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableCheckpoint: It is damaged, of other settings, or holds no trial's state.
    """
    content = load_checkpoint(path, partial(check_of, path, settings_in(identity), None))
    try:
        saved = SavedState.from_dict(content)
    except (KeyError, TypeError) as error:
        raise UnreadableCheckpoint(f"{path} does not hold a trial's state") from error
    if saved.has_weights_only:
        raise UnreadableCheckpoint(
            f"{path} holds weights without the optimiser's state; resume from checkpoint.pt, or from "
            "a state that --keep-every left"
        )
    return saved


def save_state(
    path: Path, state: SavedState, identity: Identity | None = None, *, keeps_previous: bool = False
) -> Notes:
    """Write `state`; if it cannot be written, return a note and leave the existing file.

    Args:
        identity: Identity of the trial.
        keeps_previous: Keep the file that this one replaces, as the previous checkpoint.
    """
    before = previous_of(path) if keeps_previous else None
    try:
        save_checkpoint(path, state.to_dict(), {**(identity or {}), "epoch": state.row.epoch}, before=before)
    except UnwrittenCheckpoint as error:
        return {path.stem: f"{path} not written ({error.strerror})"}
    return {}


def drop_previous(path: Path) -> None:
    """Delete the previous checkpoint, once the newest has been read back and found intact.

    Called when a trial leaves its worker: a paused or ended trial keeps one checkpoint, a training one two.
    """
    previous = previous_of(path)
    with contextlib.suppress(OSError, UnreadableCheckpoint):  # then it stays, for the next resume
        if previous.exists():
            read_identity(path)
            previous.unlink()


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used, within its folder, and return its new path.

    Raises:
        OSError: The file cannot be renamed.
    """
    number = 1
    while (aside := path.with_name(f"{path.stem}.set-aside-{number}{path.suffix}")).exists():
        number += 1
    return path.rename(aside)


def _set_aside_text(path: Path) -> str:
    try:
        return f"set aside as {set_aside(path).name}"
    except OSError as error:
        return f"it could not be set aside ({error.strerror})"


def _notes(path: Path, problems: list[str], ending: str) -> Notes:
    return {path.stem: "; ".join([*problems, ending])} if problems else {}


def _flat(identity: Identity) -> dict[str, Any]:
    """The settings of an identity, each hparam on its own, without `epoch`."""
    hparams = {f"hparams.{name}": value for name, value in identity.get("hparams", {}).items()}
    return {**{n: v for n, v in identity.items() if n not in ("hparams", "epoch")}, **hparams}


def _text(value: Any) -> str:
    return "nothing" if value in (None, "") else json.dumps(value, sort_keys=True)
