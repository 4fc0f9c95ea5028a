"""The objects of one run in a bucket: made, replaced, read and listed through any filesystem of fsspec.

Nothing is retried here: the filesystems do that themselves (s3fs five times), and the mirror does it for as
long as the run takes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from fsspec.callbacks import Callback

from search.bucket.address import Address, BucketError
from search.secrets import looks_secret

_SHORTEST_SECRET = 8  # characters; a shorter value would be found in any text
_LONGEST_REASON = 300  # characters of a message from a bucket's package


class BucketUnavailable(OSError):
    """An object could not be written to or read from a bucket; it may be possible later."""


class Store:
    """The objects below one run's address.

    Attributes:
        num_done: Grows with each object and each part of a large one that came through, to tell a slow bucket
            from a dead one.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._files = address.filesystem()
        if self._files.async_impl:
            # After a cut connection each task that is no longer awaited would print a traceback; what matters
            # reaches the caller anyway.
            self._files.loop.set_exception_handler(lambda loop, context: None)
        self._root = str(self._files._strip_protocol(str(address)))
        self.num_done = 0

    def create(self, key: str, content: bytes) -> bool:
        """Make an object; return False if one of this name exists, which stays as it is.

        Raises:
            BucketUnavailable: Whether it was made is unknown.
        """
        try:
            with self._asking("writing", key):
                self._files.pipe_file(self._path(key), content, mode="create")
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, content: bytes) -> None:
        """Make an object, or replace it.

        Raises:
            BucketUnavailable: Whether it was made is unknown.
        """
        with self._asking("writing", key):
            self._files.pipe_file(self._path(key), content)

    def upload(self, key: str, path: Path) -> None:
        """Make an object from a file. The key names the content, so an existing object has the same.

        Raises:
            BucketUnavailable: Whether it was made is unknown.
        """
        # Some filesystems refuse to replace an object, such as one whose answer was lost.
        with contextlib.suppress(FileExistsError), self._asking("writing", key):
            self._files.put_file(str(path), self._path(key), callback=_Counting(self._count))

    def read(self, key: str) -> bytes:
        """Return the content of an object.

        Raises:
            FileNotFoundError: There is no such object.
            BucketUnavailable: It could not be read.
        """
        with self._asking("reading", key):
            content: bytes = self._files.cat_file(self._path(key))
            return content

    def download(self, key: str, path: Path) -> None:
        """Write an object's content into a file.

        Raises:
            FileNotFoundError: There is no such object.
            BucketUnavailable: It could not be read.
        """
        with self._asking("reading", key):
            self._files.get_file(self._path(key), str(path), callback=_Counting(self._count))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete those of the objects that exist.

        Raises:
            BucketUnavailable: Some may still be there.
        """
        for key in keys:
            with contextlib.suppress(FileNotFoundError), self._asking("deleting", key):
                self._files.rm_file(self._path(key))

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of every object of the run, by key.

        Raises:
            BucketUnavailable: The objects cannot be listed.
        """
        with self._asking("listing", ""):
            try:
                found = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        return {name[len(self._root) + 1 :]: int(about["size"] or 0) for name, about in found.items()}

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _count(self) -> None:
        self.num_done += 1

    @contextlib.contextmanager
    def _asking(self, doing: str, key: str) -> Iterator[None]:
        """Turn whatever a bucket's package raises into one error that names the bucket and no secret."""
        try:
            yield
        except (FileExistsError, BucketUnavailable):
            raise
        except FileNotFoundError as error:
            if doing == "writing":  # the bucket itself does not exist
                raise BucketUnavailable(f"{self.address}: {_reason(error)}") from error
            raise
        except Exception as error:  # botocore's, aiohttp's and Azure's errors have no common kind
            place = f"{self.address}/{key}".rstrip("/")
            raise BucketUnavailable(f"{doing} {place}: {_reason(error)}") from error
        self._count()


def check_usable(address: Address) -> Store:
    """Return the store at an address, after checking that its package is installed.

    Raises:
        BucketError: The store cannot be made; the message says what to install or set.
    """
    try:
        return Store(address)
    except BucketError:
        raise
    except Exception as error:  # a package's own complaint about its settings, such as a region
        raise BucketError(f"{address} cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the error in one line, without the values of variables that hold secrets."""
    text = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    for name, value in os.environ.items():
        if looks_secret(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "...")
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]} ..."


class _Counting(Callback):  # type: ignore[misc]  # fsspec has no types
    """Counts each part of a large object that came through."""

    def __init__(self, count: Callable[[], None]) -> None:
        super().__init__()
        self._tell = count

    def relative_update(self, inc: int = 1) -> None:
        self._tell()
