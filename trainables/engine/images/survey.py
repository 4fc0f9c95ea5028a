"""A survey of a data set's files, read once: content, sizes, kinds of pixels, and which are identical."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property
from pathlib import Path
from time import monotonic

import numpy as np
from PIL import Image, UnidentifiedImageError

from trainables.core.files import replacing
from trainables.engine.images.decoding import num_cores
from trainables.engine.images.deep import (
    KINDS,
    ORIENTATION,
    DeepImage,
    Kind,
    Scales,
    is_deep,
    is_tiff,
    read_deep,
)
from trainables.engine.images.reading import MEANING, StoredImage, formats, orientation_of

_KEY_DIGITS = 20
_AT_ONCE = 256
_DIGEST_BYTES = 16
_ACROSS = 5  # orientations from here on swap width and height
_EXIF_IN_PNG = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_RECORD = np.dtype(
    [
        ("digest", np.uint8, _DIGEST_BYTES),
        ("width", np.uint32),
        ("height", np.uint32),
        ("facts", np.uint32),
        ("low", np.float64),
        ("high", np.float64),
    ]
)


class Fact(IntFlag):
    """Facts about a file and its pixels."""

    SEEN = 1
    UNREADABLE = 2
    TRANSPARENT = 4
    INKS = 8
    TURNED = 16
    FRAMES = 32
    SIXTEEN_BITS = 64
    INTEGERS = 128
    FLOATS = 256
    DECLARED = 512


_DEEP: dict[Kind, Fact] = dict(zip(KINDS, (Fact.SIXTEEN_BITS, Fact.INTEGERS, Fact.FLOATS), strict=True))
_FACT_TEXTS = {
    Fact.TURNED: "turned upright, as their EXIF orientation says",
    Fact.TRANSPARENT: "with transparency, laid over white",
    Fact.INKS: "of CMYK, converted without a colour profile",
    Fact.FRAMES: "of several frames or pages, of which the first is read",
}


@dataclass(frozen=True, eq=False)
class Survey:
    """The files of a data set, in order.

    Attributes:
        records: One for each file; all zeros for a file that there was no time to read.
    """

    records: np.ndarray

    @property
    def is_complete(self) -> bool:
        return self.num_seen == len(self.records)

    @property
    def num_seen(self) -> int:
        return int(self._has(Fact.SEEN).sum())

    @property
    def is_unreadable(self) -> np.ndarray:
        """Which files are no images by their first bytes, or cannot be opened at all: (n,), bool."""
        return self._has(Fact.UNREADABLE)

    @property
    def sizes_px(self) -> np.ndarray:
        """Width and height of each image as it is read, upright: (n, 2); 0 if unknown."""
        return np.stack([self.records["width"], self.records["height"]], axis=1).astype(np.int64)

    @cached_property
    def scales(self) -> Scales:
        """How images of more than 8 bits are scaled to 8."""
        ranges: dict[Kind, tuple[float, float]] = {}
        for kind, fact in _DEEP.items():
            of_kind = self.records[self._has(fact) & ~self._has(Fact.DECLARED)]
            if len(of_kind):
                ranges[kind] = (float(of_kind["low"].min()), float(of_kind["high"].max()))
        return Scales(ranges)

    def content_key(self, names: Sequence[str]) -> str:
        """A key that changes if a file is added, removed, renamed or edited, or pixels are read otherwise."""
        digests = (bytes(digest).hex() for digest in self.records["digest"])
        return _digest([f"read {MEANING}", *map("|".join, zip(names, digests, strict=True))])

    def identical(self) -> list[tuple[int, ...]]:
        """Groups of two or more files with the same bytes, by index."""
        rows: dict[bytes, list[int]] = defaultdict(list)
        for row in np.flatnonzero(self._has(Fact.SEEN) & ~self.is_unreadable).tolist():
            rows[bytes(self.records["digest"][row])].append(row)
        return [tuple(same) for same in rows.values() if len(same) > 1]

    def smallest_median_largest_px(self) -> tuple[tuple[int, int], ...]:
        """Width and height of three images, by area; empty if no size is known."""
        known = self.sizes_px[self.sizes_px.prod(1) > 0]
        if not len(known):
            return ()
        ordered = known[np.argsort(known.prod(1), kind="stable")]
        chosen = ordered[[0, (len(ordered) - 1) // 2, -1]].tolist()
        return tuple((width, height) for width, height in chosen)

    def notes(self) -> list[str]:
        """How pixels of unusual kinds are treated, a sentence for each kind."""
        counts = {fact: int(self._has(fact).sum()) for fact in (*_FACT_TEXTS, *_DEEP.values())}
        plain = [f"images {text}: {counts[fact]}" for fact, text in _FACT_TEXTS.items() if counts[fact]]
        return plain + [
            f"{_scaling(kind, self.scales)}: {counts[fact]}" for kind, fact in _DEEP.items() if counts[fact]
        ]

    def _has(self, fact: Fact) -> np.ndarray:
        return np.asarray(self.records["facts"] & int(fact) > 0)


def _scaling(kind: Kind, scales: Scales) -> str:
    if kind not in scales.ranges:
        return f"{kind} images, scaled by the white that each file declares"
    (low, high), (black, white) = scales.ranges[kind], scales.black_and_white(kind)
    found = f"the data's own values are {low:g} to {high:g}"
    if kind == "16-bit":
        used = (
            f"of their 16 bits {scales.used_bits} are used" if scales.used_bits < 16 else "all bits are used"
        )
        return f"16-bit images, scaled to 8 bits by {white:g} as {used} ({found})"
    return f"{kind} images, scaled to 8 bits from {black:g} to {white:g} ({found})"


def survey_files(
    paths: Sequence[StoredImage],
    names: Sequence[str],
    known: Path | None,
    *,
    most_s: float | None = None,
    block_starts: Sequence[int] = (),
) -> Survey:
    """Read every file once, with a thread per core, and keep the results.

    That takes a thirtieth of the time to decode them, and is repeated only if a path, size or time has
    changed.

    Args:
        known: Folder where surveys are kept; None keeps nothing.
        most_s: Seconds after which reading stops, with the files that were read evenly spread over all; the
            next survey resumes from there. None reads all.
        block_starts: The first image of each block, see `ImageFiles`; blocks are read in a random order.
    """
    note = known and known / f"survey-{_stat_key(paths, names)}.npy"
    kept = None if note is None else _kept(note, len(paths))
    records = np.zeros(len(paths), _RECORD) if kept is None else kept
    deadline_s = None if most_s is None else monotonic() + most_s
    order = _reading_order(np.flatnonzero(records["facts"] == 0), block_starts)
    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(order), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            records[part] = list(pool.map(_record, [paths[row] for row in part.tolist()]))
            if deadline_s is not None and monotonic() > deadline_s:
                break
    if note is not None and len(order):
        with suppress(OSError), replacing(note) as temporary:  # the cache itself reports a full disk
            np.save(temporary, records)
    return Survey(records)


def _reading_order(rows: np.ndarray, block_starts: Sequence[int]) -> np.ndarray:
    """Rows in a random order; those of a block stay together, which is fast only from its start."""
    random = np.random.default_rng(0)
    if not block_starts:
        return random.permutation(rows)
    turns = random.permutation(len(block_starts))
    blocks = np.searchsorted(block_starts, rows, side="right") - 1
    return rows[np.argsort(turns[blocks], kind="stable")]


def _kept(note: Path, num_files: int) -> np.ndarray | None:
    """The records of an earlier survey; files it could not read are tried again."""
    try:
        records: np.ndarray = np.load(note, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if records.dtype != _RECORD or len(records) != num_files:
        return None
    records[records["facts"] & int(Fact.UNREADABLE) > 0] = np.zeros((), _RECORD)
    return records


def _stat_key(paths: Sequence[StoredImage], names: Sequence[str]) -> str:
    lines = [f"survey of {MEANING}"]
    for path, name in zip(paths, names, strict=True):
        try:
            found = path.stat()
        except OSError:  # it is gone, and will be found unreadable
            lines.append(f"{path}|{name}")
        else:
            lines.append(f"{path}|{name}|{found.st_size}|{found.st_mtime_ns}")
    return _digest(lines)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:_KEY_DIGITS]


def _record(path: StoredImage) -> tuple[np.ndarray, int, int, int, float, float]:
    unreadable = Fact.SEEN | Fact.UNREADABLE
    try:
        content = path.read_bytes()
    except OSError:
        return np.zeros(_DIGEST_BYTES, np.uint8), 0, 0, int(unreadable), 0.0, 0.0
    digest = np.frombuffer(hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest(), np.uint8)
    try:
        return digest, *_pixels_of(content)
    except MemoryError:
        raise
    except Exception:  # Pillow's readers raise anything for broken files; decoding reports what
        return digest, 0, 0, int(unreadable), 0.0, 0.0


def _pixels_of(content: bytes) -> tuple[int, int, int, float, float]:
    """Upright width and height, facts, and the range of a deep image."""
    try:
        image = Image.open(io.BytesIO(content), formats=formats())
    except UnidentifiedImageError:
        if is_tiff(content):
            return _of_deep(read_deep(content))
        raise
    with image:
        if is_deep(image):
            width, height, facts, low, high = _of_deep(read_deep(content))
            return width, height, facts | _frames(image), low, high
        width, height = image.size
        orientation = _orientation(image, content)
        is_transparent, is_of_inks = image.has_transparency_data, image.mode == "CMYK"
        facts = Fact.SEEN | _frames(image)
    facts |= Fact.TURNED if orientation > 1 else 0
    facts |= Fact.TRANSPARENT if is_transparent else 0
    facts |= Fact.INKS if is_of_inks else 0
    is_across = orientation >= _ACROSS and image.format != "TIFF"  # a TIFF's size is already upright
    return *((height, width) if is_across else (width, height)), int(facts), 0.0, 0.0


def _orientation(image: Image.Image, content: bytes) -> int:
    if image.format == "TIFF":
        return int(image.tag_v2.get(ORIENTATION, 1))  # type: ignore[attr-defined]
    # Pillow decodes a whole PNG to look for EXIF at its end.
    if image.format == "PNG" and not any(sign in content for sign in _EXIF_IN_PNG):
        return 1
    return orientation_of(image)


def _frames(image: Image.Image) -> Fact:
    """Whether there are several frames; what a phone adds to its photographs does not count."""
    has_frames = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
    return Fact.FRAMES if has_frames else Fact(0)


def _of_deep(deep: DeepImage) -> tuple[int, int, int, float, float]:
    height, width = deep.values.shape[:2]
    facts = Fact.SEEN | _DEEP[deep.kind]
    facts |= Fact.TURNED if deep.orientation > 1 else 0
    facts |= Fact.TRANSPARENT if deep.has_alpha else 0
    facts |= Fact.DECLARED if deep.declared_max is not None else 0
    size = (height, width) if deep.orientation >= _ACROSS else (width, height)
    return *size, int(facts), *deep.range
