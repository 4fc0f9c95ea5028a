"""Check whether a run's record is intact, and repair it: nothing is deleted, and a copy is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from search.ledger.history import History
from search.ledger.journal_lines import Scan
from search.ledger.ledger import Ledger
from search.space import SpaceError
from search.trial.checkpoints import Identity, check_of, identity_of, set_aside
from trainables.core.checkpoint import UnreadableCheckpoint, read_identity


@dataclass
class RecordCheck:
    """What was found in one run's folder.

    Attributes:
        whole: What can be relied on.
        notes: What a kill left, and the next start repairs by itself.
        problems: What cannot be relied on, and a repair cuts or sets aside.
        losses: What is needed and only its owner can put back.
    """

    folder: Path
    whole: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def lines(self) -> list[tuple[str, str]]:
        """Every finding with its kind: "whole", "note" or "problem"."""
        kinds = (
            ("whole", self.whole),
            ("note", self.notes),
            ("problem", self.problems),
            ("problem", self.losses),
        )
        return [(kind, line) for kind, lines in kinds for line in lines]


def check_record(ledger: Ledger) -> RecordCheck:
    """Check the run's record, and change nothing."""
    check = RecordCheck(ledger.folder)
    found = ledger.journal.scan()
    _check_journal(found, check)
    _check_space(ledger, found, check)
    _check_states(ledger, History(found.events), check)
    if unknown := ledger.unknown_trials():
        check.problems.append(
            f"{len(unknown)} folders in trials/ are of trials that no intact line of the journal asks for: "
            + ", ".join(unknown)
        )
    return check


def repair_record(ledger: Ledger) -> list[str]:
    """Cut a damaged journal after its last intact line and set aside what it does not know.

    Nothing is deleted: the journal as it was, the folders and the states stay in the run's folder.

    Returns:
        What was done, a line each; empty if the record was intact.

    Raises:
        LedgerError: Another process holds the run, no line of its journal is intact, or the disk cannot be
            written.
    """
    ledger.lock()
    try:
        done = []
        found = ledger.journal.scan()
        if found.problem and not found.is_torn:
            copy, found = ledger.journal.repair()
            done.append(f"cut the journal after line {len(found.events)}; {copy.name} is the original")
        done += [f"set {path} aside as {set_aside(path).name}" for path in _unusable(ledger)]
        done += [f"moved trials/{name} to {ledger.set_aside_folder.name}/" for name in _set_aside(ledger)]
        return done
    finally:
        ledger.unlock()


def repair_lines(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Repair the run's record; yield what was "repaired" and what is "still a problem" afterwards.

    Raises:
        LedgerError: As for `repair_record`.
    """
    yield from (("repaired", line) for line in repair_record(ledger))
    left = check_record(ledger)
    yield from (("still a problem", line) for line in (*left.problems, *left.losses))


def _unusable(ledger: Ledger) -> list[Path]:
    """The states that a check calls a problem."""
    history = History(ledger.events())
    found = []
    for trial_id in history.trials:
        for path in ledger.trial(trial_id).states():
            try:
                _check_state(path, path, history, trial_id)
            except (UnreadableCheckpoint, OSError):
                found.append(path)
    return found


def _check_journal(found: Scan, check: RecordCheck) -> None:
    num_trials = sum(event["event"] == "trial_asked" for event in found.events)
    if found.events:
        last = found.events[-1]
        check.whole.append(
            f"journal: {len(found.events)} lines, up to {last['event']}"
            f"{' of ' + last['trial'] if 'trial' in last else ''}; {num_trials} trials"
        )
    number = found.chain.seq + 1
    if found.is_torn or not (found.events or found.rest):
        check.notes.append(f"journal: line {number} was cut short by a kill; the next start drops it")
    elif found.problem:
        following = f"; {found.num_following} lines follow it" if found.num_following else ""
        check.problems.append(f"journal: line {number} {found.problem}{following}")


def _check_space(ledger: Ledger, found: Scan, check: RecordCheck) -> None:
    """Check whether the run's own copy of its space, with the record of its trainable, can be read."""
    if not any(event["event"] == "trial_asked" for event in found.events):
        return  # a run that was killed before its first trial has none yet
    try:
        space = ledger.read_space()
    except SpaceError as error:
        check.losses.append(
            f"the run cannot be resumed, reported or promoted; put back an intact copy: {error}"
        )
    else:
        check.whole.append(f"{ledger.space_file.name}: a space of {space.trainable}")


def _check_states(ledger: Ledger, history: History, check: RecordCheck) -> None:
    """Check whether each saved state of a known trial is intact and belongs to the trial."""
    for trial_id, trial in history.trials.items():
        for path in ledger.trial(trial_id).states():
            place = path.relative_to(ledger.folder)
            try:
                found = _check_state(path, place, history, trial_id)
            except (UnreadableCheckpoint, OSError) as error:
                text = str(error).replace(str(path), str(place))
                check.problems.append(f"{text}; it is never trained on")
                continue
            check.whole.append(f"{place}: {trial_id} after epoch {found.get('epoch')}")
            if found.get("epoch", 0) > trial.epochs + 1 and path.stem.startswith("checkpoint"):
                check.notes.append(
                    f"{place}: the journal has {trial.epochs} epochs of it; the next start sets it aside"
                )


def _check_state(path: Path, place: Path, history: History, trial_id: str) -> Identity:
    """Check that a state is intact and belongs to the trial; return the identity it carries.

    Raises:
        UnreadableCheckpoint: It is damaged, or another's; the message names `path` or `place`.
        OSError: The storage does not answer.
    """
    trial = history.trials[trial_id]
    found = read_identity(path)
    whose = identity_of(run=history.run_id, trial=trial_id, hparams=trial.hparams, seed=trial.seed)
    check_of(place, whose, None, found)
    return found


def _set_aside(ledger: Ledger) -> list[str]:
    """Move the folders of trials that the journal does not know out of the way; return their names."""
    unknown = ledger.unknown_trials()
    for name in unknown:
        target = ledger.set_aside_folder / name
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{name}-{number}")
        target.parent.mkdir(exist_ok=True)
        ledger.trial_folder(name).rename(target)
    return unknown
