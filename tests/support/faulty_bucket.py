"""A bucket in memory that fails on demand: before an operation, or after it with the answer lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from search.bucket.address import Address
from search.bucket.fetch import BucketRun, make_folder, read_bucket
from search.bucket.lease import Lease
from search.bucket.mirror import Mirror
from search.bucket.store import Store
from search.ledger import Ledger
from search.output import Output

ADDRESS = Address.parse("faulty://bucket/exp/run")


@dataclass
class Fault:
    """A failing operation.

    Attributes:
        operation: "pipe", "put", "cat", "get", "rm", "find"; empty for any.
        key: A part of the object's path.
        number: How many such operations succeed before it.
        is_done: Whether the operation takes effect and only its answer is lost.
        lasts: Whether all later ones fail too.
        error: The exception to raise.
    """

    operation: str = ""
    key: str = ""
    number: int = 0
    is_done: bool = False
    lasts: bool = False
    error: Exception | None = None

    def is_due(self, operation: str, path: str) -> bool:
        if self.operation not in ("", operation) or self.key not in path:
            return False
        self.number -= 1
        return self.number == -1 or (self.lasts and self.number < 0)


class FaultyBucket(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Objects in memory, one operation at a time: fsspec's own shares one read position among all readers."""

    protocol = ("faulty",)
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    faults: ClassVar[list[Fault]] = []
    operations: ClassVar[list[tuple[str, str]]] = []
    before: ClassVar[Callable[[str, str], None] | None] = None
    lock: ClassVar[Any] = threading.RLock()

    @classmethod
    def clear(cls) -> None:
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.faults.clear()
        cls.operations.clear()
        cls.before = None

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).replace("faulty://", "memory://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> Any:
        with self._operation("pipe", path):
            return super().pipe_file(path, value, mode=mode, **kwargs)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> Any:
        with self._operation("put", rpath):
            return super().pipe_file(rpath, Path(lpath).read_bytes())

    def cat_file(self, path: str, **kwargs: Any) -> Any:
        with self._operation("cat", path):
            return super().cat_file(path, **kwargs)

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> Any:
        with self._operation("get", rpath):
            Path(lpath).write_bytes(super().cat_file(rpath))

    def rm_file(self, path: str) -> Any:
        with self._operation("rm", path):
            return self._rm(path)

    def find(self, path: str, **kwargs: Any) -> Any:
        with self._operation("find", path):
            return super().find(path, **kwargs)

    @contextmanager
    def _operation(self, operation: str, path: str) -> Iterator[None]:
        cls = type(self)
        with cls.lock:
            cls.operations.append((operation, path))
            if cls.before:
                cls.before(operation, path)
            due = next((fault for fault in cls.faults if fault.is_due(operation, path)), None)
            if due and not due.is_done:
                raise due.error or ConnectionError("the server is gone")
            yield
            if due:
                raise due.error or ConnectionError("the answer was lost")


fsspec.register_implementation("faulty", FaultyBucket, clobber=True)


def objects(part: str = "") -> dict[str, bytes]:
    """The objects in the run's bucket, by key."""
    root = "/bucket/exp/run/"
    found = {path[len(root) :]: file.getvalue() for path, file in FaultyBucket.store.items()}
    return {key: content for key, content in found.items() if part in key}


def mirror_of(folder: Path, output: Output | None = None) -> Mirror:
    """A mirror that starts from the bucket's current contents, and whose steps a test takes itself."""
    store = Store(ADDRESS)
    lease = Lease(Store(ADDRESS), str(folder), sleep=lambda _: None)
    output = output or Output.silent()
    lease.take(output)
    return Mirror(store, folder, read_bucket(store), lease, output)


def fetched(folder: Path) -> tuple[BucketRun, list[str]]:
    """What another machine finds in the bucket, and what is missing from the folder it makes of it."""
    store = Store(ADDRESS)
    found = read_bucket(store)
    return found, make_folder(store, found, folder)


def run_with_space(folder: Path) -> Ledger:
    """A run before its first trial."""
    ledger = Ledger.create(folder)
    ledger.write_text(ledger.space_file.name, "{trainable:small_cnn}\n")
    return ledger


def write_event(ledger: Ledger, number: int) -> None:
    """Write a line to the journal, then a trial's checkpoint and a table with its number."""
    asked = {"number": number, "proposed_by": "sampler", "seed": 1, "hparams": {"lr": 0.1}}
    ledger.journal.append({"event": "trial_asked", "trial": f"trial-{number:04d}", **asked})
    folder = ledger.trial_folder("trial-0000")
    folder.mkdir(parents=True, exist_ok=True)
    (scratch := folder / "next").write_text(f"{number:06d} " * 40)
    scratch.replace(folder / "checkpoint.pt")
    ledger.write_text("trials.csv", f"trials\n{number}\n")
