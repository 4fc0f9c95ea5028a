"""Checks of the files of annotated images: their existence, sizes, and what a recorded size refers to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.core.suggest import suggest_path
from trainables.detection.entries import ImageEntry
from trainables.engine.findings import Findings
from trainables.engine.images.file_lookup import is_file
from trainables.engine.images.folder_names import is_never_data
from trainables.engine.images.reading import endings, orientation_of
from trainables.engine.images.survey import Fact, Survey

_IN_ONE_GO = 16  # threads, as each read waits on a network disk
_HINTS = 3  # files for which a similar name is searched
_ACROSS = 5  # EXIF orientations from this one on swap width and height
_UNTURN = {  # inverse of Pillow's exif_transpose
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def check_files(entries: Sequence[ImageEntry], findings: Findings) -> None:
    """Check that every image exists and is listed once in a part, and count other images beside them."""
    paths = list(dict.fromkeys(entry.path for entry in entries))
    with ThreadPoolExecutor(_IN_ONE_GO) as pool:
        missing = [
            path for path, is_there in zip(paths, pool.map(is_file, paths), strict=True) if not is_there
        ]
    for number, path in enumerate(missing):
        findings.add_problem("image that does not exist", f"{path}{_hint(path) if number < _HINTS else ''}")
    by_path: dict[Path, list[ImageEntry]] = defaultdict(list)
    for entry in entries:
        by_path[entry.path].append(entry)
    for same in by_path.values():
        if len(same) > len({entry.part for entry in same}):
            where = " and ".join(entry.where for entry in same[:3])
            findings.add_problem("image that is listed more than once", f"{where} ({same[0].name})")
    if not missing:
        _count_others(set(by_path), findings)


def _hint(path: Path) -> str:
    """Suggest the same name with another case or suffix, or else a similar one."""
    names = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    alike = (other for other in names if other.stem.lower() == path.stem.lower())
    found = next(alike, None)
    return f"; did you mean {found}?" if found else suggest_path(path)


def _count_others(known: set[Path], findings: Findings) -> None:
    for folder in sorted({path.parent for path in known}):
        for path in sorted(folder.iterdir()):
            if path not in known and path.suffix.lower() in endings() and not is_never_data(path.name):
                findings.leave_out("image without annotations", path.name)


class Fit(Enum):
    """How the size recorded for an image relates to that of its file."""

    UPRIGHT = "as EXIF turns it"
    UNDECIDED = "it does not show whether the boxes were drawn on the turned image"
    STORED = "as it is stored, unturned"
    CONTRADICTED = "neither"


@dataclass(frozen=True)
class Header:
    """Width and height as stored, and the EXIF orientation (1 to 8); all 0 if the file cannot be read."""

    width: int = 0
    height: int = 0
    orientation: int = 0

    @property
    def upright_px(self) -> tuple[int, int]:
        return (self.height, self.width) if self.orientation >= _ACROSS else (self.width, self.height)

    def fit(self, size_px: tuple[float, float]) -> tuple[Fit, bool]:
        """Return what a recorded size refers to, and whether the image was later resized proportionally."""
        upright, stored = self.upright_px, (self.width, self.height)
        if not self.width:
            return Fit.UPRIGHT, False  # decoding reports the unreadable file
        for matches, is_resized in ((_is_same, False), (_is_resized, True)):
            if matches(size_px, upright):
                is_certain = self.orientation <= 1 or not matches(size_px, stored)
                return Fit.UPRIGHT if is_certain else Fit.UNDECIDED, is_resized
            if matches(size_px, stored):
                return Fit.STORED, is_resized
        return Fit.CONTRADICTED, False


def _is_same(recorded: tuple[float, float], real: tuple[int, int]) -> bool:
    return recorded == real


def _is_resized(recorded: tuple[float, float], real: tuple[int, int]) -> bool:
    """Whether both sides changed by the same factor, up to a pixel of the smaller image."""
    smaller, larger = sorted((recorded, real))
    return abs(larger[1] * smaller[0] / larger[0] - smaller[1]) <= 1


def headers_of(paths: Sequence[Path], survey: Survey | None) -> list[Header]:
    """Return the headers of all files without decoding them: most from a survey, others from the files."""
    if survey is None:
        return read_headers(paths)
    headers = [Header(width, height, 1) if width else Header() for width, height in survey.sizes_px.tolist()]
    facts = survey.records["facts"]
    is_open = (facts & int(Fact.SEEN) == 0) | (
        facts & int(Fact.TURNED) > 0
    )  # a survey does not record in which direction
    rows = np.flatnonzero(is_open).tolist()
    for row, header in zip(rows, read_headers([paths[row] for row in rows]), strict=True):
        headers[row] = header if header.width else headers[row]
    return headers


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """Read the header of each file, in 0.1 ms each."""
    with ThreadPoolExecutor(_IN_ONE_GO) as pool:
        return list(pool.map(_header, paths))


def _header(path: Path) -> Header:
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = orientation_of(image)
            if image.format == "TIFF" and orientation >= _ACROSS:  # Pillow gives a TIFF's upright size
                width, height = height, width
            return Header(width, height, orientation)
    except Exception:  # Pillow raises all kinds of errors for broken files; decoding reports them
        return Header()


def unturn(image: Image.Image, header: Header) -> Image.Image:
    """Turn an upright image back to how it is stored."""
    method = _UNTURN.get(header.orientation)
    return image if method is None else image.transpose(method)
