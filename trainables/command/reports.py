"""Reports of a running script: the lines that it prints, rows of its files, and its own checkpoints."""

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

_SETTLED_S = 0.03  # a second line of the same epoch follows the first sooner
_GROWN_S = 0.2  # a file being written grows at shorter intervals


class Reports:
    """Adds a script's reports, wherever the space says they are, to its scores.

    Args:
        scores: Receives every row and line.
    """

    def __init__(self, spec: CommandSpec, files: Files, scores: Scores) -> None:
        self._spec, self._files, self._scores = spec, files, scores
        self._source = self._new_source()
        self._strays = self._new_strays()
        self._asked_s = self._started_s = 0.0

    @property
    def are_in_files(self) -> bool:
        """Whether scores are read from files, not only from printed lines."""
        return self._source is not None

    @property
    def settled_s(self) -> float:
        """Seconds within which a second row of the same epoch follows the first."""
        return max(_SETTLED_S, 2 * self._source.every_s) if self._source else _SETTLED_S

    @property
    def found(self) -> str:
        """Description of what the files have in place of the metric, for a message."""
        if self._source is None:
            return ""
        stray = None if self._source.is_found or self._strays is None else self._strays.now()
        return self._source.found(self._spec.metric) + (_elsewhere(stray) if stray else "")

    @property
    def notes(self) -> Mapping[str, str]:
        """Notes on what was left out of the script's files."""
        return self._source.notes if self._source else {}

    def begin(self, *, is_over: bool) -> None:
        """Prepare for a new process.

        Args:
            is_over: Whether it starts over from its first epoch, and earlier files were moved away.
                Otherwise rows that already exist were added before, or are not wanted.
        """
        self._started_s = time.monotonic()
        if is_over:
            self._source, self._strays = self._new_source(), self._new_strays()
        elif self._source:
            self._source.new(is_final=False)

    def take_news(self, script: Script) -> tuple[bool, bool]:
        """Add the reports since the last call; return whether there were any, and whether they are the last.

        Raises:
            ScriptFailed: It ended with an error, and all its reports were added before.
            BadResult: It reports something that makes no sense, or the metric will not come.
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
            raise BadResult(f"the script reported no {metric} until epoch {num_epochs}: {self.found}")
        if self._strays and not source.is_found and (stray := self._strays.seen(running_s)):
            raise BadResult(f"the script reported no {metric}: {source.found(metric)}{_elsewhere(stray)}")

    def take_all_before(self) -> None:
        """Add the reports of earlier processes: epochs that were trained but not returned."""
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
    """Checks whether a script that resumes from its own files has written them since this object was made.

    Ultralytics writes an epoch's row first and its weights after it: suspended in between and then ended, it
    would leave an unreadable file.
    """

    def __init__(self, files: Files, patterns: Sequence[str]) -> None:
        self._files, self._patterns = files, patterns
        self._before = self._stamps()
        self._last, self._seen_s = self._before, time.monotonic()

    def is_whole(self) -> bool:
        """Whether every file was written, and none has changed for 0.2 s; without files, only the latter."""
        stamps, now_s = self._stamps(), time.monotonic()
        if stamps != self._last:
            self._last, self._seen_s = stamps, now_s
        is_written = all(new != old for new, old in zip(stamps, self._before, strict=True))
        return is_written and now_s - self._seen_s > _GROWN_S

    def _stamps(self) -> list[tuple[int, int]]:
        return [self._files.stamp(pattern) for pattern in self._patterns]
