"""Saved states: written atomically, verified before use, and read without executing anything.

    archive  the output of `torch.save`: a zip file, which `torch.load(weights_only=True)` reads unchanged
    comment  the archive's zip comment: {"run": ..., "trial": ..., "seed": ..., "epoch": ...}, its identity
    digest   the last 64 bytes: the SHA-256, in hexadecimal, of everything before them

State, identity and digest are one file and cannot be separated. A shell can verify it as `check_seal` does:
`head -c -64 FILE | sha256sum` and `tail -c 64 FILE` print the same digest. torch never checks the archive's
own checksums and would train on a flipped bit. For 105 MB, the digest takes 0.12 s when the file is written
(0.27 s in place of 0.15 s) and again before it is read. torch is not loaded until a state is written or read.
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

_END = b"PK\5\6"  # starts a zip archive's last record, which ends with two bytes: its comment's length
_END_BYTES = 22
_DIGEST_BYTES = 64
_MAX_COMMENT_BYTES = 65_535
_CHUNK_BYTES = 2**20
# Errors due to the file itself. Any other, such as lost network storage, may be temporary.
_OF_THE_FILE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.ELOOP, errno.EISDIR}


class UnwrittenCheckpoint(OSError):
    """A state could not be written; the previous file, if any, is unchanged."""


class UnreadableCheckpoint(ValueError):
    """A file holds no usable state: it is damaged, or belongs to another training."""


def load_torch() -> None:
    """Import torch ahead of time: otherwise a worker's first checkpoint would, adding 5 s to its training."""
    import_module("torch")


def save_checkpoint(
    path: Path,
    state: Mapping[str, Any],
    identity: Mapping[str, Any] | None = None,
    *,
    before: Path | None = None,
) -> None:
    """Write `state` so that a kill or a full disk leaves the previous file intact.

    Args:
        state: Tensors, numbers, text, dicts and lists: what `weights_only=True` can read.
        identity: Identifies the state's owner: plain data, at most 60 KB as JSON.
        before: Path at which the replaced file is kept. A file already there is deleted first, so that
            at most two are ever on disk.

    Raises:
        UnwrittenCheckpoint: The disk is full, read-only or gone.
    """
    import torch  # not at module level: `search` imports this module and must start without torch

    if before:
        with contextlib.suppress(OSError):
            before.unlink()
    try:
        with replacing(path) as scratch:
            # A Python file: on a full disk, torch's own says "unexpected pos" and does not mention the disk.
            with scratch.open("wb") as file:
                sealed = _SealedFile(file)
                torch.save(dict(state), cast(BinaryIO, sealed))  # torch calls only write and flush
                sealed.seal(identity or {})
            if before and path.exists():
                _keep(path, before)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise UnwrittenCheckpoint(cause.errno, cause.strerror, str(path)) from error


def load_checkpoint(path: Path, check: Callable[[Mapping[str, Any]], None] | None = None) -> dict[str, Any]:
    """Return the saved state, its tensors on the CPU.

    Generator states must stay there: `map_location="cuda"` would move them and then fail.

    Args:
        check: Called with the state's identity once the file has been verified and before any of its
            state is read; raises `UnreadableCheckpoint` to refuse it.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableCheckpoint: The file is damaged, or refused.
    """
    import torch

    with _opened(path) as file:  # the file that was verified is the one loaded, even if replaced meanwhile
        identity = _proven(file, path)
        if check:
            check(identity)
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a state that no trainable of this project saves
            raise UnreadableCheckpoint(f"{path} cannot be loaded ({type(error).__name__})") from error
    return state


def read_identity(path: Path) -> dict[str, Any]:
    """Return the identity of a file's state, after verifying the file. Needs no torch.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableCheckpoint: The file is damaged.
    """
    with _opened(path) as file:
        return _proven(file, path)


def check_seal(path: Path) -> None:
    """Verify a file that ends with a digest. A file without one, from another program, is accepted.

    Raises:
        UnreadableCheckpoint: The file is damaged.
    """
    with _opened(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _DIGEST_BYTES))
        if _is_hexadecimal(file.read()):
            _proven(file, path)


def previous_of(path: Path) -> Path:
    """The path of the checkpoint before the one at `path`, kept while its training runs."""
    return path.with_stem(f"{path.stem}-previous")


class _SealedFile:
    """A file for torch to write to: computes the digest as bytes pass, and appends the identity."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._end = b""  # held back, because the archive's last record must state the comment's length

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
        """Write the end of the file: the archive's last record, the identity and the digest.

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
    """Keep the file under a second name. It is only a spare: failing to keep it is no error."""
    try:
        os.link(path, before)
    except OSError:  # a file system without hard links: for a moment only `before` exists
        with contextlib.suppress(OSError):
            path.replace(before)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block forever
            raise UnreadableCheckpoint(f"{path} is not a file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        if error.errno not in _OF_THE_FILE:
            raise
        raise UnreadableCheckpoint(f"{path} cannot be read ({error.strerror})") from error


def _proven(file: BinaryIO, path: Path) -> dict[str, Any]:
    """Verify a file against its digest, return the identity in it, and seek back to its start."""
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
    """Whether `load_checkpoint` would refuse a value, which must not be a dict or list."""
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
