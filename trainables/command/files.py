"""What a command leaves in its trial's folder, and the lines it prints there."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LAST_LINES = 20
_LAST_KIB = 64


class Files:
    """The files of one training by a command.

    Attributes:
        checkpoint: A folder of the script's own, `{checkpoint_dir}`.
        arguments: The hyperparameters as JSON, for a command that reads them from a file.
        stdout, stderr: All that it printed, over several processes if it was resumed.
        lock: Held by whoever runs the script; its content is the script's pid.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.absolute()  # the script runs in another one
        self.checkpoint = folder / "checkpoint"
        self.arguments = folder / "arguments.json"
        self.stdout, self.stderr = folder / "stdout.txt", folder / "stderr.txt"
        self.test_stdout = folder / "test-stdout.txt"
        self.lock = folder / "script.lock"
        self.checkpoint.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until the last guardian, whose starter may be lost, has left nothing behind."""
        with self.lock.open("a+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def clear(self) -> None:
        """Begin anew; what was printed before is kept beside."""
        with self.locked():
            shutil.rmtree(self.checkpoint)
            self.checkpoint.mkdir()
            for path in (self.stdout, self.stderr):
                if path.exists():
                    path.replace(path.with_stem(f"{path.stem}-before"))

    @property
    def has_checkpoint(self) -> bool:
        return any(self.checkpoint.iterdir())

    def packed(self) -> dict[str, bytes]:
        """The script's checkpoint as plain data."""
        found = (path for path in sorted(self.checkpoint.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.checkpoint)): path.read_bytes() for path in found}

    def unpack(self, packed: dict[str, bytes]) -> None:
        for name, content in packed.items():
            path = self.checkpoint / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


class Lines:
    """The lines that are added to a file.

    Args:
        is_from_end: Leave out what stands there already.
    """

    def __init__(self, path: Path, *, is_from_end: bool) -> None:
        self._path = path
        self._offset = 0
        if is_from_end and path.exists():
            self._offset = _with_whole_lines(path)
        self._start = self._offset

    def new(self, *, is_final: bool) -> list[str]:
        """The lines since the last call; an unfinished one only when nothing more can come."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        if not is_final:
            content = content[: content.rfind(b"\n") + 1]
        self._offset += len(content)
        return content.decode(errors="replace").splitlines()

    def last(self) -> list[str]:
        """The end of all that was added, blank lines left out."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._start, size - _LAST_KIB * 1024))
            lines = file.read().decode(errors="replace").splitlines()
            return [line for line in lines if line.strip()][-_LAST_LINES:]
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
