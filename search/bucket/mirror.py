"""Ships a run's folder to its bucket in the background, for as long as the run takes.

There is no queue of files that could grow: each pass takes the files that differ from what was shipped, in
the state they have when their turn comes. A checkpoint that was superseded before its turn is never shipped,
and a slow bucket is behind by at most one state of each file. The journal has its own thread and waits for
one file alone, its run's space: without it, no other machine could continue the trials.

A failing bucket only causes delays: it is tried again after 5 s, 10 s, and so on up to 30 s, as long as the
run takes. The first failure is a warning, and so is whatever is not shipped in the end.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from uuid import uuid4

from search.bucket.fetch import BucketRun
from search.bucket.files import Signature, group_of, parts_of, scan, signature, taking
from search.bucket.lease import BEAT_S, Lease
from search.bucket.manifest import MANIFESTS_KEPT, Content, Manifest, content_of, manifest_number
from search.bucket.segments import JournalShipper, TakenOver
from search.bucket.store import BucketUnavailable, Store
from search.ledger.history import Event
from search.ledger.journal import StorageError
from search.ledger.run_folder import RunFolder
from search.output import Output

_JOURNAL_EVERY_S, _FILES_EVERY_S = 5.0, 15.0
_TIMES_ITS_COST = 20  # pause between two passes, in multiples of the time to find changed files
_FIRST_RETRY_S, _LAST_RETRY_S = 5.0, 30.0  # less than the 45 s after which a silent lease is taken over
_SILENT_S = 3.0  # of waiting at the end before it is explained
_AT_ONCE = 4  # trials whose files are shipped at once
_COMMIT_EVERY_S = 30.0  # during a long pass: what is shipped counts only once a manifest names it
_SMALL_BYTES = 2**22  # files up to this size are shipped from memory
Shipped = Mapping[str, tuple[Content, Signature]]  # by path in the run


class NotShipped(StorageError):
    """A run has ended and its bucket lacks a part of it; the message says where the rest is."""


class Mirror:
    """Keeps a bucket's copy of a run's folder up to date.

    Args:
        folder: The run's folder on this machine; it need not exist yet.
        found: What the bucket has. The folder's journals begin with its journals.
        lease: This process's right to ship, already taken.
        output: Where warnings go.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        found: BucketRun,
        lease: Lease,
        output: Output,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._folder, self._lease, self._output, self._clock = (
            store,
            folder,
            lease,
            output,
            clock,
        )
        self._shippers = {
            part: JournalShipper(store, part, RunFolder(folder / part).journal_file, journal)
            for part, journal in found.journals.items()
        }
        self._manifest = found.manifest
        self._number = found.last_number
        self._files: dict[str, Content] = dict(found.manifest.files) if found.manifest else {}
        self._signatures: dict[str, Signature] = {}  # of the files in self._files, as this process saw them
        self._blobs = found.blobs
        # A manifest is made after its contents, so these are whole. If a filesystem stands for the bucket, a
        # killed upload may have left half of another content: what no manifest names is shipped again.
        self._whole = self._blobs & {each.sha256 for each in self._files.values()}
        self._kept: list[set[str]] = [{each.sha256 for each in self._files.values()}]
        self._manifests = sorted(key for key in found.keys if manifest_number(key) is not None)
        self._has_named_links = False
        self._scan_s = 0.0
        self._lock = threading.Lock()  # for the shippers: both threads ship lines
        self._is_closing, self._is_abandoned = threading.Event(), threading.Event()
        self._is_shipped = threading.Event()
        self._lost: TakenOver | None = None
        self._failure = ""
        self._beaten_s = clock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to ship in the background, until `finish`."""
        for step, every_s in ((self.ship_journals, _JOURNAL_EVERY_S), (self.ship_files, _FILES_EVERY_S)):
            thread = threading.Thread(
                target=self._repeat, args=(step, every_s), name=f"bucket {step.__name__}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def on_event(self, event: Event) -> None:
        """End the run that this observes if another process has taken it over.

        Raises:
            TakenOver: Another process has.
        """
        if self._lost:
            raise self._lost

    def ship_journals(self) -> int:
        """Ship the whole lines of every journal, and renew the lease; return the number of lines.

        Until a manifest names a run's space, its journal's first line is shipped alone: it makes the run's
        name taken, and begins the journal in which the manifest has its place.

        Raises:
            BucketUnavailable: Not all are shipped.
            TakenOver: Another process continues the run.
        """
        with self._lock:
            self._find_journals()
            waiting = {part for part, path in self._unnamed_spaces().items() if self._is_expected(path)}
            num = sum(shipper.ship(only_first=part in waiting) for part, shipper in self._shippers.items())
            if self._clock() - self._beaten_s >= BEAT_S:
                self._lease.beat()
                self._beaten_s = self._clock()
        return num

    def ship_files(self) -> int:
        """Ship each file that changed since it was shipped, then a manifest of all; return how many changed.

        Raises:
            BucketUnavailable: Not all are shipped; those that are will not be shipped again.
            TakenOver: Another process continues the run.
            OSError: A file cannot be read; the others are shipped.
        """
        self._ship_spaces()
        waiting, present = self._changed()
        self._files = {path: content for path, content in self._files.items() if path in present}
        groups = [list(paths) for _, paths in groupby(waiting, key=group_of)]
        committed_s, unread = self._clock(), None
        for first in range(0, len(groups), _AT_ONCE):
            batch = [self._shipping(paths) for paths in groups[first : first + _AT_ONCE]]
            errors = [error for each in batch if (error := self._take(each))]
            unread = next((each for each in errors if not isinstance(each, BucketUnavailable)), unread)
            if failed := [each for each in errors if isinstance(each, BucketUnavailable)]:
                raise failed[0]
            if self._is_abandoned.is_set():
                return len(waiting)
            if self._clock() - committed_s >= _COMMIT_EVERY_S:
                self._commit()
                committed_s = self._clock()
        self._commit()
        if unread:
            raise unread
        return len(waiting)

    def finish(self, *, patience_s: float) -> None:
        """Ship what is left, and end. Call it once nothing writes to the folder any longer.

        It continues as long as anything comes through; Ctrl-C gives up.

        Args:
            patience_s: How long to wait while nothing comes through.

        Raises:
            NotShipped: The bucket does not have everything.
            TakenOver: Another process continues the run.
        """
        self._is_closing.set()
        num_before, since_s = self._store.num_done, self._clock()
        say_at_s = since_s + _SILENT_S
        try:
            with self._output.status(f"shipping to {self._store.address}"):
                while any(each.is_alive() for each in self._threads[-1:]) and not self._lost:  # of files
                    if self._is_shipped.wait(0.1):
                        break
                    if self._clock() > say_at_s:
                        say_at_s = math.inf
                        self._output.print(
                            f"shipping to {self._store.address}; Ctrl-C leaves the rest for later"
                        )
                    if self._store.num_done > num_before:
                        num_before, since_s = self._store.num_done, self._clock()
                    if self._clock() - since_s > patience_s:
                        break
        except KeyboardInterrupt:
            self._failure = self._failure or "interrupted"
        self._is_abandoned.set()
        if self._lost:
            raise self._lost
        if not self._is_shipped.is_set():
            raise NotShipped(self.unshipped_text())

    def unshipped_text(self) -> str:
        """Return what the bucket lacks, why, and how to ship it later."""
        with self._lock:
            num_lines = sum(shipper.num_behind() for shipper in self._shippers.values())
        files = [path for path in self._changed()[0] if self._is_unshipped(path)]
        num_bytes = sum(seen[1] for path in files if (seen := signature(self._folder / path)))
        why = f" ({self._failure})" if self._failure else ""
        return (
            f"{self._store.address} is incomplete{why}: {num_lines} lines of the journal and "
            f"{len(files)} files ({num_bytes / 1e6:.3g} MB) are only in {self._folder}; ship them with:\n"
            f"  python -m jouletune ship {self._store.address}"
        )

    def _find_journals(self) -> None:
        """Add the parts that have begun since the last pass."""
        for part in parts_of(self._folder):
            if part not in self._shippers:
                journal = RunFolder(self._folder / part).journal_file
                self._shippers[part] = JournalShipper(self._store, part, journal)

    def _ship_spaces(self) -> None:
        """Ship the space of each part that has begun, a manifest that names it, and the lines that waited."""
        with self._lock:
            self._find_journals()
        if new := [path for path in self._unnamed_spaces().values() if (self._folder / path).exists()]:
            if error := self._take(self._shipping(new)):
                raise error
            self._commit()
            self.ship_journals()

    def _unnamed_spaces(self) -> dict[str, str]:
        """Return the path of each part's space that no manifest names yet, by part."""
        named = self._manifest.files if self._manifest else {}
        name = RunFolder(self._folder).space_file.name
        return {part: path for part in list(self._shippers) if (path := f"{part}{name}") not in named}

    def _is_expected(self, path: str) -> bool:
        """Whether a file can still be shipped: at the end, when nothing writes any longer, only if there."""
        return not self._is_closing.is_set() or (self._folder / path).exists()

    def _is_unshipped(self, path: str) -> bool:
        """Whether a file differs from what the bucket has of it; one that cannot be read does."""
        try:
            return self._files.get(path) != content_of(self._folder / path)
        except OSError:
            return True

    def _repeat(self, step: Callable[[], int], every_s: float) -> None:
        """Call a step until everything is shipped, the run is lost, or nobody waits any longer.

        The journal's thread renews the lease until the last file is shipped, which may outlast a silent
        lease.
        """
        num_failed = 0
        while not self._is_abandoned.is_set():
            is_last = self._is_closing.is_set()  # first: only a pass that begins after it sees everything
            try:
                step()
            except TakenOver as error:
                self._lost = error
                return
            except OSError as error:
                num_failed += 1
                self._say_failure(error)
                pause_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(num_failed - 1, 9))
                # At the end the user waits, so it is tried again soon, however often it has failed.
                self._is_abandoned.wait(_FIRST_RETRY_S) if is_last else self._is_closing.wait(pause_s)
                continue
            num_failed = 0
            if step == self.ship_files:
                self._say_recovery()
                if is_last:
                    self._is_shipped.set()
                    return
            if is_last:
                self._is_abandoned.wait(every_s)
            else:
                pause_s = min(every_s, _JOURNAL_EVERY_S) if self._unnamed_spaces() else every_s
                self._is_closing.wait(max(pause_s, _TIMES_ITS_COST * self._scan_s))

    def _say_failure(self, error: OSError) -> None:
        if not self._failure:
            self._output.warn(
                f"{error}; the run continues in {self._folder}, and is shipped once the bucket accepts it"
            )
        self._failure = str(error)

    def _say_recovery(self) -> None:
        if self._failure:
            self._output.note(f"{self._store.address} accepts everything again")
        self._failure = ""

    def _changed(self) -> tuple[list[str], set[str]]:
        """Return the files that differ from what was shipped, sorted, and all files there are."""
        began_s = self._clock()
        signatures, links = scan(self._folder)
        if links and not self._has_named_links:
            self._has_named_links = True
            self._output.warn(f"links are not shipped: {len(links)}, such as {links[0]}")
        waiting = [path for path, seen in signatures.items() if self._signatures.get(path) != seen]
        self._scan_s = self._clock() - began_s
        return sorted(waiting), set(signatures)

    def _shipping(self, paths: Sequence[str]) -> Future[Shipped]:
        """Ship files in a daemon thread, which nobody waits for once the run is given up.

        A pool's threads would be joined at exit, where one upload to a store that does not answer takes
        minutes.
        """
        shipped: Future[Shipped] = Future()

        def ship() -> None:
            try:
                shipped.set_result(self._ship_group(paths))
            except BaseException as error:  # raised by the pass that waits for it
                shipped.set_exception(error)

        threading.Thread(target=ship, name="bucket upload", daemon=True).start()
        return shipped

    def _ship_group(self, paths: Sequence[str]) -> Shipped:
        """Ship files as they are at one moment, without those that are gone by now."""
        scratch = self._folder.with_name(f".{uuid4().hex}.{self._folder.name}")
        with taking(self._folder, paths, scratch) as taken:
            return {path: (self._ship_content(snapshot), seen) for path, (snapshot, seen) in taken.items()}

    def _take(self, shipped: Future[Shipped]) -> OSError | None:
        """Record what was shipped; return the error if it was not."""
        try:
            for path, (content, seen) in shipped.result().items():
                self._files[path], self._signatures[path] = content, seen
        except OSError as error:
            return error
        return None

    def _ship_content(self, snapshot: Path) -> Content:
        """Make sure that the bucket has a file's content; a file that changes meanwhile is copied first."""
        while True:
            before = snapshot.stat()
            if before.st_size <= _SMALL_BYTES:
                return self._ship_bytes(snapshot.read_bytes())
            content = content_of(snapshot)
            is_new = content.sha256 not in self._whole
            if is_new:
                self._store.upload(content.key, snapshot)
            after = snapshot.stat()
            if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
                self._has_whole(content)
                return content
            if is_new:
                self._store.delete([content.key])
            shutil.copyfile(snapshot, copy := snapshot.with_suffix(".copy"))
            copy.replace(snapshot)

    def _ship_bytes(self, content: bytes) -> Content:
        about = Content(hashlib.sha256(content).hexdigest(), len(content))
        if about.sha256 not in self._whole:
            self._store.replace(about.key, content)
            self._has_whole(about)
        return about

    def _has_whole(self, content: Content) -> None:
        self._blobs.add(content.sha256)
        self._whole.add(content.sha256)

    def _commit(self) -> None:
        """Ship the lines up to now, then the manifest of the files, which are all older; then clean up."""
        self.ship_journals()
        with self._lock:  # a line being shipped is counted before its checksum is set
            ends = {part: shipper.end for part, shipper in self._shippers.items()}
        has_changed = self._manifest is None or self._manifest.files != self._files
        if not has_changed or not ends.get("", (0, ""))[0]:
            return
        manifest = Manifest(number=self._number + 1, ends=ends, files=dict(self._files))
        while not self._store.create(manifest.key, manifest.encoded()):
            if self._store.read(manifest.key) == manifest.encoded():
                break  # it was made, and the answer was lost
            self._lease.check()  # another's manifest: of a process that was taken over or killed
            manifest = replace(manifest, number=manifest.number + 1)
        self._manifest, self._number = manifest, manifest.number
        self._manifests.append(manifest.key)
        self._kept = [*self._kept, {each.sha256 for each in self._files.values()}][-MANIFESTS_KEPT:]
        self._delete_superseded()

    def _delete_superseded(self) -> None:
        """Delete contents that neither the last manifest nor the one before names, and older manifests."""
        self._lease.check()
        gone = self._blobs - set().union(*self._kept)
        self._store.delete(Content(sha256, 0).key for sha256 in sorted(gone))
        self._blobs -= gone
        self._whole -= gone
        self._store.delete(self._manifests[:-MANIFESTS_KEPT])
        self._manifests = self._manifests[-MANIFESTS_KEPT:]
