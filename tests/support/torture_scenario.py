"""One torture scenario: a search with kills, disk failures and damaged files, all determined by one seed.

A session is the search command in a process of its own. An accident may end it; between two sessions files
may be damaged. The requirements are in `torture_findings`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.damages import FILE_DAMAGES, JOURNAL_DAMAGES, STATE_DAMAGES, states_of
from tests.support.failing_disk import Accident
from tests.support.forked_commands import Ended, command, search
from tests.support.torture_findings import Finding, Outcome, differences, outcome_of
from tests.support.tortured_searches import SEARCHES

NUM_SEARCH_SEEDS = 3  # per kind of search: a process computes each undisturbed outcome once
_MOST_DISTURBANCES = 8
_KILLED = -9
_MOMENTS = ("before", "within", "after")
_ERRORS = {
    "open": (errno.EIO,),
    "read": (errno.EIO,),
    "create": (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "fsync": (errno.EIO, errno.ENOSPC),
    "replace": (errno.EIO, errno.ENOSPC, errno.EROFS),
    "unlink": (errno.EIO, errno.EROFS),
    "mkdir": (errno.ENOSPC, errno.EROFS),
    "link": (errno.EPERM, errno.EMLINK, errno.ENOSPC),
    "truncate": (errno.EIO, errno.EROFS),
}


@dataclass
class Played:
    """What a scenario did and found.

    Attributes:
        kills: Counts by moment and operation, and for the journal by kind of event.
        faults: Counts by operation and system error.
        damages: Counts by kind.
    """

    seed: int
    num_sessions: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    damages: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


class Scenario:
    """A run in a folder of its own, and everything that happens to it."""

    def __init__(self, seed: int, folder: Path, undisturbed: dict[tuple[str, int], Outcome]) -> None:
        self._draw, self._folder = random.Random(seed), folder
        self._kind, self._search_seed = (
            self._draw.choice(sorted(SEARCHES)),
            self._draw.randrange(NUM_SEARCH_SEEDS),
        )
        self._undisturbed = undisturbed
        self._run = folder / "results" / "run"
        self._journal = self._run / "journal.jsonl"
        self._known = b""  # the journal's content before any damage
        self._story: list[str] = []
        self.played = Played(seed)

    def play(self) -> Played:
        """Play the scenario from the first session to the last."""
        space = SEARCHES[self._kind].write(self._folder, seed=self._search_seed)
        self._words = ("--space", space, "--results", self._folder / "results", "--no-report", "--name")
        expected = self._expected()
        for _ in range(self._draw.randint(1, _MOST_DISTURBANCES)):
            self._disturb(expected.num_events)
        for _ in range(2):  # the second finds a finished run
            self._end()
        self.played.findings += differences(self._run, expected, story=self._story_text())
        return self.played

    def _expected(self) -> Outcome:
        key = self._kind, self._search_seed
        if key not in self._undisturbed:
            ended = search(*self._words, "whole", results=self._folder, log=self._folder / "whole")
            if ended.status != 0:
                raise AssertionError(f"an undisturbed search ended with {ended}")
            self._undisturbed[key] = outcome_of(self._folder / "results" / "whole")
            shutil.rmtree(self._folder / "results" / "whole")
        return self._undisturbed[key]

    def _disturb(self, num_events: int) -> None:
        kinds = ("kill", "fault", "state", "journal", "file")
        what = self._draw.choices(kinds, weights=(10, 6, 4, 4, 1))[0]
        what = "kill" if SEARCHES[self._kind].is_only_killed else what
        if what == "state":
            self._damage_states()
        elif what == "journal":
            self._damage_journal()
        elif what == "file":
            self._damage_file()
        else:
            self._session(self._kill(num_events) if what == "kill" else self._fault(num_events))

    def _kill(self, num_events: int) -> Accident:
        """A kill at an event of the journal, or at any operation on the run's files."""
        moment = self._draw.choice(_MOMENTS)
        if self._draw.random() < 0.6:
            operation = self._draw.choice(("write", "fsync"))
            number = self._somewhere(num_events)
            return Accident(operation=operation, file="journal.jsonl", number=number, moment=moment)
        return Accident(number=self._somewhere(12 * num_events), moment=moment)

    def _fault(self, num_events: int) -> Accident:
        operation = self._draw.choice(sorted(_ERRORS))
        often = {"write": 3, "fsync": 3, "create": 2, "replace": 2, "read": 2}.get(operation, 1)
        return Accident(
            operation=operation,
            number=self._somewhere(often * num_events),
            error=self._draw.choice(_ERRORS[operation]),
            lasts=self._draw.random() < 0.5,
        )

    def _somewhere(self, num_operations: int) -> int:
        """A random number of operations, more often small, as each session has less left to do."""
        return int(num_operations * self._draw.random() ** 2)

    def _session(self, accident: Accident | None = None) -> Ended:
        """Run the command once, and check that it does nothing that it must not."""
        log = self._folder / f"session-{self.played.num_sessions}"
        self.played.num_sessions += 1
        note = log.with_suffix(".accident")
        ended = search(*self._words, "run", results=self._folder / "results", log=log, accident=accident)
        happened = json.loads(note.read_text()) if note.exists() else {}
        self._story.append(f"{happened or 'undisturbed'}: ended with {ended.status}")
        if happened and not happened["error"]:
            self.played.kills[_place(happened)] += 1
            self._expect(ended.status == _KILLED, "a killed session ended otherwise", ended)
        else:
            self._check_end(ended, happened)
        self._check_appended(ended)
        return ended

    def _check_end(self, ended: Ended, happened: dict[str, object]) -> None:
        """Check that a session that was not killed ends with a fitting status and states the reason."""
        if happened:
            reason = os.strerror(int(str(happened["error"])))
            self.played.faults[f"{happened['operation']}: {reason}"] += 1
            self._expect(ended.status in (0, 2, 3), "a failing disk ended the command otherwise", ended)
            self._expect(not ended.status or reason in ended.errors, "the reason is not printed", ended)
        self._expect("Traceback" not in ended.output + ended.errors, "a traceback", ended)

    def _check_appended(self, ended: Ended) -> None:
        """Check that the journal keeps its content: a session only appends."""
        now = self._journal.read_bytes() if self._journal.exists() else b""
        whole = self._known[: self._known.rfind(b"\n") + 1]
        if not now.startswith(whole):
            self._find("lost", "lines that the journal had are gone", ended)
        self._known = now

    def _damage_states(self) -> None:
        if states := states_of(self._run):
            damage = self._draw.choice(STATE_DAMAGES)
            damage(states, self._draw)
            self._count_damage(damage.__name__)

    def _damage_journal(self) -> None:
        before = self._journal.read_bytes() if self._journal.exists() else b""
        damage = self._draw.choice(JOURNAL_DAMAGES)
        if not before or (after := damage(before, self._draw)) == before:
            return
        self._journal.write_bytes(after)
        self._count_damage(f"journal {damage.__name__}")
        self._known = b""
        ended = self._session()
        if ended.status == 0:  # like after a kill, or like an older copy: a valid journal
            return
        self._expect(ended.status == 2 and str(self._journal) in ended.errors, "a damage is not named", ended)
        if self._journal.read_bytes() != after:
            self._find("lost", "what was refused was changed all the same", ended)
        self._repair(before, after)

    def _damage_file(self) -> None:
        """Damage a table or a settings file: the search must rewrite it, or if it cannot, name it."""
        names = {".csv", ".json", ".yaml", ".py"}
        files = sorted(path for path in self._run.rglob("*") if path.suffix in names and path.stem[0] != ".")
        if not files:
            return
        path, damage = self._draw.choice(files), self._draw.choice((None, *FILE_DAMAGES))
        before = path.read_bytes()
        path.unlink()
        if damage and before:
            path.write_bytes(damage(before, self._draw))
        self._count_damage(f"{path.name} {damage.__name__ if damage else 'deleted'}")
        ended = self._session()
        if ended.status != 0:
            self._expect(ended.status == 2 and str(self._run) in ended.errors, "a damage is not named", ended)
            path.write_bytes(before)

    def _repair(self, before: bytes, damaged: bytes) -> None:
        log = self._folder / "check"
        found = command("check", self._run, log=log)
        self._expect(found.status in (1, 2), "a search refuses what the check calls whole", found)
        repaired = command("check", self._run, "--repair", log=log)
        if repaired.status == 2:  # no part of it is whole, which is reported
            self._expect("no line of it is intact" in repaired.errors, "a repair fails otherwise", repaired)
            self._journal.write_bytes(before)
            command("check", self._run, "--repair", log=log)  # states were damaged too
        again = command("check", self._run, log=log)
        self._expect(again.status == 0, "a repaired record is not whole", again)
        left = self._journal.read_bytes()
        copies = [path.read_bytes() for path in self._run.glob("journal.jsonl.damaged-*")]
        is_cut_only = damaged.startswith(left) and (left == damaged or damaged in copies)
        if repaired.status == 1 and not is_cut_only:
            self._find("lost", "a repair did more than to cut, or kept no copy", repaired)
        self._story.append("repaired" if repaired.status == 1 else "put back")
        is_torn = "the next start drops it" in again.output  # the damage hit the last line, like a kill
        self._known = left[: left.rfind(b"\n", 0, -1) + 1] if is_torn else left

    def _end(self) -> None:
        ended = self._session()
        self._expect(ended.status == 0, "with a disk that works the search does not end well", ended)
        if _has_damaged_states(self.played):
            self._set_damaged_states_aside()

    def _set_damaged_states_aside(self) -> None:
        """Check and repair the record, which finds damaged states of trials that were not resumed."""
        log = self._folder / "check"
        found = command("check", self._run, log=log)
        others = [line for line in found.errors.splitlines() if "never trained on" not in line]
        self._expect(not others, "a record is not whole", found)
        if found.status:
            command("check", self._run, "--repair", log=log)

    def _count_damage(self, name: str) -> None:
        self.played.damages[name] += 1
        self._story.append(f"damage: {name}")

    def _expect(self, holds: bool, otherwise: str, ended: Ended) -> None:
        if not holds:
            self._find("other", otherwise, ended)

    def _find(self, kind: str, text: str, ended: Ended) -> None:
        details = f"{text}; status {ended.status}\n{ended.output[-600:]}\n{ended.errors[-2500:]}"
        self.played.findings.append(Finding(kind, f"{details}\n{self._story_text()}"))

    def _story_text(self) -> str:
        return "\n".join([f"{self._kind}, seed {self._search_seed}", *self._story])


def _has_damaged_states(played: Played) -> bool:
    return any(damage.__name__ in played.damages for damage in STATE_DAMAGES)


def _place(happened: dict[str, object]) -> str:
    """The moment and operation at which a process was killed."""
    what = (
        f"journal {happened['operation']}" if happened["file"] == "journal.jsonl" else happened["operation"]
    )
    return f"{happened['moment']} {what} {happened['event']}".strip()
