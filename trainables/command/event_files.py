"""Reads scalars from TensorBoard event files as they grow.

A file is a sequence of records: length (8 bytes), its checksum (4), an `Event` message, its checksum (4). The
message definition is tensorboardX's, so TensorBoard itself need not be installed.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Any

from trainables.command.missing_scores import ENOUGH, Validations, is_near
from trainables.core.contract import BadResult
from trainables.core.suggest import suggest

_EVERY_S = 0.25
_LENGTH = struct.Struct("<Q")
_FLOAT32, _CONTENT = 1, struct.Struct("<f")  # DT_FLOAT of TensorFlow's types.proto, and its bytes
_AROUND = 4  # bytes of each checksum
_MAX_RECORD_BYTES = 2**31  # the most that a message can have; the length of a longer one is none
_MAX_NAMED = 12


class EventFiles:
    """A source of one row for each value of a tag, with the latest values of the other tags.

    The tag must not come from two folders in turn: Keras writes scores of training to one folder and those of
    validation to another, under the same tags.

    Args:
        folder: Folder that the pattern is relative to.
        pattern: Pattern of the files' paths.
        is_counted_by_step: Whether the script logs its epoch as the step; otherwise the tag's values are
            epochs in their order.
        tag: The metric's tag, which rows call `metric`.
    """

    def __init__(
        self, folder: Path, pattern: str, *, is_counted_by_step: bool, tag: str, metric: str
    ) -> None:
        self.every_s = _EVERY_S
        self._folder, self._pattern, self._is_counted_by_step = folder, pattern, is_counted_by_step
        self._tag, self._metric = tag, metric
        self._offsets: dict[str, int] = {}
        self._latest: dict[str, float] = {}
        self._validations = Validations()
        self._unread: dict[str, None] = {}
        self._tag_folders: list[Path] = []  # in which the tag was found, the latest last

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
        """Return as in the protocol.

        Raises:
            BadResult: The tag comes from two folders in turn.
        """
        rows = []
        paths = sorted(matches(self._folder, self._pattern))
        scalars = [scalar for path in paths for scalar in self._scalars(path)]
        for _, path, tag, step, value in sorted(scalars, key=operator.itemgetter(0)):
            self._latest[tag] = value
            self._validations.see({tag: value})
            if tag == self._tag:
                self._check_folder(Path(path).parent)
                # Lightning logs a scalar "epoch" after those it belongs to: here it is still the one before.
                latest = {name: number for name, number in self._latest.items() if name != "epoch"}
                epoch = {"epoch": step} if self._is_counted_by_step else {}
                rows.append({**latest, self._metric: value, **epoch})
        return rows

    def _check_folder(self, folder: Path) -> None:
        """Record where the tag was found; a resumed script may go on in another folder, but not return."""
        if folder in self._tag_folders[:-1]:
            names = [str(each.relative_to(self._folder)) for each in self._tag_folders]
            raise BadResult(
                f"the event files of {' and of '.join(names)} have the tag {self._tag}, in turn: name those "
                f'that count, such as file: "{{checkpoint_dir}}/{names[-1]}/*tfevents*" under tensorboard'
            )
        if folder not in self._tag_folders:
            self._tag_folders.append(folder)

    def found(self, metric: str) -> str:
        if not self._offsets:
            return f"no file matches {self._folder / self._pattern}"
        tags = list(self._latest)
        named = ", ".join(tags[:_MAX_NAMED]) or "nothing"
        return f"the event files have the tags {named}{suggest(self._tag, tags)}"

    def _scalars(self, path: str) -> Iterator[tuple[float, str, str, int, float]]:
        """Time in s, file, tag, step and value of each scalar added since the last call."""
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
                number = value.simple_value if value.HasField("simple_value") else _single(value.tensor)
                if number is not None:
                    yield event.wall_time, path, value.tag, event.step, number

    def _records(self, path: str) -> Iterator[bytes]:
        """The complete records added since the last call; an incomplete one is left for the next."""
        if path in self._unread or not Path(path).is_file():  # a script may have removed it meanwhile
            return
        with Path(path).open("rb") as file:
            file.seek(self._offsets.setdefault(path, 0))
            while len(head := file.read(_LENGTH.size + _AROUND)) == _LENGTH.size + _AROUND:
                (length,) = _LENGTH.unpack(head[: _LENGTH.size])
                if length > _MAX_RECORD_BYTES:
                    self._unread[path] = None
                    return
                body = file.read(length + _AROUND)
                if len(body) < length + _AROUND:
                    break
                self._offsets[path] += len(head) + len(body)
                yield body[:length]


def matches(folder: Path, pattern: str) -> list[str]:
    """Paths below `folder` that match a pattern, whatever characters the folder's own path has."""
    found = glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 - ** includes no hidden folders
    return [str(folder / path) for path in found]


def _single(tensor: Any) -> float | None:
    """The number in a tensor of one, in the form of PyTorch's writer or of TensorFlow's, which Keras uses."""
    if len(tensor.float_val) == 1:
        return float(tensor.float_val[0])
    if tensor.dtype == _FLOAT32 and len(tensor.tensor_content) == _CONTENT.size:
        return float(_CONTENT.unpack(tensor.tensor_content)[0])
    return None
