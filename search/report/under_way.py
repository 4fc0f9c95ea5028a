"""What the running trials are doing, for the console: in the live view, or as a line now and then."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from search.ledger.history import TrialRecord
from search.output import Output
from search.report.formatting import duration
from search.run import Run
from search.trial.trial_folder import TrialFolder
from trainables.core.progress import Progress, read_progress

_READ_EVERY_S = 1.0  # the screen is drawn four times as often, and the files are on storage that nodes share
_LINE_EVERY_S = 20.0
_LONGEST_SILENCE_S = 600.0
_LEAST_ADVANCE = 0.05  # of an epoch: one of two hours gets 20 lines, not 360
_MOST_NAMED = 4


@dataclass(frozen=True)
class Doing:
    """What a running trial is doing.

    Attributes:
        epoch: The epoch that it starts or trains.
        since_s: When that epoch was first seen, in monotonic seconds.
        progress: How far the epoch or the decoding of data is; None unless it takes long enough to be shown.
        read_s: When `progress` was read, in monotonic seconds.
    """

    epoch: int
    since_s: float
    progress: Progress | None = None
    read_s: float = -math.inf


class UnderWay:
    """What the running trials are doing.

    The history says which epoch each of them trains. How far it is, is in a file of the trial, which
    is read only for trials that are shown, since a thousand may be running.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._doing: dict[str, Doing] = {}

    def update(self) -> list[TrialRecord]:
        """Record which epochs have begun and return the running trials; call it often, for exact times."""
        now_s, doing, running = self._clock(), self._doing, self._run.history.running()
        fresh = {trial.trial_id: Doing(trial.epochs + 1, now_s) for trial in running}
        self._doing = {
            name: known if (known := doing.get(name)) and known.epoch == each.epoch else each
            for name, each in fresh.items()
        }
        return running

    def of(self, trial: TrialRecord) -> Doing | None:
        """What a trial is doing, its progress at most a second old; None if it is not running."""
        doing, now_s = self._doing.get(trial.trial_id), self._clock()
        if doing and now_s - doing.read_s >= _READ_EVERY_S:
            found = read_progress(TrialFolder(self._run.ledger.trial_folder(trial.trial_id)).progress)
            is_of_it = found is not None and found.epoch in (
                0,
                doing.epoch,
            )  # not of the epoch before or after
            doing = replace(doing, progress=found if is_of_it else None, read_s=now_s)
            self._doing[trial.trial_id] = doing
        return doing


class UnderWayLines:
    """Prints what is under way while nothing else is printed, if no live view shows it.

    The first line comes after 20 s of silence and names the first four trials. While an epoch or the decoding
    of one of these advances, another line follows at most every 20 s, each at least a twentieth further than
    the last. While none advances, each wait is twice the one before, up to ten minutes.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, run: Run, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._under_way, self._output, self._clock = UnderWay(run, clock), output, clock
        self._shares: dict[tuple[str, str, int], float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._print, name="under-way", daemon=True)
        self.on_line()

    def start(self) -> None:
        """Start printing lines, from a thread of its own; with --quiet do nothing."""
        self.on_line()
        if not self._output.is_quiet:
            self._thread.start()

    def stop(self) -> None:
        """Print no further line."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def on_line(self) -> None:
        """Restart the silence, because another line of the run was printed."""
        self._printed_s, self._silence_s = self._clock(), _LINE_EVERY_S

    def print_if_due(self) -> None:
        """Print what is under way, if it has advanced or nothing has been printed for long."""
        running, silent_s = self._under_way.update(), self._clock() - self._printed_s
        if not running or silent_s < _LINE_EVERY_S:
            return
        shown = running[:_MOST_NAMED]
        now = {trial.trial_id: doing for trial in shown if (doing := self._under_way.of(trial))}
        shares: dict[tuple[str, str, int], float] = {
            (name, each.progress.doing, each.epoch): each.progress.done / max(1, each.progress.total)
            for name, each in now.items()
            if each.progress
        }
        has_news = any(share >= self._shares.get(key, 0) + _LEAST_ADVANCE for key, share in shares.items())
        if not has_news and silent_s < self._silence_s:
            return
        parts = [f"{name} {self._text(each)}" for name, each in now.items()]
        more = [f"{len(running) - _MOST_NAMED} more"] if len(running) > _MOST_NAMED else []
        self._output.print(f"under way: {'; '.join([*parts, *more])}", style="dim")
        longer_s = 2 * (_LINE_EVERY_S if has_news else self._silence_s)
        self._printed_s, self._shares = self._clock(), shares
        self._silence_s = min(longer_s, _LONGEST_SILENCE_S)

    def _text(self, doing: Doing) -> str:
        if doing.progress:
            return str(doing.progress)
        return f"epoch {doing.epoch}, {duration(self._clock() - doing.since_s, whole=True)} so far"

    def _print(self) -> None:
        while not self._end.wait(_READ_EVERY_S):
            self.print_if_due()
