"""From a file to an upright RGB image of 8 bits: what its pixels mean, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from PIL import Image, ImageCms, UnidentifiedImageError

from trainables.core.files import GIT_LFS_POINTER
from trainables.engine.images.deep import ORIENTATION, Scales, is_deep, is_tiff, read_deep

with suppress(ImportError):  # the extra heic
    from pillow_heif import register_heif_opener

    register_heif_opener()
# Pillow's own limit, against files that are bombs, is 179 million; phones take photographs of 200.
Image.MAX_IMAGE_PIXELS = 2**28
# Part of the key of the cache: another number and everything is decoded again.
MEANING = 2
_BACKGROUND = "white"  # of transparent images: what pages, slides and most viewers show
# By the orientation that EXIF says, how to turn the image upright.
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
# Formats that Pillow names but cannot decode, or only with a program beside it.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "PALM", "WMF"}


@cache
def endings() -> frozenset[str]:
    """The endings of files that can be read as images, in lower case with their dot."""
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name not in _NOT_DECODED
    )


def read_image(path: Path, resolution: int, scales: Callable[[], Scales]) -> Image.Image:
    """One file, upright and in RGB; a JPEG may come smaller, with twice `resolution` in pixels at least.

    It is decoded at its half, quarter or eighth then. The margin is Pillow's own for thumbnails: at 64 px it
    halves the time of photographs of 400 to 640 px, and changes values by 0.5 of 255.

    Args:
        scales: Of the data set that the file belongs to; asked for where it has more than 8 bits.

    Raises:
        OSError: It is cut short or no image at all; with its path.
    """
    try:
        return _read(path, resolution, scales)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise of everything for broken files
        raise OSError(f"{path}: {error}") from error


def _read(path: Path, resolution: int, scales: Callable[[], Scales]) -> Image.Image:
    """Decode a file by Pillow, or by the reader of deep images where it has more than 8 bits."""
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        if is_tiff(content := path.read_bytes()):
            return _of_deep(content, scales())
        if reason := _other_kind(content):
            raise OSError(reason) from None
        raise
    with image:
        if is_deep(image):
            return _of_deep(path.read_bytes(), scales())
        shorter = min(image.size)
        image.draft(None, (2 * resolution * image.width // shorter, 2 * resolution * image.height // shorter))
        image.load()
        return upright_rgb(image)


def _other_kind(content: bytes) -> str:
    """What a file with the name of an image is in truth; empty where that is unclear."""
    if content.startswith(GIT_LFS_POINTER):
        return "it is a pointer of Git LFS; fetch the images with `git lfs pull`"
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC:
        return f"it is HEIC, whatever its name; {HEIC_REMEDY}"
    return ""


def upright_rgb(image: Image.Image) -> Image.Image:
    """An image of 8 bits as a viewer shows it: upright, and on white where it is transparent.

    Colours are converted by their plain formulas: of an embedded profile nothing is made.
    """
    return _turned(_rgb(image), orientation_of(image))


def orientation_of(image: Image.Image) -> int:
    """What EXIF or XMP says of an image, 1 to 8; 1, upright, where neither does."""
    found = image.getexif().get(ORIENTATION, 1)
    return found if found in _TURNS else 1


def _of_deep(content: bytes, scales: Scales) -> Image.Image:
    """An image of more than 8 bits, scaled to 8 as its whole set is, and turned upright."""
    deep = read_deep(content)
    return _turned(_rgb(scales.scaled(deep)), deep.orientation)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image as EXIF's orientation says that it is to be seen."""
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    turned.info.clear()  # or the next reader of its EXIF turns it once more
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
    """L*a*b* as sRGB, by Little CMS: Pillow's `convert` does not know how."""
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None  # it is for images that are changed in place
    return converted


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of a image as a viewer shows it; (0, 0) where Pillow cannot open it."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Of a TIFF Pillow gives the upright size already.
            is_turned = orientation_of(image) >= _ACROSS and image.format != "TIFF"
            return (height, width) if is_turned else (width, height)
    except Exception:  # Pillow raises of everything for broken files; decoding says what
        return 0, 0
