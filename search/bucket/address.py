"""Addresses of results in a bucket, with the package that accesses it and the folder on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import fsspec

from search.ledger.journal import LedgerError
from trainables.core.files import is_safe_name
from trainables.core.suggest import suggest

# The package that fsspec loads for a protocol, and the extra of this project that names it.
_PACKAGES = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"),
    "abfs": ("adlfs", "azure"),
    "abfss": ("adlfs", "azure"),
}
_PARTS = re.compile(r"(?P<protocol>[a-z][a-z0-9+.-]*)://(?P<path>.*)", re.DOTALL)
_IN_A_PATH = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)")  # what pathlib leaves of "s3://"
_UNSAFE = re.compile(r"[\x00-\x20\x7f?#\\]")


class BucketError(LedgerError):
    """Results in a bucket cannot be used; the message says why and what to do."""


def is_address(place: str | Path) -> bool:
    """Whether a place of results is an address such as s3://bucket/path instead of a folder."""
    return "://" in str(place) or (isinstance(place, Path) and bool(_IN_A_PATH.match(str(place))))


@dataclass(frozen=True)
class Address:
    """The address of results or of one run: s3://bucket/path, without a slash at its end.

    It contains no credentials: those are in the user's environment, where the bucket's package looks for
    them.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, place: str | Path) -> Address:
        """Return the address that was typed.

        Raises:
            BucketError: It is no address, or contains what must not end up in files, such as a password.
        """
        text = _IN_A_PATH.sub(r"\1://", str(place), count=1) if isinstance(place, Path) else place
        match = _PARTS.fullmatch(text)
        if match is None:
            raise BucketError(
                f"{text!r} is not an address: write s3://bucket/path, gs://bucket/path or the like"
            )
        protocol, path = match["protocol"], match["path"].strip("/")
        if "@" in path.split("/")[0] and protocol not in ("abfs", "abfss"):  # there it names a container
            raise BucketError(
                f"{protocol}://... has a user or a password before an @, which would end up in the run's "
                "files: leave it out, and give credentials in the environment"
            )
        if _UNSAFE.search(path) or "::" in path or {".", ".."} & set(path.split("/")) or "//" in path:
            raise BucketError(
                f"{text!r} cannot be used: a bucket and folders, separated by single slashes, without "
                "spaces, ?, #, :: and folders called . or .."
            )
        if not path:
            raise BucketError(f"{text} names no bucket: write {protocol}://bucket/path")
        root = "/" if protocol in ("file", "local") else ""
        return cls(f"{protocol}://{root}{path}")

    @property
    def protocol(self) -> str:
        return self.text.partition("://")[0]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """The results that a run is in.

        Raises:
            BucketError: The address names a bucket and no run in it.
        """
        above = self.text.rpartition("/")[0]
        if above.endswith("/"):
            raise BucketError(f"{self} names a bucket and no run in it: write {self}/NAME")
        return Address(above)

    def child(self, name: str) -> Address:
        """Return the address of the run of this name.

        Raises:
            BucketError: It could not be the name of a run's folder.
        """
        if not is_safe_name(name) or _UNSAFE.search(name):
            raise BucketError(
                f"a run in {self} cannot be named {name!r}: up to 120 characters, no slash, space, ? or #, "
                "no control characters, and no dot or hyphen first"
            )
        return Address(f"{self}/{name}")

    def filesystem(self) -> fsspec.AbstractFileSystem:
        """Return the bucket's filesystem, with the credentials of the environment, without accessing it.

        Raises:
            BucketError: Its package is missing, or there is no such protocol.
        """
        try:
            fsspec.get_filesystem_class(self.protocol)
        except ImportError as error:
            package, extra = _PACKAGES.get(self.protocol, ("", ""))
            install = f"{sys.executable} -m pip install {package}" if package else str(error)
            named = f" (the extra jouletune[{extra}])" if extra else ""
            raise BucketError(
                f"{self}: the package {package or 'for ' + self.protocol} is not installed; install it: "
                f"{install}{named}"
            ) from error
        except ValueError as error:
            raise BucketError(
                f"{self}: no package is known for {self.protocol}://{suggest(self.protocol, _PACKAGES)}; "
                "there are s3://, gs://, az:// and the others of fsspec"
            ) from error
        settings = {"auto_mkdir": True} if self.protocol in ("file", "local") else {}
        # Never reuse an instance or a listing that other code in this process has made: it may be out of
        # date.
        return fsspec.filesystem(
            self.protocol, skip_instance_cache=True, use_listings_cache=False, **settings
        )

    @property
    def staging(self) -> Path:
        """Folder of a run that is written on this machine, until it is shipped and afterwards."""
        return self._folder_in("staging")

    @property
    def copy(self) -> Path:
        """Folder that a run is fetched to for reading; it can be fetched again at any time."""
        return self._folder_in("copies")

    def _folder_in(self, kind: str) -> Path:
        """Return a folder with a readable name that is unique to this address."""
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", str(self.parent))[-60:].strip("-.")
        digest = hashlib.sha256(str(self.parent).encode()).hexdigest()[:8]
        return staging_folder() / kind / f"{readable}-{digest}" / self.name


def staging_folder() -> Path:
    """Return where runs of buckets are on this machine: JOULETUNE_STAGING, or ~/.cache/jouletune/buckets.

    On a cluster it must be on storage that all nodes share, as results without a bucket must.
    """
    given = os.environ.get("JOULETUNE_STAGING") or "~/.cache/jouletune/buckets"
    return Path(given).expanduser().absolute()
