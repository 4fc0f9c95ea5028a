"""Reads the scores that a script writes to files: CSV, JSON lines, a trainer's state, W&B's history.

A source returns each row once, as a mapping from names to values, like the object on a printed line. A file
that has changed is read again as a whole, and rows already returned are recognised by their content:
Lightning's logger rewrites its CSV with another header when a column is added, timm's train.py writes its
header again on resuming, and Hugging Face's trainer writes its whole history at each checkpoint. Reading
100,000 rows takes 0.2 s, so a source is read again only after twenty times the duration of its last reading:
5 % of a core at most.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainables.command.ecosystems import MetricsSpec
from trainables.command.event_files import EventFiles, matches
from trainables.command.missing_scores import ENOUGH, Validations, is_near, num_counted
from trainables.command.rows import flat, read_object, with_epoch
from trainables.core.contract import BadResult
from trainables.core.suggest import suggest

Rows = list[dict[str, Any]]

_EVERY_S = 0.1
_COSTS_AT_MOST = 0.05  # of a core
_MAX_NAMED = 12  # names in a message
_EMPTY = {"", "-", "n/a", "na", "none", "null"}  # cells without a value; nan is a value
_EPOCH_SLACK = 0.05  # Hugging Face's trainer ends an epoch at 0.98 if the last batches are dropped


class MetricSource(Protocol):
    """A source of the rows with a script's scores."""

    @property
    def every_s(self) -> float:
        """Seconds to wait between two calls of `new`."""
        ...

    def new(self, *, is_final: bool) -> Rows:
        """Return the rows since the last call; an unfinished one only if `is_final`."""
        ...

    @property
    def notes(self) -> Mapping[str, str]:
        """Notes on what was left out, for the trial's row."""
        ...

    @property
    def is_found(self) -> bool:
        """Whether there is a file to read."""
        ...

    def num_without(self, metric: str) -> int:
        """Number of epochs validated without the metric, if enough to tell that it will not come; else 0."""
        ...

    def num_epochs_of(self, path: Path) -> int:
        """Number of epochs counted in a file that the source does not read."""
        ...

    def found(self, metric: str) -> str:
        """Describe what was found in place of the metric, for a message."""
        ...


def source_of(spec: MetricsSpec, metric: str, checkpoint: Path, history: Path) -> MetricSource:
    """Return the source for any kind but printed lines.

    Args:
        metric: Name of the metric in the space, and in the rows that the source returns.
        checkpoint: The script's `{checkpoint_dir}`.
        history: File to which the stand-in for wandb writes.
    """
    pattern = spec.file.removeprefix("{checkpoint_dir}").lstrip("/")
    if spec.kind == "tensorboard":
        is_counted_by_step, tag = spec.epoch == "step", spec.metric or metric
        return EventFiles(checkpoint, pattern, is_counted_by_step=is_counted_by_step, tag=tag, metric=metric)
    if spec.kind == "wandb":
        files = _RowFiles(history.parent, history.name, _json_lines, "wandb.log gave")
    elif spec.kind == "trainer_state":
        files = _RowFiles(checkpoint, pattern, _log_history, "log_history has", is_newest_alone=True)
    elif spec.kind == "csv":
        files = _RowFiles(checkpoint, pattern, _table, "has the columns")
    else:
        files = _RowFiles(checkpoint, pattern, _json_lines, "has the keys")
    return _Renamed(files, spec, metric)


class _RowFiles:
    """The rows of all files that match a pattern, in the order in which the files were last written.

    Args:
        folder: Folder that the pattern is relative to; its own path may have brackets.
        read: Returns the rows of a text, {} for a row that cannot be read; without an unfinished row, unless
            its second argument says that the text is final.
        has: The words between a file's name and the names of its columns in a message.
        is_newest_alone: Whether to read only the newest file, because each repeats the earlier ones.
    """

    def __init__(
        self,
        folder: Path,
        pattern: str,
        read: Callable[[str, bool], Rows],
        has: str,
        *,
        is_newest_alone: bool = False,
    ) -> None:
        self.every_s = _EVERY_S
        self._folder, self._pattern = folder, pattern
        self._read, self._has, self._is_newest_alone = read, has, is_newest_alone
        self._stamps: dict[str, tuple[int, int]] = {}
        self._given: dict[str, list[int]] = {}
        self._names: dict[str, None] = {}
        self._last: str = ""
        self._num_unread = 0
        self.validations = Validations()

    @property
    def is_found(self) -> bool:
        return bool(self._last)

    @property
    def notes(self) -> dict[str, str]:
        notes = {}
        if self._num_unread:
            notes["unread"] = (
                f"{self._num_unread} rows of {Path(self._last).name} are left out: more cells than the "
                "header has names, as where a kill cut a row"
            )
        files = [path for path, given in self._given.items() if path and given]
        if len(files) > 1:
            names = _listed([os.path.relpath(path, os.path.commonpath(files)) for path in files])
            notes["files"] = (
                f"{len(files)} files have rows: {names}; for an epoch in several of them, the first counts"
            )
        return notes

    def new(self, *, is_final: bool) -> Rows:
        started_s = time.monotonic()
        rows = [row for path in self._files() for row in self._new_of(path, is_final=is_final)]
        self.every_s = max(_EVERY_S, (time.monotonic() - started_s) / _COSTS_AT_MOST)
        return rows

    def num_without(self, metric: str) -> int:
        """As in the protocol; a CSV whose header lacks the metric is without it, whatever its other names."""
        num_epochs = self.validations.num_epochs
        if num_epochs < ENOUGH or metric in self._names:
            return 0
        is_table = self._read is _table and metric not in _text_of(self._last).partition("\n")[0]
        return num_epochs if is_table or is_near(metric, self._names) else 0

    def rows_of(self, path: Path) -> Rows:
        try:
            return self._read(_text_of(path), False)
        except (OSError, ValueError):
            return []

    def found(self, metric: str) -> str:
        if not self._last:
            where = self._folder / self._pattern.split("*")[0]
            folder = where if where.is_dir() else where.parent
            others = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
            there = _listed(others) or "is nothing"
            return f"no file matches {self._folder / self._pattern}; there {there}"
        return f"{Path(self._last).name}: {self._has} {_listed(self._names)}{suggest(metric, self._names)}"

    def _files(self) -> list[str]:
        paths = sorted(matches(self._folder, self._pattern), key=_age)
        return paths[-1:] if self._is_newest_alone else paths

    def _new_of(self, path: str, *, is_final: bool) -> Rows:
        stamp = _stamp(path)
        if stamp is None or (self._stamps.get(path) == stamp and not is_final):
            return []
        try:
            text = _text_of(path)
        except OSError:  # being replaced: the next call reads it
            return []
        self._stamps[path], self._last = stamp, path
        try:
            rows = self._read(text, is_final)
        except ValueError as error:
            raise BadResult(f"{path}: {error}") from None
        marks = [hash(repr(row)) for row in rows]
        given = self._given.setdefault("" if self._is_newest_alone else path, [])
        known = _num_alike(given, marks)
        if known < len(marks):  # otherwise the file is being rewritten, or has nothing new
            given[:] = marks
        self._names |= dict.fromkeys(name for row in rows[known:] for name in row)
        self._num_unread += rows[known:].count({})
        return [row for row in rows[known:] if row]


class _Renamed:
    """A source whose rows use the search's names: `epoch`, and the metric's name in the space."""

    def __init__(self, source: _RowFiles, spec: MetricsSpec, metric: str) -> None:
        self._source, self._spec, self._metric = source, spec, metric

    @property
    def every_s(self) -> float:
        return self._source.every_s

    @property
    def notes(self) -> Mapping[str, str]:
        return self._source.notes

    @property
    def is_found(self) -> bool:
        return self._source.is_found

    def new(self, *, is_final: bool) -> Rows:
        rows = [self._renamed(row) for row in self._source.new(is_final=is_final)]
        for row in rows:
            self._source.validations.see(row)
        return rows

    def num_without(self, metric: str) -> int:
        return self._source.num_without(self._spec.metric or metric)

    def num_epochs_of(self, path: Path) -> int:
        return num_counted([self._renamed(row) for row in self._source.rows_of(path)])

    def found(self, metric: str) -> str:
        return self._source.found(self._spec.metric or metric)

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        spec = self._spec
        plain = {name: value for name, value in row.items() if name != "epoch" or spec.epoch == "epoch"}
        if spec.epoch not in row and spec.epoch == "epoch":
            plain = with_epoch(plain)
        elif spec.epoch in row:
            plain["epoch"] = (
                _whole_if_near(row[spec.epoch]) if spec.kind == "trainer_state" else row[spec.epoch]
            )
        if spec.metric in row:
            plain[self._metric] = row[spec.metric]
        return plain


def _table(text: str, is_final: bool) -> Rows:
    """Parse the rows of a CSV without empty cells, numbers as numbers; an unfinished last line only if final.

    Raises:
        ValueError: Its first row has more cells than the header has names, so that cells might be read under
            the wrong names.
    """
    if not is_final:
        text = text[: text.rfind("\n") + 1]
    text = _without_comments(text)
    lines = [line.strip() for line in text.strip().splitlines()]
    reader = csv.reader(io.StringIO(text), delimiter=_delimiter(lines[:2]), skipinitialspace=True)
    names: list[str] = []
    rows: Rows = []
    try:
        for cells in ([cell.strip() for cell in row] for row in reader):
            if not any(cells):
                continue
            if not names or _is_header(cells, names):
                names = cells
            elif any(cells[len(names) :]):
                if not any(rows):
                    raise ValueError(_unequal(cells, names))
                rows.append({})
            else:
                pairs = zip(names, cells, strict=False)
                rows.append(
                    {name: _plain(cell) for name, cell in pairs if name and cell.lower() not in _EMPTY}
                )
    except csv.Error as error:
        raise ValueError(f"is not CSV: {error}") from None
    return rows


def _without_comments(text: str) -> str:
    """Drop lines that begin with #, except that the last before the first row is the header if there is none.

    NumPy writes, and Gnuplot reads, headers in this form.
    """
    if not text.lstrip().startswith("#"):
        return text
    lines = text.splitlines(keepends=True)
    rows = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if rows and any(isinstance(_plain(word), int | float) for word in re.split(r"[,;\s]+", rows[0].strip())):
        heads = itertools.takewhile(lambda line: line != rows[0], lines)
        rows.insert(0, [line for line in heads if line.strip()][-1].lstrip().lstrip("#"))
    return "".join(rows)


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter of a header and its first row; a blank if neither has any other."""
    found = max(",;\t", key=lines[0].count) if lines else ","
    is_by_blanks = len(lines) > 1 and all(found not in line and " " in line for line in lines)
    return " " if is_by_blanks else found


def _is_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row is a header: a resumed script may write its header again, or with a further column."""
    has_number = any(isinstance(_plain(cell), int | float) for cell in cells)
    return list(cells) == list(names) or ("epoch" in cells and "epoch" in names and not has_number)


def _unequal(cells: Sequence[str], names: Sequence[str]) -> str:
    return (
        f"its first row has {len(cells)} cells ({', '.join(cells)[:80]}) and its header {len(names)} names; "
        "write decimals with a point, or columns between semicolons"
    )


def _json_lines(text: str, is_final: bool) -> Rows:
    """Parse one object per line, or a single value: an array, an object, or a list for each name."""
    if (whole := _objects(text, _rows_of_whole)) or text.lstrip().startswith("["):
        return whole
    lines = text.splitlines() if is_final or text.endswith("\n") else text.splitlines()[:-1]
    return [flat(plain) for line in lines if (plain := read_object(line)) is not None]


def _log_history(text: str, is_final: bool) -> Rows:
    """Parse the `log_history` in a state of Hugging Face's trainer."""
    return _objects(text, lambda content: content["log_history"])


def _rows_of_whole(content: Any) -> Any:
    """The rows of a file that is a single value; Keras' `history` has a list for each name."""
    if not isinstance(content, dict):
        return content
    columns = list(content.values())
    if not columns or not all(isinstance(column, list) for column in columns):
        return [content]
    return [dict(zip(content, cells, strict=True)) for cells in zip(*columns, strict=False)]


def _objects(text: str, rows_in: Callable[[Any], Any]) -> Rows:
    """The objects of a list in JSON; none if the file is incomplete."""
    try:
        rows = rows_in(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [flat(row) for row in rows if isinstance(row, dict)]


def _plain(cell: str) -> Any:
    """Convert a cell to a number if it is one; 81.5% is 81.5. 1 is 1.0, as pandas may rewrite it."""
    text = cell.strip()
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        return text


def _whole_if_near(epoch: Any) -> Any:
    if isinstance(epoch, float) and round(epoch) and abs(epoch - round(epoch)) <= _EPOCH_SLACK:
        return round(epoch)
    return epoch


def _num_alike(before: Sequence[int], now: Sequence[int]) -> int:
    """Number of rows at the beginning that are the same as before."""
    for index, (one, other) in enumerate(zip(before, now, strict=False)):
        if one != other:
            return index
    return min(len(before), len(now))


def _text_of(path: str | Path) -> str:
    """A file's text, without the byte order mark that spreadsheets write."""
    return Path(path).read_text(encoding="utf-8-sig", errors="replace")


def _age(path: str) -> tuple[float, str]:
    """Sort key of files by the time they were last written; one just removed comes first."""
    stamp = _stamp(path)
    return (stamp[0] if stamp else 0.0, path)


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def _listed(names: Iterator[str] | Sequence[str] | Mapping[str, None]) -> str:
    every = list(names)
    return ", ".join(every[:_MAX_NAMED]) + (
        f" and {len(every) - _MAX_NAMED} more" if len(every) > _MAX_NAMED else ""
    )
