"""Scores and epochs from a script's lines, over several processes if it was resumed. Does no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from trainables.command.rows import Row, first_epoch_of, is_within, read_row, row_of
from trainables.core.contract import BadResult


class LinesLost(Exception):
    """The script was killed between saving and printing an epoch: only starting over can give its score."""


class Scores:
    """The epochs that a script has reported and that are still to be returned.

    A script may score every epoch or every k epochs, in one or several lines per epoch. A second score of an
    epoch replaces the first while the epoch is waiting; epochs trained again after an interruption keep their
    first score.

    Args:
        first_epoch: The number of the script's first epoch; None infers it from the first row.
        needs_count: Whether each line must state its epoch, because the script may be resumed.

    Attributes:
        done: The last epoch returned.
        last: The last score returned.
        every: Largest number of epochs from one score to the next so far.
        num_reported: Scores in the lines of the current process.
        names: Names of the values in lines without a score.
        notes: Anything odd, for the trial's row.
    """

    def __init__(self, metric: str, *, first_epoch: int | None = 1, needs_count: bool = False) -> None:
        self._metric, self._first_epoch, self._needs_count = metric, first_epoch, needs_count
        self._rows: dict[int, Row] = {}
        self._scored: list[int] = []  # in all processes
        self._latest: int | None = None
        self._counted: int | None = None  # the latest epoch that a row stated
        self._only: Row | None = None
        self._aside: Row | None = None
        self._may_skip = True
        self._is_first_guessed = first_epoch is None
        self._has_fractions = False
        self._num_within = self._num_uncounted = 0
        self.done = 0
        self.last = Row(epoch=None, values={})
        self.every = 1
        self.num_reported = 0
        self.names: dict[str, None] = {}
        self.notes: dict[str, str] = {}

    def begin(self, *, is_resumed: bool, has_ended_itself: bool) -> None:
        """Prepare for the lines of a new process.

        Args:
            has_ended_itself: Whether the previous process ran to its end, so that none of its lines are
                missing.
        """
        self.num_reported, self._latest, self._counted, self._only = 0, None, None, None
        self._aside = None
        self._may_skip = not is_resumed or has_ended_itself

    def take(self, line: str) -> None:
        """Add a line.

        Raises:
            BadResult: It makes no sense.
            LinesLost: The first epoch of a resumed script is not the next one.
        """
        self._take(read_row(line, self._metric, first_epoch=self._counts_from))

    def take_values(self, plain: Mapping[str, Any]) -> None:
        """Add a row that the script wrote to a file or logged; raises like `take`."""
        if self._is_first_guessed and not self._scored:
            self._guess_first_epoch(plain)
        self._take(row_of(plain, self._metric, first_epoch=self._counts_from))

    def _guess_first_epoch(self, plain: Mapping[str, Any]) -> None:
        """Guess from the first row with an epoch, or from the first score if training rows have fractions.

        A script that logs its batches at 0.0, 0.25 and so on counts completed epochs, from 1.
        """
        self._has_fractions |= is_within(plain.get("epoch"))
        if self._first_epoch is None or (self._has_fractions and self._metric in plain):
            self._first_epoch = first_epoch_of(plain)

    @property
    def _counts_from(self) -> int:
        return 1 if self._first_epoch is None else self._first_epoch

    def _take(self, row: Row | None) -> None:
        if row is None:
            return
        if isinstance(row.epoch, float):
            self._note_within(row)
            return
        if self._is_put_aside(row):
            return
        epoch = row.epoch
        if epoch is None and self._counted is not None:
            if self._counted in self._scored:
                self._note_uncounted()
                return
            epoch = self._counted  # stated by an earlier row, of training
        self._counted = epoch or self._counted
        is_uncounted = epoch is None
        if is_uncounted and self._needs_count:
            raise BadResult('with search.command.resume each line needs its "epoch", counted from 1')
        is_reported = self._has_score(row) or is_uncounted
        if not is_reported:
            self.names |= dict.fromkeys(row.values)
        self.num_reported += is_reported
        self._only = row if is_uncounted and self.num_reported == 1 else None
        self._put(self.num_reported if epoch is None else epoch, row)

    def _is_put_aside(self, row: Row) -> bool:
        """Whether the row must wait: it is the first, without a score, and counts beyond the next epoch.

        It may be training's of a script that reports every few epochs, or a script's arguments, printed as
        JSON with the number of epochs as `epoch`. If the next row counts less, it was the latter.
        """
        aside, self._aside = self._aside, None
        if aside and aside.epoch and not (row.epoch and row.epoch < aside.epoch):
            self._counted = int(aside.epoch)
            self._put(self._counted, aside)
        is_ahead = row.epoch is not None and row.epoch > max(self._rows, default=self.done) + 1
        if self._latest is None and is_ahead and not self._has_score(row):
            self._aside = row
        return self._aside is not None

    def has(self, epoch: int) -> bool:
        """Whether the epoch is complete: it has a score, or the script continued without one."""
        row = self._rows.get(epoch)
        return self.has_later(epoch) or (row is not None and self._has_score(row))

    def has_later(self, epoch: int) -> bool:
        return max(self._rows, default=0) > epoch

    def hand_on(self, epoch: int) -> Row:
        """Return and remove the epoch's row, without validation values if it has no score."""
        row = self._rows.pop(epoch, Row(epoch=epoch, values={}))
        self.done = epoch
        if self._has_score(row):
            self.last = row
            return row
        values = {name: value for name, value in row.values.items() if not name.startswith("val_")}
        return dataclasses.replace(row, values=values)

    @property
    def num_scored(self) -> int:
        """Number of epochs with a score, in all processes."""
        return len(self._scored)

    def is_named(self, epoch: int) -> bool:
        """Whether a row of this epoch is waiting, with or without a score."""
        return epoch in self._rows

    def is_scored(self, epoch: int) -> bool:
        """Whether the script has scored the epoch, in any process."""
        return epoch in self._scored

    @property
    def is_single(self) -> bool:
        """Whether a single line without an epoch is all that the process has reported."""
        return self._only is not None and not self._only.done_reason

    def place_single(self, end: int) -> None:
        """Assign the single line to the last epoch, as of a script that validates only at its end.

        Raises:
            BadResult: It was already returned as the first epoch's.
        """
        assert self._only
        row, self._only = self._only, None
        if self.last is row:
            raise BadResult(
                f'the script printed {self._metric} once, without "epoch", and ended: that was epoch '
                f'{end}, but was taken for epoch 1; let it print {{"epoch": {end}, "{self._metric}": ...}}'
            )
        if self._rows.get(1) is row:
            del self._rows[1]
            self._scored.remove(1)
        self.notes["single"] = (
            f'the one line with {self._metric} has no "epoch" and is taken for the last, {end}'
        )
        if end > max(self._rows, default=self.done):
            self._put(end, row)

    def is_between(self, end: int) -> bool:
        """Whether a script told to train until `end` may have ended there without a score.

        It then validates every few epochs, and its next score would come after `end`.
        """
        return self.every > 1 and end - self._last_scored < self.every

    def scored_epochs(self) -> str:
        """The epochs with a score, in the script's own numbers, for a message."""
        numbers = [str(epoch - 1 + self._counts_from) for epoch in self._scored]
        return ", ".join(numbers if len(numbers) <= 6 else [*numbers[:3], "...", *numbers[-2:]]) or "none"

    def state(self) -> dict[str, Any]:
        return {"scored": list(self._scored), "every": self.every, "first_epoch": self._first_epoch}

    def rows(self) -> list[dict[str, Any]]:
        """The waiting rows as plain data."""
        return [{**dataclasses.asdict(row), "epoch": epoch} for epoch, row in sorted(self._rows.items())]

    def restore(
        self, done: int, last: Row, rows: Iterable[Mapping[str, Any]], state: Mapping[str, Any]
    ) -> None:
        """Restore the state after epoch `done`, with the rows that were waiting then."""
        self.done, self.last = done, last
        self._rows = {row["epoch"]: Row(**row) for row in rows}
        self._scored = list(state.get("scored", [done] if last.values else []))
        self.every = state.get("every", 1)
        self._first_epoch = state.get("first_epoch", self._first_epoch)

    def _put(self, epoch: int, row: Row) -> None:
        is_first = self._latest is None
        top = max(self._rows, default=self.done)
        waiting = self._rows.get(epoch)
        if epoch > top:
            if is_first and epoch > top + 1 and not self._is_expected(epoch):
                raise LinesLost
            self._rows[epoch] = row
        elif waiting and (epoch == self._latest or not self._has_score(waiting)):
            self._rows[epoch] = self._merged(epoch, waiting, row)
        elif epoch == self._latest == self.done and self._differs(self.last, row):
            self.notes["late"] = (
                f"a second {self._metric} of epoch {epoch}, {row.values[self._metric]:g}, came after "
                f"{self.last.values[self._metric]:g} had been recorded: the first counts"
            )
        # Any other epoch was trained again, its checkpoint being older than its line: the first score counts.
        self._latest = epoch
        if epoch in self._rows and self._has_score(self._rows[epoch]) and epoch not in self._scored:
            self.every = max(self.every, epoch - self._last_scored)
            self._scored.append(epoch)

    def _is_expected(self, epoch: int) -> bool:
        return self._may_skip or 1 < epoch - self._last_scored <= self.every

    @property
    def _last_scored(self) -> int:
        return max(self._scored, default=0)

    def _merged(self, epoch: int, first: Row, second: Row) -> Row:
        if self._differs(first, second):
            self.notes["twice"] = (
                f"epoch {epoch} has two values of {self._metric}, {first.values[self._metric]:g} and "
                f"{second.values[self._metric]:g}: the last counts"
            )
        return Row(
            epoch=epoch,
            values={**first.values, **second.values},
            done_reason=second.done_reason or first.done_reason,
        )

    def _differs(self, first: Row, second: Row) -> bool:
        values = [row.values.get(self._metric) for row in (first, second)]
        return None not in values and values[0] != values[1] and values[0] == values[0]  # not of two NaN

    def _has_score(self, row: Row) -> bool:
        return self._metric in row.values

    def _note_within(self, row: Row) -> None:
        self._num_within += 1
        self.notes["within"] = (
            f"{self._num_within} lines with {self._metric} are left out: they are from within an epoch, "
            f"such as {row.epoch:g}"
        )

    def _note_uncounted(self) -> None:
        """Note a score without an epoch after the epoch's own, as of a script that sums up at its end."""
        self._num_uncounted += 1
        self.notes["uncounted"] = (
            f"{self._num_uncounted} lines with {self._metric} and no epoch are left out: epoch "
            f"{self._counted}, before them, has a score already"
        )
