"""What a script reports as it runs: lines that it prints, rows of its files, checkpoints of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainables.command.files import Files, Lines
from trainables.command.metric_sources import MetricSource, source_of
from trainables.command.missing_scores import Strays
from trainables.command.scores import Scores
from trainables.command.script import Script
from trainables.command.spec import CommandSpec
from trainables.core.contract import BadResult, ScriptFailed

_SETTLED_S = 0.03  # a second line of the same epoch follows the first by less
_GROWN_S = 0.2  # a file that is being written grows more often


class Reports:
    """Takes what a script reports into its scores, wherever the space says that it is.

    Args:
        scores: What every row and line is taken into.
    """

    def __init__(self, spec: CommandSpec, files: Files, scores: Scores) -> None:
        self._spec, self._files, self._scores = spec, files, scores
        self._source = self._new_source()
        self._strays = self._new_strays()
        self._asked_s = self._started_s = 0.0

    @property
    def are_in_files(self) -> bool:
        """Whether scores are read from files, and not only from what is printed."""
        return self._source is not None

    @property
    def settled_s(self) -> float:
        """A second row of the same epoch follows the first by less."""
        return max(_SETTLED_S, 2 * self._source.every_s) if self._source else _SETTLED_S

    @property
    def found(self) -> str:
        """What the files have instead of the metric, for a message."""
        if self._source is None:
            return ""
        stray = None if self._source.is_found or self._strays is None else self._strays.now()
        return self._source.found(self._spec.metric) + (_elsewhere(stray) if stray else "")

    @property
    def notes(self) -> Mapping[str, str]:
        """What was left out of what the script has written."""
        return self._source.notes if self._source else {}

    def begin(self, *, is_over: bool) -> None:
        """A new process starts.

        Args:
            is_over: From its first epoch: what an earlier one left has been moved away. Otherwise rows that
                are there already were taken in, or are not wanted.
        """
        self._started_s = time.monotonic()
        if is_over:
            self._source, self._strays = self._new_source(), self._new_strays()
        elif self._source:
            self._source.new(is_final=False)

    def take_news(self, script: Script) -> tuple[bool, bool]:
        """Take in what came since the last call; whether anything did, and whether nothing more can come.

        Raises:
            ScriptFailed: It ended with an error, and all it reported was taken in before.
            BadResult: It gives something, and the metric will not come.
        """
        try:
            lines, has_ended = script.listen()
        except ScriptFailed:
            if self._source and self._take_rows(self._source, is_final=True):
                return True, False  # the next call raises
            raise
        if self._source is None or self._spec.metrics.has_lines:
            for line in lines:
                self._scores.take(line)
        if self._source is None:
            return bool(lines), has_ended
        now_s = time.monotonic()
        if not has_ended and now_s - self._asked_s < self._source.every_s:
            return bool(lines), False
        self._asked_s = now_s
        is_news = self._take_rows(self._source, is_final=has_ended)
        if not has_ended and not self._scores.num_scored:
            self._see_that_it_may_come(self._source, now_s - self._started_s)
        return is_news, has_ended

    def _see_that_it_may_come(self, source: MetricSource, running_s: float) -> None:
        metric = self._spec.metric
        if num_epochs := source.num_without(metric):
            raise BadResult(f"the script gave no {metric} until epoch {num_epochs}: {self.found}")
        if self._strays and not source.is_found and (stray := self._strays.seen(running_s)):
            raise BadResult(f"the script gave no {metric}: {source.found(metric)}{_elsewhere(stray)}")

    def take_all_before(self) -> None:
        """Take in what earlier processes have left: epochs that were trained and not handed on."""
        if self._source:
            self._take_rows(self._source, is_final=True)
        else:
            for line in Lines(self._files.stdout, is_from_end=False).new(is_final=True):
                self._scores.take(line)

    def _take_rows(self, source: MetricSource, *, is_final: bool) -> bool:
        rows = source.new(is_final=is_final)
        for row in rows:
            self._scores.take_values(row)
        return bool(rows)

    def _new_source(self) -> MetricSource | None:
        spec = self._spec
        if spec.metrics.kind == "lines":
            return None
        return source_of(spec.metrics, spec.metric, self._files.checkpoint, self._files.history)

    def _new_strays(self) -> Strays | None:
        spec, source = self._spec, self._source
        if source is None or not spec.metrics.file:
            return None
        return Strays(spec.metrics.file, spec.folder, source.num_epochs_of)


def _elsewhere(stray: Path) -> str:
    return f"; {stray} was written meanwhile: let the script write to {{checkpoint_dir}}"


class OwnCheckpoints:
    """Whether a script that is resumed from a file of its own has written it since this object was made.

    Ultralytics writes an epoch's row first and its weights after it: held in between and then ended, it
    would leave a file that nothing can read.
    """

    def __init__(self, files: Files, patterns: Sequence[str]) -> None:
        self._files, self._patterns = files, patterns
        self._before = self._stamps()
        self._last, self._seen_s = self._before, time.monotonic()

    def is_whole(self) -> bool:
        """Whether each file was written and has not grown for a while; also where there are none to write."""
        stamps, now_s = self._stamps(), time.monotonic()
        if stamps != self._last:
            self._last, self._seen_s = stamps, now_s
        is_written = all(new != old for new, old in zip(stamps, self._before, strict=True))
        return is_written and now_s - self._seen_s > _GROWN_S

    def _stamps(self) -> list[tuple[int, int]]:
        return [self._files.stamp(pattern) for pattern in self._patterns]
