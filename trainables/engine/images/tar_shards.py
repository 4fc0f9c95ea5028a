"""Tar files as WebDataset writes them: the files of a sample have its key for a name, each another ending."""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from trainables.engine.images.folder_names import is_never_data
from trainables.engine.images.reading import endings
from trainables.engine.shards import Shard

_IMAGE = "image"  # the column of sample.jpg, sample.png and the like; sample.seg.png is in another one
_MAX_TEXT_BYTES = 2**16
_BLOCK_BYTES = 512
_P = TypeVar("_P")


class TarShard(Shard):
    """A tar file whose images stay in it until they are needed, and whose short texts are columns.

    `0001.cls` is the column cls of the sample 0001; `0001.json` has a column for each of its keys. Images
    are the column `image`, whatever their endings; if a sample has two, each ending is a column.
    """

    def __init__(self, path: Path) -> None:
        self._keys: dict[str, int] = {}
        self._places: dict[str, dict[int, tuple[int, int]]] = {}
        texts: defaultdict[str, dict[int, Any]] = defaultdict(dict)
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    self._add(tar, member, texts)
        except tarfile.TarError as error:
            raise OSError(f"{error}; if it is compressed, decompress it") from error
        with path.open("rb") as file:
            file.seek(-_BLOCK_BYTES, 2)
            if any(file.read()):
                raise OSError("its end is missing, so it was not written or copied completely")
        self._places = _joined(self._places)
        self._names = tuple(self._keys)
        rows = range(len(self._names))
        self._columns = {
            name: [values.get(row) for row in rows]
            for name, values in texts.items()
            if name not in self._places
        }
        fields = [(name, pa.binary()) for name in self._places]
        fields += [(name, _type_of(values)) for name, values in self._columns.items()]
        super().__init__(path, pa.schema(fields), len(rows), ())

    def place(self, row: int) -> str:
        return self._names[row]

    def column(self, name: str) -> list[Any]:
        return self._columns[name]

    def without_value(self, column: str) -> np.ndarray:
        return np.setdiff1d(np.arange(self.num_rows), list(self._places[column]))

    def value(self, column: str, row: int) -> bytes:
        start, num_bytes = self._places[column][row]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(num_bytes)

    def _add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, texts: dict[str, dict[int, Any]]) -> None:
        """Note where an image is, or read a text."""
        folder, _, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if not member.isfile() or is_never_data(name) or not ending:
            return
        row = self._keys.setdefault(f"{folder}/{stem}".lstrip("./"), len(self._keys))
        if f".{ending.rpartition('.')[2]}".lower() in endings():
            self._places.setdefault(ending, {})[row] = member.offset_data, member.size
        elif member.size <= _MAX_TEXT_BYTES and (file := tar.extractfile(member)):
            for column, value in _values(ending, file.read()).items():
                texts[column][row] = value


def _joined(places: dict[str, dict[int, _P]]) -> dict[str, dict[int, _P]]:
    """The places of images by column: those of all endings without a dot together, if no sample has two."""
    plain = {ending: of_rows for ending, of_rows in places.items() if "." not in ending}
    together = {row: place for of_rows in plain.values() for row, place in of_rows.items()}
    if not together or len(together) < sum(map(len, plain.values())):
        return places
    return {_IMAGE: together, **{ending: places[ending] for ending in places if ending not in plain}}


def _values(ending: str, content: bytes) -> dict[str, Any]:
    """The columns that a text file is: itself, or the keys of its JSON object; none if it is no text."""
    try:
        text = content.decode()
        found = json.loads(text) if ending == "json" else text.strip()
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {ending: found}


def _type_of(values: list[Any]) -> pa.DataType:
    """The type of a column; that of text if its values have several."""
    try:
        return pa.array(values).type
    except pa.ArrowException:
        return pa.string()
