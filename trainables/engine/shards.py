"""Parquet and Arrow files: their columns, and the bytes in their rows, of which few are in memory at once."""

from __future__ import annotations

import json
import re
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainables.core.contract import DataError
from trainables.core.files import GIT_LFS_POINTER, PARQUET

_ARROW_FILE = b"ARROW1"
ADDED = re.compile(r"__\w+__")  # what libraries add: pandas __index_level_0__, webdataset __key__ and __url__
_STREAM = b"\xff\xff\xff\xff"
_STREAM_END = _STREAM + b"\0\0\0\0"
_BATCH_BYTES = 16 * 2**20
_MIN_BATCH_ROWS = 64  # more than decoding threads are apart
_BATCHES_KEPT = 3
_READS_OPEN = 2
_BUFFER_BYTES = 2**20


class Shard(ABC):
    """One file of a data set.

    A column is named by its path: `image`, or `image.bytes` for a field of a struct.

    Attributes:
        schema: Its columns, with the metadata that their writer added.
        block_starts: The first row of each block whose rows are read fast only one after another; empty if
            any order is as fast.
    """

    def __init__(self, path: Path, schema: pa.Schema, num_rows: int, block_starts: Sequence[int]) -> None:
        self.path, self.schema, self.num_rows, self.block_starts = path, schema, num_rows, block_starts

    def features(self) -> Mapping[str, Any]:
        """What the library `datasets` wrote of each column; empty if another program wrote the file."""
        try:
            described = json.loads((self.schema.metadata or {})[b"huggingface"])
            features = described["info"]["features"]
        except (KeyError, TypeError, ValueError):
            return {}
        return features if isinstance(features, dict) else {}

    def class_names(self, name: str) -> Sequence[str]:
        """The names behind the numbers in a column of classes; empty if the file has none."""
        feature = self.features().get(name)
        if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
            return []
        return [str(each) for each in feature.get("names") or ()]

    def block_of(self, row: int) -> int:
        """The number of the block that a row is in."""
        return bisect_right(self.block_starts, row) - 1

    def place(self, row: int) -> str:
        """A row as messages name it."""
        return f"row {row}"

    @abstractmethod
    def column(self, name: str) -> list[Any]:
        """The values of a column without bytes."""

    @abstractmethod
    def without_value(self, column: str) -> np.ndarray:
        """The rows that have nothing in a column of bytes."""

    @abstractmethod
    def value(self, column: str, row: int) -> bytes:
        """The bytes in a row.

        Raises:
            OSError: The file is damaged, or no longer there.
        """


class ArrowShard(Shard):
    """A file of Arrow's, as `save_to_disk` of the library `datasets` writes it, mapped into memory."""

    def __init__(self, path: Path) -> None:
        mapped = pa.memory_map(str(path))
        if mapped.size() and mapped.read_at(len(_ARROW_FILE), 0) == _ARROW_FILE:
            self._table = pa.ipc.open_file(mapped).read_all()
        else:
            self._table = pa.ipc.open_stream(mapped).read_all()
            # Batches are complete or not there: without this mark, some may be missing.
            if mapped.read_at(len(_STREAM_END), mapped.size() - len(_STREAM_END)) != _STREAM_END:
                raise pa.ArrowInvalid("its end is missing, so it was not written or copied completely")
        super().__init__(path, self._table.schema, self._table.num_rows, ())
        self._bytes: dict[str, pa.ChunkedArray] = {}

    def column(self, name: str) -> list[Any]:
        return _plain(_at(self._table, name))

    def without_value(self, column: str) -> np.ndarray:
        self._bytes[column] = _at(self._table, column)
        return np.flatnonzero(np.asarray(self._bytes[column].is_null()))

    def value(self, column: str, row: int) -> bytes:
        if column not in self._bytes:
            self._bytes[column] = _at(self._table, column)
        found: bytes = self._bytes[column][row].as_py()
        return found


class ParquetShard(Shard):
    """A Parquet file, of which batches of 16 MiB are read in turn.

    Args:
        window: What was read last; shards of one data set share it.
    """

    def __init__(self, path: Path, window: ReadWindow) -> None:
        with pq.ParquetFile(path) as file:
            self._metadata, schema = file.metadata, file.schema_arrow
        groups = [self._metadata.row_group(number) for number in range(self._metadata.num_row_groups)]
        starts = [0, *accumulate(group.num_rows for group in groups)]
        super().__init__(path, schema, starts.pop(), starts)
        self._window = window

    def column(self, name: str) -> list[Any]:
        with self._opened() as file:
            return _plain(_at(file.read(columns=[name]), name))

    def without_value(self, column: str) -> np.ndarray:
        empty = [np.zeros(0, np.int64)]
        for group in range(len(self.block_starts)):
            found = self._chunk(group, column).statistics
            if found is None or not found.has_null_count or found.null_count:
                batches = self.batches(column, group)
                empty += [first + np.flatnonzero(np.asarray(values.is_null())) for first, values in batches]
        return np.concatenate(empty)

    def value(self, column: str, row: int) -> bytes:
        try:
            return self._window.value(self, column, row)
        except MemoryError:
            raise
        except pa.ArrowException as error:
            raise OSError(f"{self.path.name} is damaged: {error}") from error

    def batches(self, column: str, group: int) -> Iterator[tuple[int, pa.Array]]:
        """The values of a row group, a few at a time, each time with the first one's row."""
        row, chunk = self.block_starts[group], self._chunk(group, column)
        row_bytes = max(1, chunk.total_uncompressed_size // max(1, chunk.num_values))
        num_rows = max(_MIN_BATCH_ROWS, _BATCH_BYTES // row_bytes)
        try:
            with self._opened() as file:
                for batch in file.iter_batches(
                    num_rows, row_groups=[group], columns=[column], use_threads=False
                ):
                    yield row, _at(batch, column)
                    row += batch.num_rows
        finally:
            # Arrow would keep the memory of its pages, 300 MB for 2,000 photographs in one group.
            pa.default_memory_pool().release_unused()

    def end_of(self, group: int) -> int:
        """The row after the last one of a row group."""
        return int([*self.block_starts, self.num_rows][group + 1])

    def _opened(self) -> pq.ParquetFile:
        # Without a buffer, a whole row group is read at once.
        return pq.ParquetFile(self.path, metadata=self._metadata, buffer_size=_BUFFER_BYTES, pre_buffer=False)

    def _chunk(self, group: int, column: str) -> Any:
        found = self._metadata.row_group(group)
        chunks = (found.column(number) for number in range(found.num_columns))
        return next(chunk for chunk in chunks if chunk.path_in_schema == column)


_Key = tuple[Path, str, int]  # a file, a column and a row group


class ReadWindow:
    """The last batches read from Parquet files, with the reads that can continue from them.

    Images are decoded in the order of their rows, by threads: each batch is read once, and in memory are
    three. In any other order, a row group is read from its start to the row, each thread another one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: defaultdict[_Key, threading.Lock] = defaultdict(threading.Lock)
        self._kept: deque[tuple[_Key, int, pa.Array]] = deque(maxlen=_BATCHES_KEPT)
        self._reads: OrderedDict[_Key, tuple[int, Iterator[tuple[int, pa.Array]]]] = OrderedDict()

    def value(self, shard: ParquetShard, column: str, row: int) -> bytes:
        """The bytes in a row of a shard."""
        key = (shard.path, column, shard.block_of(row))
        with self._lock:
            turn = self._turns[key]
        with turn:
            first, values = self._in_memory(key, row) or self._read_to(row, key, shard)
            found: bytes = values[row - first].as_py()
            return found

    def _in_memory(self, key: _Key, row: int) -> tuple[int, pa.Array] | None:
        """The batch with a row, and its first row, if it was one of the last."""
        with self._lock:
            batches = [(first, values) for of, first, values in self._kept if of == key]
        return next((each for each in batches if each[0] <= row < each[0] + len(each[1])), None)

    def _read_to(self, row: int, key: _Key, shard: ParquetShard) -> tuple[int, pa.Array]:
        """Read up to the batch with a row: from the group's start, unless a read is on its way to the row."""
        with self._lock:
            end, batches = self._reads.pop(key, (row + 1, iter(())))
        if end > row:
            batches = shard.batches(key[1], key[2])
        for first, values in batches:
            end = first + len(values)
            if end == shard.end_of(key[2]):
                next(batches, None)  # it closes the file
            with self._lock:
                self._kept.append((key, first, values))
                if row < end < shard.end_of(key[2]):
                    self._reads[key] = (end, batches)
                    if len(self._reads) > _READS_OPEN:
                        self._reads.popitem(last=False)
            if row < end:
                return first, values
        raise OSError(f"{key[0].name} ends before its row {row}")


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Raise what Arrow and the system say of a file as a DataError with its path."""
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path} cannot be read: {reason}") from error


def open_shard(path: Path, window: ReadWindow) -> Shard:
    """Open a file, by its first bytes and not its name.

    Raises:
        DataError: It is neither Parquet nor Arrow, or damaged; the message has its path.
    """
    with damage_named(path):
        with path.open("rb") as file:
            first = file.read(len(GIT_LFS_POINTER))
        if first == GIT_LFS_POINTER:
            raise DataError(f"{path} is a pointer of Git LFS; fetch the files with `git lfs pull`")
        if not first:
            raise DataError(f"{path} is empty")
        if first.startswith(PARQUET):
            return ParquetShard(path, window)
        if not first.startswith((_ARROW_FILE, _STREAM)):
            raise DataError(f"{path} is neither Parquet nor Arrow, as it begins with {first[:12]!r}")
        return ArrowShard(path)


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Read the columns of a table in Parquet, with names in place of numbers of classes.

    Raises:
        DataError: It cannot be read, or has columns of bytes.
    """
    shard = open_shard(path, ReadWindow())
    names = [name for name in shard.schema.names if not ADDED.fullmatch(name)]
    if of_bytes := [each.name for each in shard.schema if column_of_bytes(each)]:
        raise DataError(
            f"{path} has bytes in its column {of_bytes[0]}; classifiers of images read it as shards:{path}"
        )
    with damage_named(path):
        return {name: _named(shard.column(name), shard.class_names(name)) for name in names}


def _named(values: list[Any], names: Sequence[str]) -> list[Any]:
    """Values with the names of their numbers, None for a negative one, if there are names."""
    if not names:
        return values
    named = dict(enumerate(names)) | {-1: None}
    return [named.get(value, value) for value in values]


def column_of_bytes(field: pa.Field) -> str | None:
    """The path of a column's bytes: its own, or those of its field `bytes`; None if it has none."""
    if _is_bytes(field.type):
        return str(field.name)
    if pa.types.is_struct(field.type) and any(
        inner.name == "bytes" and _is_bytes(inner.type) for inner in field.type.fields
    ):
        return f"{field.name}.bytes"
    return None


def _is_bytes(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _at(table: Any, column: str) -> Any:
    """The column of a table or batch at a path."""
    if column in table.schema.names:
        return table.column(column)
    name, _, field = column.rpartition(".")
    return pc.struct_field(table.column(name), field)


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """A column as Python's values, those of a dictionary in place of its numbers."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values: list[Any] = column.to_pylist()
    return values
