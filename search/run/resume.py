"""Resuming a run: whether that is possible, what its journal says, and the command for it.

Ray's own restore loses what came after its last snapshot (10 s or more) and the scheduler's state entirely,
and silently starts a new run if its state file is torn. Here nothing is saved but the journal. Every decision
is a function of the results in their order, so replaying the journal rebuilds rungs, sampler and ranking as
they were; what a kill kept from being written (such as a pause after an epoch's line) follows from the lines
again and is written then. SIGKILL after 10 of 24 trials kept 10, resumed 2 in flight and finished 24.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.command_lines import command_line, command_words
from search.ledger import Ledger, LedgerError, RunFolder
from search.ledger.history import Event, History, TrialRecord
from search.output import Output
from search.run.scheduler import Decision, Ending, TrialScheduler, ending_of
from search.space import Space, SpaceError
from search.space.record import COPIES, digest_of, is_same_code, read_record
from search.space.yaml_file import Override, override_text
from search.trial import EpochRow
from search.trial.failure import Failure
from trainables.core.data_source import data_text


def prepare_to_resume(ledger: Ledger, space: Space, output: Output) -> None:
    """Take over the run in `ledger`: lock it, compare it with the space, repair its journal after a kill.

    Raises:
        LedgerError: Another process holds it, it has other settings or no record of them, or its folder
            cannot be written.
    """
    ledger.lock()
    ledger.check_writable()
    check_same_settings(ledger, space)
    if changed := _changed_code(ledger, space):
        output.note(changed)
    ledger.tidy()
    if dropped := ledger.drop_torn_line():
        output.note(dropped)
    output.print(f"resuming the run in {ledger.folder}")


def check_same_settings(ledger: Ledger, space: Space) -> None:
    """Check that trials of `space` can be compared with those of the run.

    Raises:
        LedgerError: They cannot, or the run has no record of its settings.
    """
    if before := _space_before(ledger):
        if is_same_code(ledger.folder, before.trainable, space.trainable):  # the file may have moved
            before = replace(before, trainable=space.trainable)
        check_resumable(ledger.folder, before, space)


def _space_before(ledger: Ledger) -> Space | None:
    """The space of the run; None if it was killed before its first trial."""
    remedy = "put it back, or give another --name, or --fresh for a new run"
    if not ledger.space_file.exists():
        if all(event["event"] != "trial_asked" for event in ledger.events()):
            return None
        raise LedgerError(
            f"{ledger.space_file} is missing, so it is unknown whether this space matches the "
            f"trials of the run; {remedy}"
        )
    try:
        return ledger.read_space()
    except SpaceError as error:
        raise LedgerError(f"the run's own copy of its space cannot be used; {remedy}:\n{error}") from error


def _changed_code(ledger: Ledger, space: Space) -> str:
    """A sentence if the user's file has changed since the last session; empty if it has not."""
    record, path = read_record(ledger.folder), space.trainable.path
    if record is None or record.file is None or path is None or digest_of(path) == record.file.sha256:
        return ""
    return (
        f"{path} has changed since the run's last session (SHA-256 {record.file.sha256[:12]} was recorded): "
        f"scores before and after may not be comparable; the earlier version is in {ledger.folder / COPIES}"
    )


def disk_remedy(command: Sequence[str], folder: Path, *, is_promotion: bool = False) -> str:
    """What to do once the disk can be written again: the command that resumes the run in `folder`."""
    if is_promotion:
        return f"once this is fixed, promote again:\n  {command_line(command)}"
    resume = resume_command(command, folder)
    return f"the journal is kept; once this is fixed, resume with:\n  {resume}"


def has_batch_sizes(folder: Path) -> bool:
    """Whether a run to be resumed knows what batch_size "auto" means: its first choice stays.

    This reads the whole journal, which takes seconds for 5,000 trials.
    """
    ledger = Ledger(folder)
    return ledger.has_run and bool(ledger.read_history().sessions.batch_sizes)


def search_command(folder: Path, backend: str, results: str) -> list[str]:
    """The shell command that resumes a run started from Python, with the run's own copy of its space.

    Args:
        results: Where runs are: a folder, or the address of a bucket.
    """
    return command_words(
        *("search", "--space", RunFolder(folder).space_file),
        *("--name", folder.name, "--results", results),
        *(() if backend == "ray" else ("--backend", backend)),
    )


def promote_command(
    folder: Path,
    top: int | None,
    seeds: int | None,
    epochs: int | None,
    baselines: Sequence[str],
    overrides: Sequence[Override] = (),
) -> list[str]:
    """The shell command that continues a promotion started from Python; None is what the space says.

    Args:
        overrides: Changes to the run's space: with other ones the trainings would begin again.
    """
    numbers = {"--top": top, "--seeds": seeds, "--epochs": epochs}
    flags: list[tuple[str, object]] = [(flag, each) for flag, each in numbers.items() if each is not None]
    flags += [("--baseline", name) for name in baselines]
    flags += [("--set", override_text(each)) for each in overrides]
    return command_words("promote", RunFolder(folder).address, *itertools.chain.from_iterable(flags))


def resume_command(command: Sequence[str], folder: Path) -> str:
    """The command line that resumes the run in `folder`, given the one that started it."""
    kept = [part for part in command if not ("--fresh".startswith(part) and len(part) > 3)]
    return command_line(kept if folder.name in kept else [*kept, "--name", folder.name])


def check_resumable(folder: Path, before: Space, now: Space) -> None:
    """Check that trials of `now` can be compared with those that `before` left in `folder`.

    Raises:
        LedgerError: They cannot; the message lists every difference.
    """
    was, is_now = before.comparable_settings(), now.comparable_settings()
    lines = [
        f"  {name}: was {_shown(name, was[name])}, now {_shown(name, is_now[name])}"
        for name in is_now
        if was[name] != is_now[name]
    ]
    if set(before.parameters) != set(now.parameters):
        names = [", ".join(each.parameters) for each in (before, now)]
        lines.append(f"  parameters: were {names[0]}, now {names[1]}")
    if lines:
        raise LedgerError(
            "\n".join(
                [
                    f"{folder} holds a run with other settings:",
                    *lines,
                    "give another --name, or --fresh for a new run",
                ]
            )
        )


def _shown(name: str, value: Any) -> str:
    return data_text(value) if name == "data" else str(value)


@dataclass
class Pending:
    """What follows from the lines of a journal but was not written before the kill, by trial.

    Attributes:
        controls: The rung above which the trial continues as a control trial.
    """

    endings: dict[str, Ending] = field(default_factory=dict)
    controls: dict[str, int] = field(default_factory=dict)

    def take(self, trial: TrialRecord, decision: Decision) -> None:
        if decision.ending:
            self.endings[trial.trial_id] = decision.ending
        if decision.is_control and (rung := trial.rows[-1].ended_rung) is not None:
            self.controls[trial.trial_id] = rung

    def drop(self, trial_id: str) -> None:
        """Forget what would follow for a trial: a later line shows that something else did.

        That happens where eta has changed since: rungs that are rebuilt with the new one decide differently.
        """
        self.endings.pop(trial_id, None)
        self.controls.pop(trial_id, None)


def replay(events: Iterable[Event], history: History, scheduler: TrialScheduler) -> Pending:
    """Bring `history` and `scheduler` to their state when the last of `events` was written."""
    pending = Pending()
    for event in events:
        trial = history.trials.get(event.get("trial", ""))
        # Determined before the event is applied: afterwards the trial knows every row.
        is_new = bool(
            trial and event["event"] == "epoch" and not trial.knows(EpochRow.from_dict(event["row"]))
        )
        history.apply(event)
        if event["event"] == "trial_asked":
            scheduler.replay(event)
        elif trial:
            _replay_event(event, trial, scheduler, pending, is_new=is_new)
    return pending


def _replay_event(
    event: Event, trial: TrialRecord, scheduler: TrialScheduler, pending: Pending, *, is_new: bool
) -> None:
    """Replay one event of a trial; an epoch that is not new was repeated after a lost worker."""
    match event["event"]:
        case "epoch" if is_new:
            pending.drop(trial.trial_id)
            pending.take(trial, scheduler.on_epoch(trial, trial.rows[-1]))
        case "trial_continued_as_control":
            pending.controls.pop(trial.trial_id, None)
        case "attempt_failed" if not event["will_retry"]:
            pending.endings[trial.trial_id] = ending_of(Failure(**event["failure"]))
        case "trial_ended":
            pending.drop(trial.trial_id)
            if event["status"] != "interrupted":
                scheduler.on_end(trial.trial_id, event["status"], event["cause"])
        case "trial_resumed":
            why = event.get("why", "")
            if why == "promoted":
                scheduler.rungs.on_continued(trial.trial_id)
            scheduler.on_resumed(trial.trial_id, trial.hparams, why)
