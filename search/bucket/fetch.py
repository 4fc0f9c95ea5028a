"""Reads a run from its bucket, and makes a folder of it on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from uuid import uuid4

from search.bucket.address import Address, BucketError
from search.bucket.files import link_or_copy, parts_of
from search.bucket.manifest import BadManifest, Content, Manifest, content_of, manifest_number
from search.bucket.segments import holds_end, join_segments, last_known, lines_before, part_of
from search.bucket.store import BucketUnavailable, Store, check_usable
from search.ledger.journal import StorageError, unwritten
from search.ledger.journal_lines import scan
from search.ledger.lock import InUse, hold
from search.ledger.run_folder import RunFolder
from search.trial.trial_folder import TrialFolder

_AT_ONCE = 8  # concurrent requests
_TRIES = 3  # a run that is being shipped replaces its files while they are read
Warn = Callable[[str], None]


@dataclass(frozen=True)
class BucketRun:
    """What a bucket has of a run.

    Attributes:
        journals: Journals by part, "" for the search itself; empty if there is no run.
        manifest: The latest manifest whose moment the journals include; None before the first.
        keys: Keys of all its objects.
        problems: Objects that cannot be used, with the reason.
    """

    journals: Mapping[str, bytes] = field(default_factory=dict)
    manifest: Manifest | None = None
    keys: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()

    @property
    def blobs(self) -> set[str]:
        """The SHA-256 of each content in the bucket."""
        return {key.partition("/")[2] for key in self.keys if key.startswith("blobs/")}

    @property
    def last_number(self) -> int:
        """The highest manifest number, also of a process that was taken over; 0 before the first."""
        return max((number for key in self.keys if (number := manifest_number(key))), default=0)


def read_bucket(store: Store, known: Mapping[str, bytes] | None = None) -> BucketRun:
    """Read what a bucket has of a run: its joined journals and its latest manifest.

    Args:
        known: Journals read from it earlier, by part; only what follows them is read.

    Raises:
        BucketUnavailable: The bucket does not answer.
        BucketError: Segments of a journal are missing or changed.
    """
    for _ in range(_TRIES):
        keys = frozenset(store.sizes())
        # Manifests come before the segments, of which a long run has thousands: meanwhile a live run would
        # replace its manifests.
        manifests, problems = _manifests(store, keys)
        if manifests or problems or not any(manifest_number(key) for key in keys):
            break
    segments: dict[str, list[str]] = {}
    for key in keys:
        if (part := part_of(key)) is not None:
            segments.setdefault(part, []).append(key)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        journals = {
            part: _read_journal(store, sorted(names), (known or {}).get(part, b""), pool)
            for part, names in segments.items()
        }
    # The latest that matches this journal, not one of a process that did not know it had been taken over.
    of_it = (manifest for manifest in manifests if _is_of(manifest, journals))
    return BucketRun(journals, next(of_it, None), keys, tuple(problems))


def _read_journal(store: Store, keys: Sequence[str], known: bytes, pool: ThreadPoolExecutor) -> bytes:
    """Join the segments of a journal; lines in `known` are not read again if it is the same journal."""
    new = keys[last_known(keys, known) :]
    before = lines_before(new[0], known)
    segments = dict(zip(new, pool.map(store.read, new), strict=True))
    first, rest = segments[new[0]], known[len(before) :]
    if len(new) < len(keys) and not (before and (first.startswith(rest) or rest.startswith(first))):
        return _read_journal(store, keys, b"", pool)  # another run of the same name
    return join_segments(store.address, segments, before if len(new) < len(keys) else b"")


def _proven(journal: Path) -> bytes:
    """Return the lines of a copy that its checksums prove; the rest of a changed copy is fetched again."""
    content = journal.read_bytes()
    return content[: scan(content, lambda event, seq: None).size]


def _is_of(manifest: Manifest, journals: Mapping[str, bytes]) -> bool:
    return all(holds_end(journals.get(part, b""), end) for part, end in manifest.ends.items())


def _manifests(store: Store, keys: frozenset[str]) -> tuple[list[Manifest], list[str]]:
    """Return the manifests that can be read, the latest first, and what is wrong with the others."""
    found, problems = [], []
    for key in sorted((key for key in keys if manifest_number(key) is not None), reverse=True):
        try:
            found.append(Manifest.decode(store.read(key)))
        except BadManifest as error:
            problems.append(f"{store.address}/{key} {error}")
        except FileNotFoundError:  # replaced by a later one since it was listed
            continue
    return found, problems


def fetch_copy(address: Address, *, with_states: bool = False, warn: Warn) -> Path:
    """Fetch a run for reading and return its folder; what is already on this machine is not fetched again.

    Args:
        with_states: Fetch its checkpoints too, which can be many times as large as all the rest.
        warn: Prints which objects of the bucket cannot be used.

    Raises:
        BucketError: There is no run, its bucket does not answer, or its journal has gaps.
        StorageError: The run cannot be written to the disk.
    """
    folder = address.copy
    with _alone(folder, warn):
        for line in _fetch_into(address, folder, with_states=with_states):
            warn(line)
        mark(folder, address)
    return folder


@contextmanager
def _alone(folder: Path, warn: Warn) -> Iterator[None]:
    """Keep other processes out of a copy while it is replaced; wait for one that is replacing it.

    Raises:
        StorageError: The lock cannot be written.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = hold(lock, folder)
        except InUse:
            warn(f"{folder} is being fetched by another process; waiting for it")
            held = hold(lock, folder, should_wait=True)
    except OSError as error:
        raise StorageError(f"{unwritten(lock, error)}; or set JOULETUNE_STAGING") from error
    with held:
        yield


def fetch_run(address: Address, folder: Path, *, warn: Warn) -> None:
    """Fetch a whole run into a new folder, which is from then on independent of the bucket.

    Raises:
        BucketError: There is no run, its bucket does not answer, its journal has gaps, or the folder exists.
        StorageError: The run cannot be written to the disk.
    """
    if folder.exists():
        raise BucketError(f"{folder} exists; give another --out")
    for line in _fetch_into(address, folder.absolute(), with_states=True):
        warn(line)


def _fetch_into(address: Address, folder: Path, *, with_states: bool) -> list[str]:
    """Fetch a run; return which objects of the bucket cannot be used."""
    store = check_usable(address)
    known = {part: _proven(RunFolder(folder / part).journal_file) for part in parts_of(folder)}
    try:
        for left in reversed(range(_TRIES)):
            found = read_bucket(store, known)
            if not found.journals.get(""):
                there = "" if found.keys else " (there is nothing at this address)"
                raise BucketError(f"{address} holds no run{there}")
            lost = make_folder(store, found, folder, with_states=with_states)
            if not lost or not left:
                break
    except BucketUnavailable as error:
        raise BucketError(f"{error}; it was not fetched") from error
    return [*found.problems, *lost]


def make_folder(store: Store, found: BucketRun, folder: Path, *, with_states: bool = True) -> list[str]:
    """Make a run's folder from its bucket, replacing an existing one; return what is missing.

    The folder is replaced as a whole: a kill leaves the old one, or none.

    Raises:
        BucketUnavailable: The bucket does not answer.
        StorageError: The folder cannot be written.
    """
    files = found.manifest.files if found.manifest else {}
    paths: dict[Content, list[str]] = {}
    for path, content in files.items():
        if with_states or not _is_state(path):
            paths.setdefault(content, []).append(path)
    try:
        with _taking_its_place(folder) as made:
            for part, journal in found.journals.items():
                file = RunFolder(made / part).journal_file
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(journal)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                problems = pool.map(
                    lambda content: _fetch(store, content, paths[content], folder, made), paths
                )
                return [line for lines in problems for line in lines]
    except BucketUnavailable:
        raise
    except OSError as error:
        raise StorageError(unwritten(folder, error)) from error


def mark(folder: Path, address: Address) -> None:
    """Record in a folder which bucket's run it is, so that nothing continues it without its bucket.

    Raises:
        StorageError: The record cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        RunFolder(folder).bucket_file.write_text(str(address), encoding="utf-8")
    except OSError as error:
        raise StorageError(unwritten(folder, error)) from error


def _fetch(store: Store, content: Content, paths: Sequence[str], folder: Path, made: Path) -> list[str]:
    """Make the files of one content, from the old folder if that has it; return which cannot be made."""
    first = made / paths[0]
    for path in paths:
        (made / path).parent.mkdir(parents=True, exist_ok=True)
    before = (folder / path for path in paths if _has(folder / path, content))
    if (same := next(before, None)) is not None:
        link_or_copy(same, first)
    elif why := _download(store, content, first):
        return [f"{store.address}: {path} {why}" for path in paths]
    for path in paths[1:]:  # no links, since each file may be written to
        shutil.copyfile(first, made / path)
    return []


def _download(store: Store, content: Content, path: Path) -> str:
    """Write a content into a file; if that fails, leave no file and return why."""
    try:
        store.download(content.key, path)
    except FileNotFoundError:
        path.unlink(missing_ok=True)
        return f"is missing ({content.key} is gone)"
    if content_of(path) != content:
        path.unlink()
        return f"is left out: {content.key} is not what was shipped (its SHA-256 differs)"
    return ""


def _has(path: Path, content: Content) -> bool:
    return path.is_file() and path.stat().st_size == content.num_bytes and content_of(path) == content


@contextmanager
def _taking_its_place(folder: Path) -> Iterator[Path]:
    """Yield a new folder, which takes the place of `folder` when the block ends without an error."""
    made = folder.with_name(f".{uuid4().hex}.{folder.name}")
    made.mkdir(parents=True)
    try:
        yield made
        if folder.exists():
            folder.rename(old := folder.with_name(f".{uuid4().hex}.{folder.name}"))
            made.rename(folder)
            shutil.rmtree(old)
        else:
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _is_state(path: str) -> bool:
    """Whether a file is a trial's state or part of a script's own checkpoint, which only training reads."""
    checkpoint = TrialFolder(Path()).checkpoint
    parts = PurePosixPath(path)
    return parts.suffix == checkpoint.suffix or checkpoint.stem in parts.parts[:-1]
