"""What the running trials are doing, for the console: looked at now and then, printed now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from search.ledger.history import TrialRecord
from search.output import Output
from search.report.formatting import duration
from search.run import Run
from search.trial.trial_folder import TrialFolder
from trainables.core.progress import Progress, read_progress

_LOOK_EVERY_S = 1.0  # the screen is drawn four times as often, and a file is read on storage that nodes share
_LINE_EVERY_S = 20.0
_LONGEST_SILENCE_S = 600.0
_LEAST_ADVANCE = 0.05  # of an epoch: one of two hours gets 20 lines and not 360
_MOST_NAMED = 4


@dataclass(frozen=True)
class Doing:
    """What a running trial is doing.

    Attributes:
        epoch: The epoch that it starts or trains.
        since_s: When that was first seen, in monotonic seconds.
        progress: How far it is, where that takes long enough to be said.
    """

    epoch: int
    since_s: float
    progress: Progress | None = None


class UnderWay:
    """What the running trials are doing, a second old at most.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._looked_s = float("-inf")
        self._doing: dict[str, Doing] = {}

    def now(self) -> Mapping[str, Doing]:
        """By trial. What an earlier epoch has left behind is not among it."""
        if self._clock() - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._doing = {trial.trial_id: self._look_at(trial) for trial in self._run.history.running()}
        return self._doing

    def _look_at(self, trial: TrialRecord) -> Doing:
        known, epoch = self._doing.get(trial.trial_id), trial.epochs + 1
        progress = read_progress(TrialFolder(self._run.ledger.trial_folder(trial.trial_id)).progress)
        return Doing(
            epoch=epoch,
            since_s=known.since_s if known and known.epoch == epoch else self._clock(),
            progress=progress if progress and progress.epoch in (0, epoch) else None,
        )


class UnderWayLines:
    """Says what is under way where no live view shows it, and nothing else is printed.

    The first line comes after 20 s without one. While an epoch or the decoding gets on, another one follows
    every 20 s at most, each a twentieth further than the last; where nothing says how far it is, after
    twice the time each, up to ten minutes.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, run: Run, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._under_way, self._output, self._clock = UnderWay(run, clock), output, clock
        self._shares: dict[tuple[str, str, int], float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="under-way", daemon=True)
        self.on_line()

    def start(self) -> None:
        """Look from now on, in a thread of its own."""
        self.on_line()
        self._thread.start()

    def stop(self) -> None:
        """Print no further line."""
        self._end.set()
        self._thread.join()

    def on_line(self) -> None:
        """Another line of the run was printed: silence begins again."""
        self._printed_s, self._silence_s = self._clock(), _LINE_EVERY_S

    def print_if_due(self) -> None:
        """Print what is under way, if there is news of it or nothing was printed for long."""
        now, silent_s = self._under_way.now(), self._clock() - self._printed_s
        if not now or silent_s < _LINE_EVERY_S:
            return
        shares: dict[tuple[str, str, int], float] = {
            (name, each.progress.doing, each.epoch): each.progress.done / max(1, each.progress.total)
            for name, each in now.items()
            if each.progress
        }
        has_news = any(share >= self._shares.get(key, 0) + _LEAST_ADVANCE for key, share in shares.items())
        if not has_news and silent_s < self._silence_s:
            return
        parts = [f"{name} {self._text(each)}" for name, each in list(now.items())[:_MOST_NAMED]]
        more = [f"{len(now) - _MOST_NAMED} more"] if len(now) > _MOST_NAMED else []
        self._output.print(f"under way: {'; '.join([*parts, *more])}", style="dim")
        longer_s = 2 * (_LINE_EVERY_S if has_news else self._silence_s)
        self._printed_s, self._shares = self._clock(), shares
        self._silence_s = min(longer_s, _LONGEST_SILENCE_S)

    def _text(self, doing: Doing) -> str:
        if doing.progress:
            return str(doing.progress)
        return f"epoch {doing.epoch}, {duration(self._clock() - doing.since_s, whole=True)} so far"

    def _look(self) -> None:
        while not self._end.wait(_LOOK_EVERY_S):
            self.print_if_due()
