"""Reading files of any kind as upright 8-bit RGB images: what their pixels mean."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageCms, UnidentifiedImageError

from trainables.core.files import GIT_LFS_POINTER
from trainables.engine.images.deep import (
    ORIENTATION,
    DeepImage,
    Scales,
    deep_of,
    is_deep,
    is_tiff,
    read_deep,
)

with suppress(ImportError):  # the extra heic
    from pillow_heif import register_heif_opener

    register_heif_opener()
# Pillow's own limit, against decompression bombs, is 179 million; phones take photographs of 200 million.
Image.MAX_IMAGE_PIXELS = 2**28
# Part of the key of the cache: if it changes, everything is decoded again.
MEANING = 2
_BACKGROUND = "white"  # of transparent images: what pages, slides and most viewers show
# How to turn an image upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # brands of ISO's container
HEIC_REMEDY = "`pip install pillow-heif` reads it, or save it as JPEG"
_ACROSS = 5  # orientations from here on swap width and height
_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")
# Formats that Pillow names but cannot decode, or only with another program: it has Ghostscript execute EPS.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "PALM", "WMF"}


class StoredImage(Protocol):
    """The bytes of an image, wherever they are: a file (`Path`), or a row of a file with many (`ShardRow`).

    As text it is the place that messages name.
    """

    def read_bytes(self) -> bytes: ...
    def stat(self) -> os.stat_result: ...


@cache
def endings() -> frozenset[str]:
    """The endings of files that can be read as images, in lower case with their dot."""
    Image.preinit()  # so that the usual formats are the first that are tried
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name not in _NOT_DECODED
    )


def formats() -> tuple[str, ...]:
    """The formats that files may have, whatever their names: those that Pillow itself decodes."""
    Image.preinit()
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_DECODED)


def read_image(stored: StoredImage, resolution: int, scales: Callable[[], Scales]) -> Image.Image:
    """Read an image, upright and in RGB; a JPEG may be reduced, to at least twice `resolution` in pixels.

    It is then decoded at half, a quarter or an eighth of its size. The margin is Pillow's own for thumbnails:
    at 64 px it halves the time for photographs of 400 to 640 px, and changes values by 0.5 of 255.

    Args:
        scales: Returns the scales of the file's data set; called only if the file has more than 8 bits.

    Raises:
        OSError: The file is truncated or no image at all; the message has its path.
    """
    try:
        return _read(stored, resolution, scales)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything for broken files
        raise OSError(f"{stored}: {error}") from error


def _read(stored: StoredImage, resolution: int, scales: Callable[[], Scales]) -> Image.Image:
    """Decode an image with Pillow, or with the reader of deep images if it has more than 8 bits."""
    try:
        file = stored if isinstance(stored, Path) else io.BytesIO(stored.read_bytes())
        image = Image.open(file, formats=formats())
    except UnidentifiedImageError:
        if is_tiff(content := stored.read_bytes()):
            return _of_deep(read_deep(content), scales())
        if reason := _other_kind(content):
            raise OSError(reason) from None
        if not isinstance(stored, Path):  # Pillow's message would name the buffer
            raise OSError(f"its {len(content)} bytes are no image that Pillow knows") from None
        raise
    with image:
        if is_deep(image):
            return _of_deep(read_deep(stored.read_bytes()), scales())
        shorter = min(image.size)
        image.draft(None, (2 * resolution * image.width // shorter, 2 * resolution * image.height // shorter))
        image.load()
        return upright_rgb(image)


def _other_kind(content: bytes) -> str:
    """What a file with the name of an image really is; empty if that is unclear."""
    if content.startswith(GIT_LFS_POINTER):
        return "it is a pointer of Git LFS; fetch the images with `git lfs pull`"
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC:
        return f"it is HEIC, whatever its name; {HEIC_REMEDY}"
    if content.startswith(_POSTSCRIPT):
        return "it is PostScript, a program, which is not run; save what it draws as PNG"
    return ""


def upright_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit image as a viewer shows it: upright, and on white if it is transparent.

    Colours are converted by plain formulas; an embedded profile is ignored.
    """
    return _turned(_rgb(image), orientation_of(image))


def upright_opened(image: Image.Image, scales: Scales) -> Image.Image:
    """An opened image of any depth as `read_image` reads its file.

    Raises:
        OSError: It has more than 8 bits, of which Pillow keeps 8, or whose scale is unknown.
    """
    return _of_deep(deep_of(image), scales) if is_deep(image) else upright_rgb(image)


def orientation_of(image: Image.Image) -> int:
    """The orientation of an image by EXIF or XMP, 1 to 8; 1, upright, if neither has one."""
    found = image.getexif().get(ORIENTATION, 1)
    return found if found in _TURNS else 1


def _of_deep(deep: DeepImage, scales: Scales) -> Image.Image:
    """An image of more than 8 bits, scaled to 8 bits like its whole set, and turned upright."""
    return _turned(_rgb(scales.scaled(deep)), deep.orientation)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned upright by its EXIF orientation."""
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    turned.info.clear()  # or the next reader of its EXIF would turn it again
    return turned


def _rgb(image: Image.Image) -> Image.Image:
    """Three channels of 8 bits, whatever the mode was."""
    if image.has_transparency_data:
        return _on_background(image)
    if image.mode == "LAB":
        return _rgb_of_lab(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_background(image: Image.Image) -> Image.Image:
    """A transparent image on white."""
    if image.mode == "La":
        image = image.convert("LA")
    shown = image.convert("RGBA")
    background = Image.new("RGB", image.size, _BACKGROUND)
    background.paste(shown, mask=shown.getchannel("A"))
    return background


def _rgb_of_lab(image: Image.Image) -> Image.Image:
    """L*a*b* as sRGB, by Little CMS, as Pillow's `convert` cannot do it."""
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None  # None is for images that are changed in place
    return converted


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as a viewer shows it; (0, 0) if Pillow cannot open it."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # For a TIFF, Pillow's size is already upright.
            is_turned = orientation_of(image) >= _ACROSS and image.format != "TIFF"
            return (height, width) if is_turned else (width, height)
    except Exception:  # Pillow raises anything for broken files; decoding reports what
        return 0, 0
