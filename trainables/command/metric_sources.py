"""Reads the scores that a script leaves in files: CSV, JSON lines, a trainer's state, W&B's history.

A source gives each row once, as a mapping from names to values, like the object of a line that is printed.
Files are read again as a whole when they have changed, and rows that were given are recognised by their
content: Lightning's logger rewrites its CSV with another header when a new column comes, and Hugging Face's
trainer writes all of its history at each checkpoint. To read 100,000 rows takes 0.2 s, so a source is asked
again only after twenty times as long as its last reading took: 5 % of a core at most.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, Protocol

from trainables.command.ecosystems import MetricsSpec
from trainables.command.event_files import EventFiles
from trainables.command.rows import read_object
from trainables.core.suggest import suggest

Rows = list[dict[str, Any]]

_EVERY_S = 0.1
_COSTS_AT_MOST = 0.05  # of a core
_MAX_NAMED = 12  # names in a message
_EPOCH_SLACK = 0.05  # Hugging Face's trainer ends an epoch at 0.98 where the last batches are dropped


class MetricSource(Protocol):
    """What gives the rows of a script's scores."""

    @property
    def every_s(self) -> float:
        """How often it is worth asking."""
        ...

    def new(self, *, is_final: bool) -> Rows:
        """The rows since the last call; an unfinished one only when nothing more can come."""
        ...

    def found(self, metric: str) -> str:
        """What was found instead of the metric, for a message."""
        ...


def source_of(spec: MetricsSpec, metric: str, checkpoint: Path, history: Path) -> MetricSource:
    """The source of a kind other than printed lines.

    Args:
        metric: Its name in the space and in the rows that are given.
        checkpoint: The script's `{checkpoint_dir}`.
        history: Where the stand-in for wandb writes.
    """
    pattern = spec.file.replace("{checkpoint_dir}", str(checkpoint))
    if spec.kind == "wandb":
        return _Renamed(_RowFiles(str(history), _json_lines, "wandb.log gave"), spec, metric)
    if spec.kind == "tensorboard":
        return EventFiles(
            pattern, is_counted_by_step=spec.epoch == "step", tag=spec.metric or metric, metric=metric
        )
    if spec.kind == "trainer_state":
        return _Renamed(
            _RowFiles(pattern, _log_history, "log_history has", is_newest_alone=True), spec, metric
        )
    read = _table if spec.kind == "csv" else _json_lines
    return _Renamed(
        _RowFiles(pattern, read, "has the columns" if spec.kind == "csv" else "has the keys"), spec, metric
    )


class _RowFiles:
    """The rows of all files that a pattern matches, in the order in which the files were begun.

    Args:
        read: Gives the rows of a text; of one that is being written those that are whole.
        has: The words between a file's name and the names of its columns in a message.
        is_newest_alone: Each file repeats what those before it have.
    """

    def __init__(
        self, pattern: str, read: Callable[[str, bool], Rows], has: str, *, is_newest_alone: bool = False
    ) -> None:
        self.every_s = _EVERY_S
        self._pattern, self._read, self._has, self._is_newest_alone = pattern, read, has, is_newest_alone
        self._stamps: dict[str, tuple[int, int]] = {}
        self._given: dict[str, list[int]] = {}
        self._names: dict[str, None] = {}
        self._last: str = ""

    def new(self, *, is_final: bool) -> Rows:
        started_s = time.monotonic()
        rows = [row for path in self._files() for row in self._new_of(path, is_final=is_final)]
        self.every_s = max(_EVERY_S, (time.monotonic() - started_s) / _COSTS_AT_MOST)
        return rows

    def found(self, metric: str) -> str:
        if not self._last:
            where = Path(self._pattern.split("*")[0])
            folder = where if where.is_dir() else where.parent
            others = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
            return f"no file is {self._pattern}; there {_listed(others) or 'is nothing'}"
        return f"{Path(self._last).name}: {self._has} {_listed(self._names)}{suggest(metric, self._names)}"

    def _files(self) -> list[str]:
        paths = sorted(glob(self._pattern, recursive=True), key=_age)  # noqa: PTH207 - a pattern of any path
        return paths[-1:] if self._is_newest_alone else paths

    def _new_of(self, path: str, *, is_final: bool) -> Rows:
        stamp = _stamp(path)
        if stamp is None or (self._stamps.get(path) == stamp and not is_final):
            return []
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:  # replaced just now: the next call has it
            return []
        self._stamps[path], self._last = stamp, path
        rows = self._read(text, is_final)
        marks = [hash(repr(row)) for row in rows]
        given = self._given.setdefault("" if self._is_newest_alone else path, [])
        known = _num_alike(given, marks)
        given[:] = marks
        self._names |= dict.fromkeys(name for row in rows[known:] for name in row)
        return rows[known:]


class _Renamed:
    """Rows with the search's names: the epoch as `epoch`, the metric by its name in the space."""

    def __init__(self, source: _RowFiles, spec: MetricsSpec, metric: str) -> None:
        self._source, self._spec, self._metric = source, spec, metric

    @property
    def every_s(self) -> float:
        return self._source.every_s

    def new(self, *, is_final: bool) -> Rows:
        return [self._renamed(row) for row in self._source.new(is_final=is_final)]

    def found(self, metric: str) -> str:
        return self._source.found(self._spec.metric or metric)

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        spec = self._spec
        plain = {name: value for name, value in row.items() if name != "epoch" or spec.epoch == "epoch"}
        if spec.epoch in row:
            plain["epoch"] = (
                _whole_if_near(row[spec.epoch]) if spec.kind == "trainer_state" else row[spec.epoch]
            )
        if spec.metric in row:
            plain[self._metric] = row[spec.metric]
        return plain


def _table(text: str, is_final: bool) -> Rows:
    """The rows of a CSV, empty cells left out; numbers as numbers. Its last line only if it has an end."""
    if not is_final:
        text = text[: text.rfind("\n") + 1]
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    return [
        {
            name.strip(): _plain(cell)
            for name, cell in row.items()
            if name and isinstance(cell, str) and cell.strip()
        }
        for row in reader
    ]


def _json_lines(text: str, is_final: bool) -> Rows:
    lines = text.splitlines() if is_final or text.endswith("\n") else text.splitlines()[:-1]
    return [_flat(plain) for line in lines if (plain := read_object(line)) is not None]


def _log_history(text: str, is_final: bool) -> Rows:
    """What Hugging Face's trainer has logged; nothing of a file that is half written."""
    try:
        rows = json.loads(text)["log_history"]
    except (ValueError, KeyError, TypeError):
        return []
    return [_flat(row) for row in rows if isinstance(row, dict)]


def _flat(plain: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


def _plain(cell: str) -> Any:
    """A cell as a number where it is one."""
    text = cell.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _whole_if_near(epoch: Any) -> Any:
    if isinstance(epoch, float) and round(epoch) and abs(epoch - round(epoch)) <= _EPOCH_SLACK:
        return round(epoch)
    return epoch


def _num_alike(before: Sequence[int], now: Sequence[int]) -> int:
    """How many rows at the beginning are those of before."""
    for index, (one, other) in enumerate(zip(before, now, strict=False)):
        if one != other:
            return index
    return min(len(before), len(now))


def _age(path: str) -> tuple[float, str]:
    """Sorts files by when they were last written; one that was removed just now comes first."""
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
