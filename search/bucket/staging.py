"""The folder on this machine in which a bucket's run lives while it is written, and how it is prepared.

Results in a bucket may have been continued anywhere. So before anything starts, the folder here and the
bucket are compared by their journals: if one is the beginning of the other, the longer one is the run. If
each has lines that the other lacks, two machines have continued the run; the bucket's is then taken, and the
folder is set aside, never deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from search.bucket.address import Address, BucketError
from search.bucket.fetch import BucketRun, make_folder, mark, read_bucket
from search.bucket.files import parts_of
from search.bucket.lease import Lease
from search.bucket.mirror import Mirror, NotShipped
from search.bucket.segments import TakenOver
from search.bucket.store import BucketUnavailable, Store, check_usable
from search.ledger.journal import StorageError, unwritten
from search.ledger.lock import InUse, hold
from search.ledger.run_folder import RunFolder
from search.output import Output
from trainables.core.files import SCRATCH

_PATIENCE_S = 300.0  # while no object, or part of a large one, comes through


@dataclass(frozen=True)
class HeldRun:
    """A run of a bucket that this process may write.

    Attributes:
        folder: Where to write it; the mirror ships the folder.
    """

    folder: Path
    mirror: Mirror


@contextmanager
def holding(address: Address, output: Output) -> Iterator[HeldRun]:
    """Hold a bucket's run, new or existing, during the block.

    Its latest state is in the folder, and what is written there is shipped. The end of the block waits until
    everything is.

    Raises:
        BucketError: Another process holds the run, or the bucket cannot be used; nothing has been written.
        StorageError: Its files cannot be written to the disk.
        NotShipped: The block has ended, and the rest cannot be shipped.
    """
    store = check_usable(address)
    folder = address.staging
    with _holding_folder(folder):
        # The lease has its own store: a beat is no sign that anything of the run comes through.
        lease = Lease(check_usable(address), str(folder))
        lease.take(output)
        try:
            mirror = Mirror(store, folder, _prepare(store, folder, output), lease, output)
            output.print(f"results: {address}, by way of {folder}")
            mirror.start()
            with _finishing(mirror, output):
                yield HeldRun(folder, mirror)
        finally:
            with suppress(BucketUnavailable):  # then the next machine watches it for 45 s
                lease.release()
            _remove_if_unused(folder)


@contextmanager
def _finishing(mirror: Mirror, output: Output) -> Iterator[None]:
    """Ship everything at the end; if the block has failed, whatever is not shipped is only a warning."""
    try:
        yield
    except BaseException:
        try:
            mirror.finish(patience_s=_PATIENCE_S)
        except (NotShipped, TakenOver) as unshipped:
            output.warn(str(unshipped))
        raise
    mirror.finish(patience_s=_PATIENCE_S)


@contextmanager
def _holding_folder(folder: Path) -> Iterator[None]:
    """Lock a folder, which need not exist yet, for this process.

    Raises:
        BucketError: Another process has it.
        StorageError: The lock cannot be made.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = hold(lock, folder)
    except InUse as error:
        raise BucketError(str(error)) from error
    except OSError as error:
        raise StorageError(f"{unwritten(lock, error)}; or set JOULETUNE_STAGING") from error
    with file:
        for left in folder.parent.glob(".*"):  # partial copies that a kill has left
            if SCRATCH.match(left.name) and SCRATCH.sub("", left.name, count=1) == folder.name:
                shutil.rmtree(left, ignore_errors=True)
        yield


def _prepare(store: Store, folder: Path, output: Output) -> BucketRun:
    """Bring the run's folder to its latest state; return what the bucket has of the run.

    Raises:
        BucketError: The bucket does not answer, or its journal has gaps.
        StorageError: The run's files cannot be written to the disk.
    """
    try:
        found = read_bucket(store)
        for line in found.problems:
            output.warn(line)
        here = {part: _whole_lines(RunFolder(folder / part).journal_file) for part in parts_of(folder)}
        if not _is_beginning(found.journals, here):
            _set_aside(folder, store, is_beginning=_is_beginning(here, found.journals), output=output)
            for line in make_folder(store, found, folder):
                output.warn(f"{line}; a trial that needs it starts again")
            output.print(f"fetched from {store.address}")
        mark(folder, store.address)
    except BucketUnavailable as error:
        raise BucketError(f"{error}; nothing was started") from error
    return found


def _remove_if_unused(folder: Path) -> None:
    """Remove the folder if it holds no run, because that was refused before it began or does not exist."""
    run = RunFolder(folder)
    if not run.has_run:
        run.bucket_file.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty, or was never made
            folder.rmdir()


def check_writable(address: Address) -> None:
    """Check that runs can be written to an address, by making and deleting an object there.

    Raises:
        BucketError: They cannot be written.
    """
    store = check_usable(address)
    key = f".{uuid4().hex}.probe"
    try:
        store.replace(key, b"")
        store.delete([key])
    except BucketUnavailable as error:
        raise BucketError(
            f"{error}; check that the bucket exists and that its credentials are in the environment"
        ) from error


def fresh_address(address: Address) -> Address:
    """Return the first of NAME, NAME-2, NAME-3 and so on with nothing in the bucket and no run here.

    Raises:
        BucketError: The bucket does not answer.
    """
    number, fresh = 1, address
    try:
        while RunFolder(fresh.staging).has_run or check_usable(fresh).sizes():
            number += 1
            fresh = address.parent.child(f"{address.name}-{number}")
    except BucketUnavailable as error:
        raise BucketError(f"{error}; nothing was started") from error
    return fresh


def _is_beginning(some: Mapping[str, bytes], others: Mapping[str, bytes]) -> bool:
    """Whether each journal is the beginning of its counterpart in `others`."""
    return all(others.get(part, b"").startswith(journal) for part, journal in some.items())


def _whole_lines(journal: Path) -> bytes:
    content = journal.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def _set_aside(folder: Path, store: Store, *, is_beginning: bool, output: Output) -> None:
    """Rename the folder, if there is one, and print why."""
    if not folder.exists():
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.set-aside-{number}")).exists():
        number += 1
    try:
        folder.rename(aside)
    except OSError as error:
        raise StorageError(unwritten(aside, error)) from error
    if is_beginning:
        output.note(f"{store.address} is ahead of {folder}, which is set aside as {aside.name}")
    else:
        output.warn(
            f"{store.address} was continued elsewhere, and {folder} has events that were never shipped: the "
            f"bucket's run is used, and this one is set aside as {aside}"
        )
