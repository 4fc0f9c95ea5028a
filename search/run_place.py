"""Where a run is written, or read while it is written: in a folder of results, or in a bucket through one.

Also the two commands that move a bucket's run: `ship` sends what only this machine has, `fetch` gets it
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from search.bucket.address import Address, BucketError, is_address
from search.bucket.fetch import fetch_run
from search.bucket.lease import LeaseWatch
from search.bucket.staging import check_writable, fresh_address, holding
from search.bucket.store import check_usable
from search.errors import user_errors_as_value_error
from search.ledger import Ledger, RunFolder, fresh_folder, named_folder
from search.output import Output
from search.run.observers import Observer
from search.run_names import run_address, run_folder


@dataclass(frozen=True)
class RunPlace:
    """A run that may be written now.

    Attributes:
        folder: The run's folder on this machine.
        results: The folder of runs, or the bucket, as it is written after --results.
        followers: Observers that the run needs beside those that every run has.
    """

    folder: Path
    results: str
    followers: tuple[Observer, ...] = ()


@contextmanager
def place_to_search(
    results: Path, name: str, output: Output, *, is_fresh: bool = False
) -> Iterator[RunPlace]:
    """Yield the place of the run of this name, new or existing, for the duration of the block.

    Args:
        is_fresh: Start a new run: NAME-2, NAME-3 and so on if the name is taken.

    Raises:
        LedgerError: There cannot be such a run, or for a bucket, as in `search.bucket.staging.holding`.
    """
    if is_address(results):
        address = Address.parse(results).child(name)
        with _in_bucket(fresh_address(address) if is_fresh else address, output) as place:
            yield place
        return
    folder = named_folder(results.absolute(), name)
    folder = fresh_folder(folder) if is_fresh else folder
    _check_no_copy(folder)
    yield RunPlace(folder, str(folder.parent))


@contextmanager
def place_to_promote(run: str | Path, results: Path, output: Output) -> Iterator[RunPlace]:
    """Yield the place of an existing run for the duration of the block.

    Raises:
        LedgerError: As in `place_to_search`.
    """
    if (address := run_address(run, results)) is not None:
        with _in_bucket(address, output) as place:
            yield place
        return
    folder = run_folder(run, results)
    _check_no_copy(folder)
    yield RunPlace(folder, str(folder.parent))


@dataclass(frozen=True)
class WatchedRun:
    """A run that another process may be writing.

    Attributes:
        newest: Returns its folder; for a bucket's run, a copy fetched at each call.
        lost_holder: Returns the process that held it and is gone; empty while that may be alive.
    """

    newest: Callable[[], Path]
    lost_holder: Callable[[], str]


def place_to_watch(run: str | Path, results: Path) -> WatchedRun:
    """Return an existing run to be read again and again, with its lock or lease.

    Raises:
        BucketError: The bucket does not answer.
    """
    newest = partial(run_folder, run, results)
    if (address := run_address(run, results)) is not None:
        return WatchedRun(newest, LeaseWatch(check_usable(address)).lost_holder)
    return WatchedRun(newest, lambda: Ledger(newest()).lost_holder)


def writable_results(results: Path) -> Path:
    """Return `local_results` after checking that a bucket is writable.

    Raises:
        BucketError: The bucket is not writable.
    """
    if is_address(results):
        check_writable(Address.parse(results))
    return local_results(results)


def local_results(results: Path) -> Path:
    """Return the folder of this machine's runs in these results; for a bucket, those written from here."""
    return Address.parse(results).child("run").staging.parent if is_address(results) else results


def check_nodes_are_checked(results: Path, *, cluster: str | None, should_preflight: bool) -> None:
    """Refuse results in a bucket if nothing would notice that a cluster's nodes cannot write them.

    Raises:
        BucketError: The check of the nodes is skipped.
    """
    if is_address(results) and cluster is not None and not should_preflight:
        raise BucketError(
            "--skip-preflight with --address: trials write beside the search until it is shipped to the "
            "bucket, in JOULETUNE_STAGING, and only preflight sees whether all nodes share that folder; "
            "leave --skip-preflight out"
        )


@user_errors_as_value_error()
def ship(run: str | Path, *, results: str | Path = "results", output: Output | None = None) -> Path:
    """Send a bucket's run what only this machine has of it; return the run's folder.

    This is for a run that ended while its bucket could not be written.

    Args:
        run: The run's address, or its name in the bucket `results`.

    Raises:
        ValueError: The run is in no bucket, the bucket cannot be written, or another process holds the run.
    """
    address = _address_of(run, results)
    if not RunFolder(address.staging).has_run:
        raise BucketError(
            f"nothing of {address} is on this machine (it would be in {address.staging}): ship it from where "
            "it was searched, or fetch it"
        )
    with holding(address, output or Output()) as held:
        return Ledger.open(held.folder).folder


@user_errors_as_value_error()
def fetch(
    run: str | Path,
    *,
    results: str | Path = "results",
    path: str | Path | None = None,
    output: Output | None = None,
) -> Path:
    """Fetch a whole run from its bucket, checkpoints and models included, as an ordinary folder; return it.

    Args:
        run: The run's address, or its name in the bucket `results`.
        path: The new folder, which must not exist; defaults to results/NAME.

    Raises:
        ValueError: There is no such run, its bucket does not answer, or the folder exists.
    """
    address = _address_of(run, results)
    folder = Path(path) if path is not None else Path("results") / address.name
    fetch_run(address, folder, warn=(output or Output()).warn)
    return folder


def _address_of(run: str | Path, results: str | Path) -> Address:
    if (address := run_address(run, Path(results))) is None:
        raise BucketError(
            f"{run} is not in a bucket: write s3://bucket/path/NAME, or --results s3://bucket/path"
        )
    return address


@contextmanager
def _in_bucket(address: Address, output: Output) -> Iterator[RunPlace]:
    with holding(address, output) as held:
        yield RunPlace(held.folder, str(address.parent), (held.mirror,))


def _check_no_copy(folder: Path) -> None:
    """Refuse a folder that stands for a bucket's run: what is written there would reach it late or never.

    Raises:
        BucketError: It is such a folder.
    """
    run = RunFolder(folder)
    if run.address != str(run.folder):
        raise BucketError(
            f"{folder} is this machine's state of {run.address}: name the run by that address, or by "
            f"--results {Address.parse(run.address).parent}"
        )
