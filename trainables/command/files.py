"""What a command leaves in its trial's folder, and the lines it prints there."""

from __future__ import annotations

import fcntl
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
        checkpoint: A folder of the script's own, `{checkpoint_dir}`.
        arguments: The hyperparameters as JSON, for a command that reads them from a file.
        history: What the stand-in for wandb was given, line by line.
        stdout, stderr: All that it printed, over several processes if it was resumed.
        lock: Held by the process that runs the script; its content is the script's pid.
        other_ranks: A folder of what ranks above 0 print, where a launcher starts several.
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
        """Wait until the last guardian, whose starter may be lost, has left nothing behind.

        Raises:
            ScriptFailed: It has not after `most_s`.
        """
        ends_s = time.monotonic() + most_s
        with self.lock.open("a+b") as lock:
            while not _is_taken(lock.fileno()):
                if time.monotonic() > ends_s:
                    raise ScriptFailed(self._held_text(most_s))
                time.sleep(_LOOK_EVERY_S)
            yield

    def _held_text(self, waited_s: float) -> str:
        """Which process still holds the lock, and what to do about it."""
        pid = self.lock.read_text()
        return (
            f"another run of this script, process {pid or 'unknown'}, still holds {self.lock} after "
            f"{waited_s:g} s; end it (kill {pid or 'PID'}) and try again"
        )

    def clear(self, most_s: float) -> None:
        """Start over; what was printed before is kept beside.

        Raises:
            ScriptFailed: The script of before still runs after `most_s`.
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
        """What was written last of all that matches a pattern in the script's checkpoint folder."""
        return max(self.checkpoint.glob(pattern), key=_written_ns, default=None)

    def stamp(self, pattern: str) -> tuple[int, int]:
        """When the newest match was last written, in ns, and its bytes, of a folder all in it; 0 of none."""
        newest = self.newest(pattern)
        try:
            states = [each.stat() for each in (newest, *newest.rglob("*"))] if newest else []
        except OSError:  # replaced just now
            return 0, 0
        return max((each.st_mtime_ns for each in states), default=0), sum(each.st_size for each in states)

    def packed(self) -> dict[str, bytes]:
        """The script's checkpoint as plain data."""
        found = (path for path in sorted(self.checkpoint.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.checkpoint)): path.read_bytes() for path in found}

    def unpack(self, packed: dict[str, bytes]) -> None:
        """Write what `packed` gave into the script's checkpoint folder."""
        for name, content in packed.items():
            path = self.checkpoint / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed since it was listed
        return 0


def _is_taken(lock: int) -> bool:
    """Whether this process has the lock now; it does not wait for it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Lines:
    """The lines that are added to a file. A carriage return ends a line too.

    Args:
        is_from_end: Leave out what stands there already.
    """

    def __init__(self, path: Path, *, is_from_end: bool) -> None:
        self._path = path
        self._offset = 0
        if is_from_end and path.exists():
            self._offset = _with_whole_lines(path)
        self._start = self._offset
        self._rest: list[bytes] = []  # of a line whose end is to come

    def new(self, *, is_final: bool) -> list[str]:
        """The lines since the last call that may be JSON; an unfinished one only when nothing more can come.

        Of lines beyond 64 MiB the end is lost.
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
        """The lines that end in `chunk` and have a brace."""
        *lines, rest = _LINE_END.split(chunk)
        if lines:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest = []
        if sum(map(len, self._rest)) < _MAX_LINE_BYTES:
            self._rest.append(rest)
        return [line for line in lines if b"{" in line]

    def last(self, within: Callable[[list[str]], list[str]] = list) -> list[str]:
        """The end of all that was added, blank lines left out.

        Args:
            within: Gives those lines that are wanted.
        """
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._start, size - _LAST_KIB * 1024))
            lines = file.read().decode(errors="replace").splitlines()
            return within([line for line in lines if line.strip()])[-_LAST_LINES:]
        return []


def _with_whole_lines(path: Path) -> int:
    """The size of the file, its last line finished: a kill may have cut it."""
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                size += file.write(b"\n")
    return size
