"""The lease of a run in a bucket: one process ships the run, and renews its lease every ten seconds.

No clock is compared with another machine's. A process that finds a lease watches it: one that does not change
for 45 s belongs to a process that is gone, and is taken over. A process that was only cut off finds out when
it reaches the bucket again, from the lease and, whatever happens to that, from the journal: only one process
can make its next segment.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from uuid import uuid4

from search.bucket.address import BucketError
from search.bucket.segments import TakenOver
from search.bucket.store import BucketUnavailable, Store
from search.output import Output

_KEY = "lease.json"
BEAT_S = 10.0
GONE_S = 45.0  # four beats and a slow answer
_RACE_S = 2.0  # of two processes that take a lease at once, the last one has it


class Lease:
    """This process's right to ship a run.

    Args:
        place: Names the folder it ships from; the process that holds the folder's lock may take its lease.
        sleep: Waits for some seconds.
    """

    def __init__(self, store: Store, place: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store, self._sleep = store, sleep
        self._place = f"{platform.node()}:{place}"
        self._token, self._beat = uuid4().hex, 0

    def take(self, output: Output) -> None:
        """Take the lease, which also checks that the bucket can be written and read.

        Raises:
            BucketError: Another process has the lease, or the bucket cannot be written.
        """
        try:
            self._take(output)
        except BucketUnavailable as error:
            raise BucketError(
                f"{error}\nnothing was started: check that the bucket exists and that its credentials are in "
                "the environment, or give --results a folder"
            ) from error

    def _take(self, output: Output) -> None:
        if self._store.create(_KEY, self._content()):
            if self._store.create(_KEY, self._content()):
                output.note(
                    f"{self._store.address}: this store does not refuse a second writer of an object, so "
                    "nothing but the lease keeps two machines from continuing the run at once"
                )
            return
        found = _read(self._store)
        if found and found.get("place") != self._place:
            self._watch(found, output)
        self._store.replace(_KEY, self._content())
        if found and found.get("place") != self._place:
            self._sleep(_RACE_S)
            self.check()

    def _watch(self, found: dict[str, str], output: Output) -> None:
        """Wait until the lease that was found must belong to a process that is gone.

        Raises:
            BucketError: Its process lives.
        """
        holder = found.get("holder", "another process")
        output.print(
            f"{self._store.address} is held by {holder}; watching for {GONE_S:g} s to see whether it is alive"
        )
        waited_s = 0.0
        while waited_s < GONE_S:
            self._sleep(min(BEAT_S, GONE_S - waited_s))
            waited_s += BEAT_S
            now = _read(self._store)
            if now is None:
                return
            if now != found:
                raise BucketError(
                    f"{self._store.address} is in use by {now.get('holder', holder)}; wait for it or end it"
                )
        output.warn(f"{holder} has not been heard from for {GONE_S:g} s: its run is taken over")

    def beat(self) -> None:
        """Renew the lease.

        Raises:
            TakenOver: Another process has taken the lease.
            BucketUnavailable: The bucket does not answer.
        """
        self.check()
        self._beat += 1
        self._store.replace(_KEY, self._content())

    def check(self) -> None:
        """Check that this process has the lease.

        Raises:
            TakenOver: Another process has taken it.
            BucketUnavailable: The bucket does not answer.
        """
        found = _read(self._store)
        if found is not None and found.get("token") != self._token:
            raise TakenOver(
                f"{self._store.address} was taken over by {found.get('holder', 'another process')}, which "
                "continues the run from what was shipped"
            )

    def release(self) -> None:
        """Give up the lease, if this process still has it.

        Raises:
            BucketUnavailable: The lease stays, and the next process on another machine has to watch it first.
        """
        found = _read(self._store)
        if found is not None and found.get("token") == self._token:
            self._store.delete([_KEY])

    def _content(self) -> bytes:
        holder = f"process {os.getpid()} on {platform.node()}"
        about = {"holder": holder, "place": self._place, "token": self._token, "beat": self._beat}
        return json.dumps(about).encode()


class LeaseWatch:
    """Tells a process that only reads a run whether another still ships it.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._found, self._since_s = _read(store), clock()

    def lost_holder(self) -> str:
        """Return who shipped the run if its lease has not changed, or not existed, for 45 s; else empty.

        Raises:
            BucketUnavailable: The bucket does not answer.
        """
        if (found := _read(self._store)) != self._found:
            self._found, self._since_s = found, self._clock()
        if self._clock() - self._since_s < GONE_S:
            return ""
        return (found or {}).get("holder", "its process")


def _read(store: Store) -> dict[str, str] | None:
    """Return the content of the lease, empty if it cannot be understood; None if there is no lease."""
    try:
        found = json.loads(store.read(_KEY))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
