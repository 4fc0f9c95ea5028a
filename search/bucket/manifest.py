"""The state of a run's files at one moment: their contents by SHA-256, and where the journal ended."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_KEY = re.compile(r"manifests/(?P<number>\d{8})\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 2**20
MANIFESTS_KEPT = 2  # the last, and the one before for processes that are reading it


class BadManifest(ValueError):
    """An object is not a manifest of this program."""


@dataclass(frozen=True)
class Content:
    """The content of a file, by its digest."""

    sha256: str
    num_bytes: int

    @property
    def key(self) -> str:
        return f"blobs/{self.sha256}"


@dataclass(frozen=True)
class Manifest:
    """A run's files at one moment.

    Attributes:
        number: Its number; the run's latest manifest has the highest.
        ends: For the journal of each part, its number of lines and the checksum of the last. The files' state
            is from before that end, or one epoch ahead of it.
        files: Contents by path in the run's folder.
    """

    number: int
    ends: Mapping[str, tuple[int, str]]
    files: Mapping[str, Content]

    @property
    def key(self) -> str:
        return manifest_key(self.number)

    def encoded(self) -> bytes:
        """Return the manifest as bytes; the same manifest gives the same bytes."""
        files = {path: [each.sha256, each.num_bytes] for path, each in sorted(self.files.items())}
        content = {"number": self.number, "ends": dict(sorted(self.ends.items())), "files": files}
        return json.dumps(content, indent=0).encode()

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """Return the manifest that an object contains.

        Raises:
            BadManifest: It is no manifest, or names a file that would lie outside the run's folder.
        """
        try:
            found = json.loads(content)
            files = {
                str(path): Content(str(sha256), int(size)) for path, (sha256, size) in found["files"].items()
            }
            ends = {str(part): (int(lines), str(crc)) for part, (lines, crc) in found["ends"].items()}
            number = int(found["number"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadManifest(f"is not a manifest ({type(error).__name__})") from error
        for path, each in files.items():
            if not _stays_inside(path) or not _DIGEST.fullmatch(each.sha256):
                raise BadManifest(f"names the file {path!r}, which would be outside the run's folder")
        return cls(number=number, ends=ends, files=files)


def manifest_key(number: int) -> str:
    return f"manifests/{number:08d}.json"


def manifest_number(key: str) -> int | None:
    """Return the number of the manifest with this key; None for other objects."""
    match = _KEY.fullmatch(key)
    return int(match["number"]) if match else None


def content_of(path: Path) -> Content:
    """Return the content of a file on this machine.

    Raises:
        OSError: The file cannot be read.
    """
    digest, num_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
    return Content(digest.hexdigest(), num_bytes)


def _stays_inside(path: str) -> bool:
    """Whether a path is relative and its names mean the same on every system."""
    parts = path.split("/")
    is_plain = all(part not in ("", ".", "..") and "\\" not in part and "\0" not in part for part in parts)
    return is_plain and not PurePosixPath(path).is_absolute()
