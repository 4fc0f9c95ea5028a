"""The lines of a journal: how an event becomes one, and how far a file of them can be trusted. Pure.

    {"time": 1764361032.118, "seq": 41, "event": "epoch", ..., "crc": "5f0c91d2"}

`seq` counts lines from 0. `crc` is the CRC-32 of the line's own text from `"seq"` up to itself, seeded with
the `crc` of the line before: a line that was changed, lost, duplicated or moved breaks the chain at that
point, and everything before it stays proven. `time` is not covered by the checksum: it is for people, and
nothing is computed from it (durations come from `elapsed_s`), so a corrected clock does no damage. Nor are
line ends: what Windows or an editor makes of them (CRLF, a byte order mark) changes no event.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.printable import printable
from trainables.core.files import GIT_LFS_POINTER

SCHEMA_VERSION = 3

# Characters: a page of text, or a traceback's last frames. Nine messages of 5 MB made a journal of 135 MB.
MAX_TEXT = 4_000

_CRC = re.compile(rb', "crc": "([0-9a-f]{8})"\}\Z')
_LATEST_S = 1e11  # of a line's time, in the year 5138: no clock shows more, and no calendar much more
_STAMP = re.compile(rb'\{"time": [^,]*, (?="seq": (\d{1,18})[,}])')


class BadLine(ValueError):
    """A line that cannot be trusted; the message says what is wrong with it."""


@dataclass(frozen=True)
class ChainEnd:
    """Where the next line continues: its number, and the checksum of the line before."""

    seq: int = 0
    crc: int = 0


@dataclass
class Scan:
    """What a journal's bytes hold.

    Attributes:
        events: Events of the intact lines, oldest first, without `seq` and `crc`.
        size: Bytes of the intact lines; what follows cannot be trusted.
        chain: Where the next line continues.
        problem: What is wrong with the first line that is not intact; empty if all are.
        rest: Everything after the intact lines.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    chain: ChainEnd = ChainEnd()
    problem: str = ""
    rest: bytes = b""

    @property
    def is_torn(self) -> bool:
        """Whether the rest is what a kill leaves: the beginning of one line, and nothing else.

        Each line is on disk before the next one is begun, so a kill leaves neither two bad lines nor a last
        line that is a complete event.
        """
        return bool(self.rest) and b"\n" not in self.rest.rstrip(b"\n") and not _is_object(self.rest)

    @property
    def num_following(self) -> int:
        """Lines after the first bad one."""
        return max(0, len(self.rest.rstrip(b"\n").split(b"\n")) - 1)


def encode(time_s: float, event: Mapping[str, Any], chain: ChainEnd) -> tuple[bytes, ChainEnd]:
    """Encode `event` as a line with its line end; also return where the next line continues.

    Raises:
        ValueError: The event has numbers that JSON lacks.
    """
    summed = json.dumps({"seq": chain.seq, **event}, allow_nan=False)[1:-1].encode()
    crc = zlib.crc32(summed, chain.crc)
    line = b'{"time": %s, %s, "crc": "%08x"}\n' % (json.dumps(round(time_s, 3)).encode(), summed, crc)
    return line, ChainEnd(chain.seq + 1, crc)


def decode(line: bytes, chain: ChainEnd) -> tuple[dict[str, Any], ChainEnd]:
    """Decode the event in `line`, given without its line feed; also return where the next line continues.

    Raises:
        BadLine: The line is no event, or not the one that belongs here.
    """
    line = line.removesuffix(b"\r")
    if chain.seq == 0:
        line = line.removeprefix(codecs.BOM_UTF8)
    stamp, seal = _STAMP.match(line), _CRC.search(line)
    if stamp is None or seal is None:
        raise BadLine(_unsealed(line, chain.seq))
    if (seq := int(stamp[1])) != chain.seq:
        raise BadLine(_wrong_place(seq, chain.seq))
    crc = int(seal[1], 16)
    if zlib.crc32(line[stamp.end() : seal.start()], chain.crc) != crc:
        raise BadLine("was changed after it was written (its checksum does not match)")
    try:
        event: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"cannot be read ({type(error).__name__})") from error
    if not _is_time(event["time"]):
        raise BadLine(f"has no time in seconds since 1970, but {event['time']!r:.60}")
    del event["seq"], event["crc"]
    return event, ChainEnd(seq + 1, crc)


def scan(content: bytes, check: Callable[[dict[str, Any], int], None], chain: ChainEnd = ChainEnd()) -> Scan:
    """Read a journal up to the first line that cannot be trusted.

    Args:
        check: Called with each event and its line's number; raises `BadLine` for one that may not follow
            those before.
        chain: Where `content` begins, if that is not the journal's beginning.
    """
    found = Scan(chain=chain)
    while found.size < len(content):
        end = content.find(b"\n", found.size)
        line = content[found.size : None if end < 0 else end]
        try:
            event, chain = decode(line, found.chain)
            check(event, found.chain.seq)
        except BadLine as bad:
            found.problem, found.rest = str(bad), content[found.size :]
            return found
        found.events.append(event)
        found.chain = chain
        found.size = len(content) if end < 0 else end + 1
    return found


def bounded(value: Any) -> Any:
    """`value` with every text in it printable, and cut at `MAX_TEXT` characters with a note of the cut."""
    match value:
        case str() if len(value) > MAX_TEXT:
            cut = printable(value[:MAX_TEXT])
            return f"{cut} ... ({len(value):,} characters; the trial's log has them all)"
        case str():
            return printable(value)
        case Mapping():
            return {key: bounded(item) for key, item in value.items()}
        case list() | tuple():
            return [bounded(item) for item in value]
    return value


def other_schema(schema: object) -> str:
    """The message about a journal of another version."""
    return (
        f"says schema {schema}, and this version reads schema {SCHEMA_VERSION}: "
        "open the run with the version that wrote it (environment.json names it)"
    )


def _unsealed(line: bytes, seq: int) -> str:
    """What is wrong with a line without a number or a checksum."""
    if line.startswith(GIT_LFS_POINTER):
        return "is a pointer of Git LFS: fetch the journal with `git lfs pull`"
    event = _object(line)
    if event is None:
        return "is cut short or damaged"
    if seq == 0 and event.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        return other_schema(event["schema"])
    if {"seq", "crc"} <= event.keys():
        return "was written again by another program, whose text the checksum does not fit"
    return "is not an event of this journal (it has no number or no checksum)"


def _wrong_place(seq: int, expected: int) -> str:
    if seq < expected:
        return f"appears a second time (it was line {seq + 1})"
    missing = f"line {expected + 1} is" if seq == expected + 1 else f"lines {expected + 1} to {seq} are"
    return f"does not follow the one before: {missing} missing (it was line {seq + 1})"


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LATEST_S


def _is_object(line: bytes) -> bool:
    return _object(line) is not None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
