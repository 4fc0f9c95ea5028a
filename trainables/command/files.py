"""The files of a command in its trial's folder, and reading the lines that it prints to them."""

from __future__ import annotations

import fcntl
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.core.checkpoint import UnreadableCheckpoint
from trainables.core.contract import ScriptFailed

_LOOK_EVERY_S = 0.05
_CHUNK_BYTES = 2**24
_MAX_LINE_BYTES = 2**26  # a longer line is no score: an image, or a file without line ends
_LINE_END = re.compile(rb"[\r\n]")  # a progress bar ends its lines with \r
_LAST_LINES = 20
_LAST_KIB = 64


class Files:
    """The files of one training by a command.

    Attributes:
        checkpoint: The script's own folder, `{checkpoint_dir}`.
        arguments: The hyperparameters as JSON, for a command that reads them from a file.
        history: The values logged to the stand-in for wandb, line by line.
        stdout, stderr: All output of the script, over several processes if it was resumed.
        lock: File locked by the process that runs the script; contains the script's pid.
        other_ranks: Folder for the output of ranks above 0, if a launcher starts several.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.absolute()  # the script runs in another one
        self.checkpoint = folder / "checkpoint"
        self.arguments = folder / "arguments.json"
        self.history = folder / "wandb.jsonl"
        self.stdout, self.stderr = folder / "stdout.txt", folder / "stderr.txt"
        self.test_stdout = folder / "test-stdout.txt"
        self.lock = folder / "script.lock"
        self.other_ranks = folder / "other-ranks"
        self.checkpoint.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self, most_s: float) -> Iterator[None]:
        """Wait until the previous guardian, whose starter may be gone, has ended its script completely.

        Raises:
            ScriptFailed: It has not within `most_s`.
        """
        ends_s = time.monotonic() + most_s
        with self.lock.open("a+b") as lock:
            while not _is_taken(lock.fileno()):
                if time.monotonic() > ends_s:
                    raise ScriptFailed(self._held_text(most_s))
                time.sleep(_LOOK_EVERY_S)
            yield

    def _held_text(self, waited_s: float) -> str:
        """Name the process that still holds the lock, and what to do about it."""
        pid = self.lock.read_text()
        return (
            f"another run of this script, process {pid or 'unknown'}, still holds {self.lock} after "
            f"{waited_s:g} s; end it (kill {pid or 'PID'}) and try again"
        )

    def clear(self, most_s: float) -> None:
        """Start over with an empty checkpoint folder; earlier output is kept under other names.

        Raises:
            ScriptFailed: The previous script still runs after `most_s`.
        """
        with self.locked(most_s):
            shutil.rmtree(self.checkpoint)
            self.checkpoint.mkdir()
            for path in (self.stdout, self.stderr, self.history):
                if path.exists():
                    path.replace(path.with_stem(f"{path.stem}-before"))

    @property
    def has_checkpoint(self) -> bool:
        return any(self.checkpoint.iterdir())

    def newest(self, pattern: str) -> Path | None:
        """The most recently written match of a pattern in the script's checkpoint folder."""
        return max(self.checkpoint.glob(pattern), key=_written_ns, default=None)

    def stamp(self, pattern: str) -> tuple[int, int]:
        """Time in ns and size in bytes of the newest match, including a folder's contents; 0 if none."""
        newest = self.newest(pattern)
        try:
            states = [each.stat() for each in (newest, *newest.rglob("*"))] if newest else []
        except OSError:  # replaced just now
            return 0, 0
        return max((each.st_mtime_ns for each in states), default=0), sum(each.st_size for each in states)

    def packed(self) -> dict[str, bytes]:
        """Return the script's checkpoint as plain data."""
        found = (path for path in sorted(self.checkpoint.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.checkpoint)): path.read_bytes() for path in found}

    def unpack(self, packed: dict[str, bytes]) -> None:
        """Write what `packed` returned into the script's checkpoint folder.

        Raises:
            UnreadableCheckpoint: A name leads out of the folder, as in a state made to overwrite other files.
        """
        folder = self.checkpoint.resolve()
        if odd := next((name for name in packed if not (folder / name).resolve().is_relative_to(folder)), ""):
            raise UnreadableCheckpoint(f"the state has a file {odd!r}, which is outside of its folder")
        for name, content in packed.items():
            path = self.checkpoint / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed after it was listed
        return 0


def _is_taken(lock: int) -> bool:
    """Try to take the lock without waiting, and return whether this process now holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Lines:
    """Lines as they are appended to a file. A carriage return also ends a line.

    Args:
        is_from_end: Whether to skip what the file already contains.
    """

    def __init__(self, path: Path, *, is_from_end: bool) -> None:
        self._path = path
        self._offset = 0
        if is_from_end and path.exists():
            self._offset = _with_whole_lines(path)
        self._start = self._offset
        self._rest: list[bytes] = []  # of a line that has not ended yet

    def new(self, *, is_final: bool) -> list[str]:
        """Return the lines since the last call that may be JSON; an unfinished one only if `is_final`.

        Lines longer than 64 MiB are not returned whole.
        """
        if not self._path.exists():
            return []
        found: list[bytes] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while chunk := file.read(_CHUNK_BYTES):
                self._offset += len(chunk)
                found += self._whole(chunk)
        if is_final:
            found += self._whole(b"\n")
        return [line.decode(errors="replace") for line in found]

    def _whole(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk` and contain a brace."""
        *lines, rest = _LINE_END.split(chunk)
        if lines:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest = []
        if sum(map(len, self._rest)) < _MAX_LINE_BYTES:
            self._rest.append(rest)
        return [line for line in lines if b"{" in line]

    def last(self, within: Callable[[list[str]], list[str]] = list) -> list[str]:
        """Return the last lines that were appended, without blank ones.

        Args:
            within: Selects the lines to choose from.
        """
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._start, size - _LAST_KIB * 1024))
            lines = file.read().decode(errors="replace").splitlines()
            return within([line for line in lines if line.strip()])[-_LAST_LINES:]
        return []


def _with_whole_lines(path: Path) -> int:
    """End the file's last line, which a kill may have truncated, and return the file's size."""
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                size += file.write(b"\n")
    return size
