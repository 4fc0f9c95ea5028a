"""The folder of this machine in which a run of a bucket lives while it is written, and what it begins with.

Results in a bucket may have been continued anywhere. So before anything starts, the folder here and the
bucket are compared by their journals: where one is the beginning of the other, the longer one is the run.
Where both have lines that the other lacks, two machines have continued it; the bucket's is taken then, and
the folder is set aside, never deleted.
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

_PATIENCE_S = 300.0  # without an object, or a part of a large one, that comes through


@dataclass(frozen=True)
class HeldRun:
    """A run of a bucket that this process may write.

    Attributes:
        folder: Where to write it; the mirror ships what is there.
    """

    folder: Path
    mirror: Mirror


@contextmanager
def holding(address: Address, output: Output) -> Iterator[HeldRun]:
    """Hold a run of a bucket within the block, new or not: its latest state is in the folder, and what is
    written there is shipped. The end of the block waits until all is.

    Raises:
        BucketError: Another process holds it, or the bucket cannot be used; nothing has been written.
        StorageError: The disk does not take its files.
        NotShipped: The block has ended, and the bucket does not take the rest.
    """
    store = check_usable(address)
    folder = address.staging
    with _holding_folder(folder):
        # By a store of its own: a beat is no sign that anything of the run comes through.
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
    """Ship everything at the end; what is not is a warning where something else has failed already."""
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
    """Keep a folder to this process, one that does not exist yet too.

    Raises:
        BucketError: Another process has it.
        StorageError: It cannot be made.
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
        for left in folder.parent.glob(".*"):  # half a copy of the folder or of its files, left by a kill
            if SCRATCH.match(left.name) and SCRATCH.sub("", left.name, count=1) == folder.name:
                shutil.rmtree(left, ignore_errors=True)
        yield


def _prepare(store: Store, folder: Path, output: Output) -> BucketRun:
    """Have the latest state of the run in its folder; gives what the bucket has of it.

    Raises:
        BucketError: The bucket does not answer, or its journal has gaps.
        StorageError: The disk does not take its files.
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
    """Leave nothing of a run that was refused before it began, or that there is not."""
    run = RunFolder(folder)
    if not run.has_run:
        run.bucket_file.unlink(missing_ok=True)
        with suppress(OSError):  # it holds something, or was never made
            folder.rmdir()


def check_writable(address: Address) -> None:
    """See that runs can be written to an address, by an object that is made and deleted there.

    Raises:
        BucketError: They cannot be.
    """
    store = check_usable(address)
    key = f".{uuid4().hex}.probe"
    try:
        store.replace(key, b"")
        store.delete([key])
    except BucketUnavailable as error:
        raise BucketError(
            f"{error}; see that the bucket exists and that its credentials are in the environment"
        ) from error


def fresh_address(address: Address) -> Address:
    """The first of NAME, NAME-2, NAME-3 and so on that has nothing in the bucket, and no run here.

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
    """Whether each journal is the beginning of the other side's."""
    return all(others.get(part, b"").startswith(journal) for part, journal in some.items())


def _whole_lines(journal: Path) -> bytes:
    content = journal.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def _set_aside(folder: Path, store: Store, *, is_beginning: bool, output: Output) -> None:
    """Give the folder another name, where there is one, and say why."""
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
        output.note(f"{store.address} is further than {folder}, which is set aside as {aside.name}")
    else:
        output.warn(
            f"{store.address} was continued elsewhere, and {folder} has events that were never shipped: the "
            f"bucket's run is taken, and this one is set aside as {aside}"
        )
