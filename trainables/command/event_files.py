"""Reads scalars from TensorBoard event files as they grow.

A file is a sequence of records: length (8 bytes), its checksum (4), an `Event` message, its checksum (4). The
message definition is tensorboardX's, so TensorBoard itself need not be installed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Any

from trainables.command.missing_scores import ENOUGH, Validations, is_near
from trainables.core.suggest import suggest

_EVERY_S = 0.25
_LENGTH = struct.Struct("<Q")
_AROUND = 4  # bytes of each checksum
_MAX_NAMED = 12


class EventFiles:
    """A source of one row for each value of a tag, with the latest values of the other tags.

    Args:
        pattern: Pattern of the files' paths.
        is_counted_by_step: Whether the script logs its epoch as the step; otherwise the tag's values are
            epochs in their order.
        tag: The metric's tag, which rows call `metric`.
    """

    def __init__(self, pattern: str, *, is_counted_by_step: bool, tag: str, metric: str) -> None:
        self.every_s = _EVERY_S
        self._pattern, self._is_counted_by_step = pattern, is_counted_by_step
        self._tag, self._metric = tag, metric
        self._offsets: dict[str, int] = {}
        self._latest: dict[str, float] = {}
        self._validations = Validations()
        self._unread: dict[str, None] = {}

    @property
    def is_found(self) -> bool:
        return bool(self._offsets)

    @property
    def notes(self) -> dict[str, str]:
        names = ", ".join(Path(path).name for path in self._unread)
        return {"unread": f"not read to its end, as its records are damaged: {names}"} if names else {}

    def num_without(self, metric: str) -> int:
        num_epochs = self._validations.num_epochs
        is_over = num_epochs >= ENOUGH and self._tag not in self._latest
        return num_epochs if is_over and is_near(self._tag, self._latest) else 0

    def num_epochs_of(self, path: Path) -> int:
        """Return 0: event files are named after the time, and so are never searched for elsewhere."""
        return 0

    def new(self, *, is_final: bool) -> list[dict[str, Any]]:
        rows = []
        paths = sorted(glob(self._pattern, recursive=True))  # noqa: PTH207 - names begin with the time
        for path in paths:
            for tag, step, value in self._scalars(path):
                self._latest[tag] = value
                self._validations.see({tag: value})
                if tag == self._tag:
                    epoch = {"epoch": step} if self._is_counted_by_step else {}
                    rows.append({**self._latest, self._metric: value, **epoch})
        return rows

    def found(self, metric: str) -> str:
        if not self._offsets:
            return f"no file matches {self._pattern}"
        tags = list(self._latest)
        named = ", ".join(tags[:_MAX_NAMED]) or "nothing"
        return f"the event files have the tags {named}{suggest(self._tag, tags)}"

    def _scalars(self, path: str) -> Iterator[tuple[str, int, float]]:
        """Tag, step and value of each scalar added since the last call."""
        # Imported here: TensorBoard's messages take 60 ms, and only this kind of source needs them.
        from google.protobuf.message import DecodeError
        from tensorboardX.proto.event_pb2 import Event

        for record in self._records(path):
            try:
                event = Event.FromString(record)
            except DecodeError:
                self._unread[path] = None
                return
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield value.tag, event.step, value.simple_value
                elif value.HasField("tensor") and len(value.tensor.float_val) == 1:  # as Keras writes it
                    yield value.tag, event.step, value.tensor.float_val[0]

    def _records(self, path: str) -> Iterator[bytes]:
        """The complete records added since the last call; an incomplete one is left for the next."""
        if path in self._unread:
            return
        with Path(path).open("rb") as file:
            file.seek(self._offsets.setdefault(path, 0))
            while len(head := file.read(_LENGTH.size + _AROUND)) == _LENGTH.size + _AROUND:
                (length,) = _LENGTH.unpack(head[: _LENGTH.size])
                body = file.read(length + _AROUND)
                if len(body) < length + _AROUND:
                    break
                self._offsets[path] += len(head) + len(body)
                yield body[:length]
