"""State on disk: written whole or not at all, proven before it is used, and read without running anything.

    file     what `torch.save` writes: a zip archive, which `torch.load(weights_only=True)` reads as it is
    comment  of that archive: {"run": ..., "trial": ..., "seed": ..., "epoch": ...}, whose state it is
    digest   the last 64 bytes: the SHA-256, in hexadecimal, of everything before them

So the file, whose it is and its digest cannot part, and a shell can do what `check_digest` does:
`head -c -64 FILE | sha256sum` prints what `tail -c 64 FILE` does. torch itself never reads the archive's
checksums: a flipped bit would be trained on. On 105 MB the digest takes 0.12 s, while it is written (0.15 s
become 0.27 s) and again before it is read. Nothing here loads torch until a state is written or read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

from trainables.core.files import replacing

_END = b"PK\5\6"  # begins a zip archive's last record, whose last two bytes are the length of its comment
_END_BYTES = 22
_DIGEST_BYTES = 64
_MAX_COMMENT_BYTES = 65_535
_CHUNK_BYTES = 2**20
# What a file itself may answer; anything else, such as a network storage that is gone, may pass.
_OF_THE_FILE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.ELOOP, errno.EISDIR}


class UnwrittenCheckpoint(OSError):
    """State could not be written; the file of before, if there is one, is as it was."""


class UnreadableCheckpoint(ValueError):
    """A file holds no state that may be used: it is damaged, or it is another training's."""


def load_torch() -> None:
    """Import what saving needs, in a start: else the first checkpoint of a worker would, 5 s of training."""
    import_module("torch")


def save_checkpoint(
    path: Path,
    state: Mapping[str, Any],
    identity: Mapping[str, Any] | None = None,
    *,
    before: Path | None = None,
) -> None:
    """Write `state` so that a kill or a full disk leaves the file of before.

    Args:
        state: Tensors, numbers, text, dicts and lists; `weights_only=True` must read it.
        identity: Whose state it is, as plain data of 60 KB of JSON at most.
        before: Where the file that it replaces stays; one that lies there goes first, so that there are
            never more than two on the disk.

    Raises:
        UnwrittenCheckpoint: The disk is full, read-only or gone.
    """
    # Here, as a search starts without torch and imports this module.
    import torch  # here, because `search` names these functions and must not load torch

    if before:
        with contextlib.suppress(OSError):
            before.unlink()
    try:
        with replacing(path) as scratch:
            # A file of Python's: torch's own says "unexpected pos" of a full disk, and nothing of the disk.
            with scratch.open("wb") as file:
                sealed = _SealedFile(file)
                torch.save(dict(state), cast(BinaryIO, sealed))  # of which torch writes and flushes only
                sealed.seal(identity or {})
            if before and path.exists():
                _keep(path, before)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise UnwrittenCheckpoint(cause.errno, cause.strerror, str(path)) from error


def load_checkpoint(path: Path, check: Callable[[Mapping[str, Any]], None] | None = None) -> dict[str, Any]:
    """The state that was saved, its tensors on the CPU.

    Generator states must stay there: `map_location="cuda"` would move them and then fail.

    Args:
        check: Called with whose state it is, once the file is proven whole and before anything of it is
            used; raises `UnreadableCheckpoint` to refuse it.

    Raises:
        FileNotFoundError: There is none.
        UnreadableCheckpoint: The file is damaged, or refused.
    """
    import torch

    with _opened(path) as file:  # one file from the proof to the end, whatever takes its place meanwhile
        identity = _proven(file, path)
        if check:
            check(identity)
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of a state that no trainable of this project saves
            raise UnreadableCheckpoint(f"{path} cannot be loaded ({type(error).__name__})") from error
    return state


def read_identity(path: Path) -> dict[str, Any]:
    """Whose state a file holds, once it is proven whole. Needs no torch.

    Raises:
        FileNotFoundError: There is none.
        UnreadableCheckpoint: The file is damaged.
    """
    with _opened(path) as file:
        return _proven(file, path)


def check_seal(path: Path) -> None:
    """See that a file which bears a digest is whole. One of another program bears none, and is let pass.

    Raises:
        UnreadableCheckpoint: It is damaged.
    """
    with _opened(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _DIGEST_BYTES))
        if _is_hexadecimal(file.read()):
            _proven(file, path)


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the one at `path` lies, while its training runs."""
    return path.with_stem(f"{path.stem}-previous")


class _SealedFile:
    """What torch writes to: adds up the digest as the bytes pass, and puts the identity at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._end = b""  # held back: the archive's last record has to give the length of its comment

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        if len(view) < _END_BYTES:
            view = memoryview(self._end + bytes(view))
        else:
            self._put(self._end)
        self._put(view[:-_END_BYTES])
        self._end = bytes(view[-_END_BYTES:])
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def seal(self, identity: Mapping[str, Any]) -> None:
        """Write what ends the file.

        Raises:
            ValueError: The identity is too long, or torch wrote no archive.
        """
        text = json.dumps(identity).encode()
        num_bytes = len(text) + _DIGEST_BYTES
        if num_bytes > _MAX_COMMENT_BYTES:
            raise ValueError(f"an identity has at most 60 KB, got {len(text):,} bytes")
        if not self._end.startswith(_END) or self._end[-2:] != b"\0\0":
            raise ValueError("torch.save wrote no zip archive")
        self._put(self._end[:-2] + struct.pack("<H", num_bytes) + text)
        self._file.write(self._digest.hexdigest().encode())

    def _put(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)


def _keep(path: Path, before: Path) -> None:
    """Leave the file under a second name. It is the net, not the rope: that it cannot be kept is no error."""
    try:
        os.link(path, before)
    except OSError:  # a file system without hard links: for a moment there is only `before`
        with contextlib.suppress(OSError):
            path.replace(before)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            raise UnreadableCheckpoint(f"{path} is no file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        if error.errno not in _OF_THE_FILE:
            raise
        raise UnreadableCheckpoint(f"{path} cannot be read ({error.strerror})") from error


def _proven(file: BinaryIO, path: Path) -> dict[str, Any]:
    """See that a file is what was written; gives whose state it says it holds, and goes back to its start."""
    num_bytes = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    if num_bytes < _END_BYTES:
        raise UnreadableCheckpoint(f"{path} is damaged (it has {num_bytes + _DIGEST_BYTES} bytes)")
    file.seek(num_bytes)
    digest = file.read()
    if not _is_hexadecimal(digest):
        raise UnreadableCheckpoint(
            f"{path} is damaged (it does not end with its SHA-256: cut, or written by another program)"
        )
    file.seek(0)
    if _sha256(file, num_bytes) != digest:
        raise UnreadableCheckpoint(f"{path} is damaged (its content does not match its SHA-256)")
    start = file.seek(max(0, num_bytes - _MAX_COMMENT_BYTES))
    tail = file.read(num_bytes - start)
    identity: dict[str, Any] = json.loads(tail[tail.rindex(_END) + _END_BYTES :])
    file.seek(0)
    return identity


def _sha256(file: BinaryIO, num_bytes: int) -> bytes:
    digest = hashlib.sha256()
    while num_bytes and (chunk := file.read(min(num_bytes, _CHUNK_BYTES))):
        digest.update(chunk)
        num_bytes -= len(chunk)
    return digest.hexdigest().encode()


def _is_hexadecimal(text: bytes) -> bool:
    return len(text) == _DIGEST_BYTES and not text.translate(None, b"0123456789abcdef")


def unsavable(value: object) -> bool:
    """Whether `load_checkpoint` would refuse a value that is no dict or list."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return False
    import torch

    if type(value) is torch.Tensor:
        return False
    content = io.BytesIO()
    try:
        torch.save(value, content)
        content.seek(0)
        torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # whatever pickling an object of the user's raises
        return True
    return False
