"""A journal in a bucket: segments that are made once and never changed, named by their first line's number.

A segment begins where the one before ended, so if two processes continue the same journal, only one can make
the next segment: the other finds it made, with other lines in it, and ends. A process that made a segment but
lost the answer finds its own lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from search.bucket.address import BucketError
from search.bucket.store import Store
from search.ledger.journal import JournalError
from search.ledger.journal_lines import MAX_TEXT

_KEY = re.compile(r"(?P<part>(?:[^/]+/)?)journal/(?P<first>\d{12})\.jsonl")
_CRC = re.compile(rb'"crc": "([0-9a-f]{8})"\}\n\Z')
_MOST_BYTES = (
    1_000 * MAX_TEXT
)  # of a segment with several lines: a short one is soon sent again after a cut connection


class TakenOver(JournalError):
    """Another process continues the run, so this one must end."""


class JournalShipper:
    """Ships the whole lines of one journal, in their order.

    Args:
        part: The run that the journal belongs to: "" for the search, "promotion/" for its promotion, and so
            on.
        journal: The journal's file on this machine.
        shipped: What the bucket already has of it.
    """

    def __init__(self, store: Store, part: str, journal: Path, shipped: bytes = b"") -> None:
        self.part = part
        self._store, self._journal = store, journal
        self._size, self._num_lines, self._crc = 0, 0, ""
        self._advance(shipped)

    @property
    def end(self) -> tuple[int, str]:
        """Number of lines that the bucket has, and the checksum of the last, which covers all before it."""
        return self._num_lines, self._crc

    def num_behind(self) -> int:
        """Return the number of whole lines that the bucket lacks."""
        return self._waiting().count(b"\n")

    def ship(self, *, only_first: bool = False) -> int:
        """Ship every whole line there is, or the journal's first line alone; return how many.

        Raises:
            BucketUnavailable: Some are not shipped yet; the next call ships them.
            TakenOver: The bucket has other lines in their place.
        """
        num_before = self._num_lines
        while (waiting := self._waiting()) and not (only_first and self._num_lines):
            self._ship(waiting[: waiting.index(b"\n") + 1] if only_first else _cut(waiting))
        return self._num_lines - num_before

    def _ship(self, lines: bytes) -> None:
        key = f"{self.part}journal/{self._num_lines:012d}.jsonl"
        if not self._store.create(key, lines):
            found = self._store.read(key)
            if not found or not self._waiting().startswith(found):
                raise TakenOver(
                    f"{self._store.address}: another process has continued the run (line "
                    f"{self._num_lines + 1} of {self.part}journal is not the one here); what this one did "
                    f"since is in {self._journal.parent}"
                )
            lines = found
        self._advance(lines)

    def _advance(self, lines: bytes) -> None:
        self._size += len(lines)
        self._num_lines += lines.count(b"\n")
        if seal := _CRC.search(lines):
            self._crc = seal[1].decode()

    def _waiting(self) -> bytes:
        """Return the whole lines after those shipped, without one that is being written or was cut short."""
        try:
            with self._journal.open("rb") as file:
                file.seek(self._size)
                content = file.read()
        except FileNotFoundError:  # a new run
            return b""
        return content[: content.rfind(b"\n") + 1]


def part_of(key: str) -> str | None:
    """Return the part whose journal has the segment with this key; None for other objects."""
    match = _KEY.fullmatch(key)
    return match["part"] if match else None


def _first_of(key: str) -> int:
    """Return the number of a segment's first line, from 0."""
    match = _KEY.fullmatch(key)
    return int(match["first"]) if match else 0


def last_known(keys: Sequence[str], known: bytes) -> int:
    """Return the index of the last of these sorted segments that begins within the known lines; 0 if none.

    Earlier segments need not be read: a line's checksum covers all lines before it, so if this segment agrees
    with the known journal, the earlier lines do too.
    """
    num_lines = known.count(b"\n")
    return max((place for place, key in enumerate(keys) if _first_of(key) < num_lines), default=0)


def lines_before(key: str, known: bytes) -> bytes:
    """Return the part of a journal before a segment; empty if not all of it is known."""
    first = _first_of(key)
    lines = known.split(b"\n", first)
    return known[: len(known) - len(lines[-1])] if len(lines) > first else b""


def join_segments(address: object, segments: Mapping[str, bytes], before: bytes = b"") -> bytes:
    """Return the journal that the segments of one run make.

    Reading the journal later proves that each line is what was written.

    Args:
        segments: Contents of the segments by key.
        before: The part of the journal before the first of them.

    Raises:
        BucketError: A segment is missing, or does not begin where the one before ends.
    """
    journal = before
    num_lines = before.count(b"\n")
    for key in sorted(segments):
        first = _first_of(key)
        if first > num_lines:
            raise BucketError(
                f"{address}: lines {num_lines + 1} to {first} of the journal are missing (no segment before "
                f"{key}): put the object back from a version or a copy of the bucket"
            )
        if first < num_lines or not segments[key].endswith(b"\n"):
            raise BucketError(
                f"{address}: {key} does not follow the segment before it: it was changed, or two processes "
                "wrote into a store that does not refuse the second"
            )
        journal += segments[key]
        num_lines += segments[key].count(b"\n")
    return journal


def holds_end(journal: bytes, end: tuple[int, str]) -> bool:
    """Whether a journal once had this end: this many lines, and this checksum of the last."""
    num_lines, crc = end
    if num_lines == 0:
        return True
    lines = journal.split(b"\n", num_lines)
    if len(lines) <= num_lines:
        return False
    seal = _CRC.search(lines[num_lines - 1] + b"\n")
    return seal is not None and seal[1].decode() == crc


def _cut(lines: bytes) -> bytes:
    """Return as many of the lines as a segment takes, at least one."""
    if len(lines) <= _MOST_BYTES:
        return lines
    end = lines.rfind(b"\n", 0, _MOST_BYTES)
    return lines[: end + 1] if end >= 0 else lines[: lines.find(b"\n") + 1]
