"""Damage to the files of a run, as done by failing disks, other programs and people."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

Draw = random.Random
StateDamage = Callable[[list[Path], Draw], None]
ContentDamage = Callable[[bytes, Draw], bytes]


def flip(states: list[Path], draw: Draw) -> None:
    path = draw.choice(states)
    path.write_bytes(flipped(path.read_bytes(), draw))


def cut(states: list[Path], draw: Draw) -> None:
    path = draw.choice(states)
    os.truncate(path, draw.randrange(path.stat().st_size))


def zero(states: list[Path], draw: Draw) -> None:
    path = draw.choice(states)
    path.write_bytes(bytes(path.stat().st_size))


def swap(states: list[Path], draw: Draw) -> None:
    one, other = draw.choice(states), draw.choice(states)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def copy_over(states: list[Path], draw: Draw) -> None:
    one, other = draw.choice(states), draw.choice(states)
    other.write_bytes(one.read_bytes())


def remove(states: list[Path], draw: Draw) -> None:
    draw.choice(states).unlink()


def put_a_folder(states: list[Path], draw: Draw) -> None:
    path = draw.choice(states)
    path.unlink()
    path.mkdir()


STATE_DAMAGES: tuple[StateDamage, ...] = (flip, cut, zero, swap, copy_over, remove, put_a_folder)


def states_of(folder: Path) -> list[Path]:
    """The checkpoints of a run, except those set aside."""
    found = sorted(folder.glob("trials/*/checkpoint*.pt"))
    return [path for path in found if path.is_file() and "set-aside" not in path.name]


def flipped(content: bytes, draw: Draw) -> bytes:
    """The content with one bit flipped."""
    changed = bytearray(content)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncated(content: bytes, draw: Draw) -> bytes:
    return content[: draw.randrange(len(content))]


def without_a_line(content: bytes, draw: Draw) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    return b"".join(lines)


def without_the_last_lines(content: bytes, draw: Draw) -> bytes:
    """Drop lines at the end, like restoring an older copy: whole in itself."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: draw.randint(len(lines) // 2, len(lines))])


def with_a_line_doubled(content: bytes, draw: Draw) -> bytes:
    lines = content.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    return b"".join([*lines[: at + 1], *lines[at:]])


def with_lines_swapped(content: bytes, draw: Draw) -> bytes:
    lines = content.splitlines(keepends=True)
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def with_torn_lines(content: bytes, draw: Draw) -> bytes:
    """Append the beginnings of two lines, as a repair by hand may leave them."""
    lines = content.splitlines(keepends=True)
    torn = [draw.choice(lines)[: draw.randrange(1, 40)] for _ in range(2)]
    return content + torn[0] + b"\n" + torn[1]


def with_a_page_zeroed(content: bytes, draw: Draw) -> bytes:
    """Zero a range, like a block that the file system never wrote."""
    at = draw.randrange(len(content))
    size = min(draw.choice([1, 64, 512, 4096]), len(content) - at)
    return content[:at] + bytes(size) + content[at + size :]


def with_a_byte_changed(content: bytes, draw: Draw) -> bytes:
    """Change a byte to one that may occur in a line, as an editor would."""
    at = draw.randrange(len(content))
    return content[:at] + bytes([draw.choice(b'0159e.,-"{} ')]) + content[at + 1 :]


def emptied(content: bytes, draw: Draw) -> bytes:
    return b""


FILE_DAMAGES: tuple[ContentDamage, ...] = (flipped, truncated, emptied)

JOURNAL_DAMAGES: tuple[ContentDamage, ...] = (
    flipped,
    truncated,
    without_a_line,
    without_the_last_lines,
    with_a_line_doubled,
    with_lines_swapped,
    with_torn_lines,
    with_a_page_zeroed,
    with_a_byte_changed,
    emptied,
)
