"""Comparison of images' recorded sizes with their files, and the consequences for reading their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from trainables.detection.entries import ImageEntry
from trainables.detection.image_files import Fit, Header, unturn
from trainables.engine.findings import Findings

_MAX_UNUSABLE_FRACTION = 0.01  # of the images, as in decoding


@dataclass(frozen=True)
class SizedImages:
    """Entries with sizes, and how to read their pixels.

    Attributes:
        unusable: Why an image is left out, by its number.
        unturned: Headers of images whose boxes refer to the pixels as stored, by number.
    """

    entries: Sequence[ImageEntry]
    unusable: Mapping[int, str]
    unturned: Mapping[int, Header]

    def placed(self, image: Image.Image, index: int) -> Image.Image:
        """Return an upright image in the orientation of its boxes: upright or as stored."""
        return unturn(image, self.unturned[index]) if index in self.unturned else image

    @property
    def key(self) -> str:
        """Digest of how pixels are read, for the key of a cache."""
        return hashlib.sha256(f"{sorted(self.unusable)} {sorted(self.unturned)}".encode()).hexdigest()[:8]


def hold_against_files(
    entries: Sequence[ImageEntry],
    headers: Sequence[Header],
    unreadable: Mapping[int, str],
    findings: Findings,
) -> SizedImages:
    """Give each image a size, and find those whose recorded size is not that of their file.

    Without a recorded size, the file's upright size is used. A recorded size that equals the stored size, but
    not that after EXIF's rotation, means that boxes refer to the stored pixels. An image whose sides both
    changed by the same factor was resized later, and its boxes hold as fractions. Any other image is left
    out. If more than 1 % would be left out or cannot be read, each of these is a problem.

    Args:
        unreadable: Descriptions of images that cannot be read, by number.
    """
    sized, unusable, unturned = [], {}, {}
    for index, (entry, header) in enumerate(zip(entries, headers, strict=True)):
        if entry.size_px is None:
            sized.append(_with_own_size(entry, header, findings))
            continue
        sized.append(entry)
        fit, is_resized = header.fit(entry.size_px)
        if fit is Fit.CONTRADICTED:
            unusable[index] = _contradiction(entry, header)
        elif fit is Fit.STORED:
            unturned[index] = header
        _note(entry, fit, is_resized, findings)
    _count_unusable(len(entries), list(unusable.values()), list(unreadable.values()), findings)
    return SizedImages(sized, {**unreadable, **unusable}, unturned)


def _with_own_size(entry: ImageEntry, header: Header, findings: Findings) -> ImageEntry:
    findings.add_note("sizes", "images without a recorded size; their files' counts", entry.where)
    width, height = header.upright_px
    return replace(entry, size_px=(width or 1, height or 1))  # 1 if it cannot be read and is left out


def _note(entry: ImageEntry, fit: Fit, is_resized: bool, findings: Findings) -> None:
    if fit is Fit.STORED:
        what = "images that EXIF turns, but not their boxes; they are turned back"
        findings.add_note("sizes", what, entry.name)
    elif fit is Fit.UNDECIDED:
        what = "images that EXIF turns, whose size does not show whether their boxes are; taken as turned"
        findings.add_note("sizes", what, entry.name)
    if is_resized:
        what = "images of another size than recorded, in its proportions; boxes are scaled with them"
        findings.add_note("sizes", what, entry.name)


def _contradiction(entry: ImageEntry, header: Header) -> str:
    (width, height), (recorded_width, recorded_height) = header.upright_px, entry.size_px or (0, 0)
    return f"{entry.path} is {width} x {height} px, its boxes are in {recorded_width:g} x {recorded_height:g}"


def _count_unusable(
    num_images: int, contradictions: Sequence[str], unreadable: Sequence[str], findings: Findings
) -> None:
    is_too_many = len(contradictions) + len(unreadable) > _MAX_UNUSABLE_FRACTION * num_images
    for what, places in (
        ("image of another size than recorded", contradictions),
        ("image that cannot be read", unreadable),
    ):
        for where in places:
            if is_too_many:
                findings.add_problem(f"{what}, of which over 1 % are not left out", where)
            else:
                findings.leave_out(what, where)
