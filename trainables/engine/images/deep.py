"""Images of more than 8 bits per channel (16-bit, signed, 32-bit, floats): reading and scaling their values.

Pillow opens grey ones unchanged, cuts colour ones to their upper 8 bits and does not know the others, so that
12 bits in a 16-bit file would all be black. Scaling is by the range of a whole data set, never by that of one
image: a dark image stays darker than a bright one.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import tifffile
from PIL import Image

Kind = Literal["16-bit", "integer", "float"]
KINDS: tuple[Kind, ...] = ("16-bit", "integer", "float")
ORIENTATION = 274  # the tag of EXIF and TIFF
_BITS, _MAX_VALUE, _SAMPLE_FORMAT = 258, 281, 339  # tags of TIFF
_UNSIGNED, _UNDEFINED = 1, 4  # sample formats
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _INKS = 0, 1, 2, 5  # photometric interpretations
_PREMULTIPLIED_ALPHA, _ALPHA, _INTERLEAVED = 1, 2, 1
_WHITE_OF_16_BITS = 65535.0
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG"


def is_deep(image: Image.Image) -> bool:
    """Whether an opened and not yet loaded image has more than Pillow's 8 bits per channel."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return True
    if image.format == "PNG":
        return any(";16" in str(tile.args) for tile in image.tile)  # type: ignore[attr-defined]
    if image.format == "TIFF":
        tags: Mapping[int, Any] = image.tag_v2  # type: ignore[attr-defined]
        formats = set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)))
        return max(tags.get(_BITS, (1,))) > 8 or not formats <= {_UNSIGNED, _UNDEFINED}
    return False


def is_tiff(content: bytes) -> bool:
    """Whether a file is a TIFF, even if Pillow does not know its kind."""
    return content.startswith(_TIFF_MAGIC)


@dataclass(frozen=True, eq=False)
class DeepImage:
    """An image as its file has it.

    Attributes:
        values: (height, width, channels): grey, grey and alpha, RGB, or RGB and alpha.
        declared_max: The value that the file declares to be white; None if it declares none.
        orientation: Orientation as in EXIF; 1 is upright.
        is_inverted: Whether the smallest value is white.
    """

    values: np.ndarray
    declared_max: float | None = None
    orientation: int = 1
    is_inverted: bool = False

    @property
    def kind(self) -> Kind:
        if self.values.dtype.kind == "f":
            return "float"
        return "16-bit" if self.values.dtype == np.uint16 else "integer"

    @property
    def has_alpha(self) -> bool:
        return self.values.shape[-1] in (2, 4)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest finite value, alpha aside; (0, 0) if there is none."""
        colours = self.values[..., :-1] if self.has_alpha else self.values
        finite = colours[np.isfinite(colours)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


@dataclass(frozen=True)
class Scales:
    """Scales the values of a data set's deep images to 8 bits.

    Attributes:
        ranges: The smallest and the largest value of each kind in the whole data set, without files that
            declare their white.
    """

    ranges: Mapping[Kind, tuple[float, float]] = field(default_factory=dict)

    @property
    def used_bits(self) -> int:
        """How many of 16 bits the data use, at least 8."""
        return max(8, int(self.ranges.get("16-bit", (0.0, 0.0))[1]).bit_length())

    def black_and_white(self, kind: Kind) -> tuple[float, float]:
        """The values that become 0 and 255.

        16-bit values are scaled by the number of bits that the data use, floats in [0, 1] are kept, and
        everything else is scaled by its own range.
        """
        low, high = self.ranges.get(kind, (0.0, 0.0))
        if kind == "16-bit":
            return 0.0, float(2**self.used_bits - 1)
        return (0.0, 1.0) if kind == "float" and low >= 0 and high <= 1 else (low, high)

    def scaled(self, deep: DeepImage) -> Image.Image:
        """An image of 8 bits per channel, oriented as in the file: "L", "LA", "RGB" or "RGBA".

        NaN becomes black.
        """
        black, white = self.black_and_white(deep.kind)
        if deep.declared_max is not None:
            black, white = 0.0, deep.declared_max
        values = deep.values.astype(np.float64)
        shares = (values - black) / ((white - black) or 1.0)
        if deep.is_inverted:
            shares = 1 - shares
        if deep.has_alpha:
            shares[..., -1] = values[..., -1] / (white or 1.0)
        shares = np.nan_to_num(shares, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
        pixels = np.round(shares * 255).astype(np.uint8)
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def read_deep(content: bytes) -> DeepImage:
    """The values of a file that `is_deep`, or of a TIFF that Pillow does not know.

    Raises:
        Exception: Any exception: the file cannot be read, or its channels make no image.
    """
    if is_tiff(content):
        return _read_tiff(content)
    with Image.open(io.BytesIO(content)) as image:
        if content.startswith(_PNG_MAGIC):
            return DeepImage(_read_png(content), orientation=image.getexif().get(ORIENTATION, 1))
        return deep_of(image)


def deep_of(image: Image.Image) -> DeepImage:
    """The values of an opened image that `is_deep`.

    Raises:
        OSError: Pillow keeps only 8 bits of its values.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        raise OSError(f"of its values Pillow keeps 8 bits ({image.mode}): give the path of its file instead")
    # Pillow scales a PGM's integers by the white that it declares.
    is_scaled = image.format == "PPM" and image.mode == "I"
    return DeepImage(
        _shaped(np.asarray(image)),
        _WHITE_OF_16_BITS if is_scaled else None,
        image.getexif().get(ORIENTATION, 1),
    )


def _read_png(content: bytes) -> np.ndarray:
    """All 16 bits; if Pillow has no mode for them, from the upper and the lower 8, decoded separately."""
    with Image.open(io.BytesIO(content)) as image:
        mode = str(image.tile[0].args)
        if mode.startswith("LA"):
            return _grey_and_alpha(content)
        if image.mode == "I;16":
            return np.asarray(image)[..., None]
    upper, lower = (_png_bytes(content, mode, order).astype(np.uint16) for order in ("B", "L"))
    values: np.ndarray = 256 * upper + lower
    return values


def _png_bytes(content: bytes, mode: str, order: str) -> np.ndarray:
    """The first ("B") or the second ("L") byte of each sample, which Pillow takes for the upper one."""
    with Image.open(io.BytesIO(content)) as image:
        (tile,) = image.tile
        image.tile = [tile._replace(args=mode.replace("16B", f"16{order}"))]
        return np.asarray(image)


def _grey_and_alpha(content: bytes) -> np.ndarray:
    """Two samples of 16 bits, read as four of 8 by changing the header (depth, colours, its checksum)."""
    header = content[12:24] + bytes([8, 6]) + content[26:29]
    patched = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
    with Image.open(io.BytesIO(patched)) as image:
        return np.asarray(image).view(">u2").astype(np.uint16)


def _read_tiff(content: bytes) -> DeepImage:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages[0]
        orientation = page.tags.valueof(ORIENTATION) or 1
        try:
            values = page.asarray()
        except (ValueError, NotImplementedError, ImportError):  # a compression that Pillow may know
            values, orientation = _opened_by_pillow(content, page), 1
        else:
            values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
        return DeepImage(
            _colours(_shaped(values), page),
            _declared_max(page, values.dtype),
            int(orientation),
            is_inverted=page.photometric == _MIN_IS_WHITE,
        )


def _opened_by_pillow(content: bytes, page: Any) -> np.ndarray:
    """The values of a TIFF with LZW and the like; for colours only the upper 8 bits, as 16."""
    with Image.open(io.BytesIO(content)) as image:
        values = np.asarray(image)
    if values.dtype != np.uint8:
        return values
    if page.planarconfig != _INTERLEAVED or page.dtype != np.uint16:
        raise OSError(f"{page.dtype} in {page.compression.name} compression cannot be read; save it without")
    return values.astype(np.uint16) * 257


def _colours(values: np.ndarray, page: Any) -> np.ndarray:
    """Grey or RGB with alpha if there is any, without other channels such as infrared.

    Raises:
        ValueError: The colours are of another kind, or several channels have none marked as a colour.
    """
    kind, num_channels = page.photometric, values.shape[-1]
    if kind == _INKS and num_channels == 4 and values.dtype.kind == "u":
        largest = np.iinfo(values.dtype).max
        light = largest - values.astype(np.float64)
        return (light[..., :3] * light[..., 3:] / largest).round().astype(values.dtype)
    num_colours = {_MIN_IS_WHITE: 1, _MIN_IS_BLACK: 1, _RGB: 3}.get(kind)
    if num_colours is None or num_colours > num_channels:
        raise ValueError(
            f"{num_channels} channels of {values.dtype} and photometric {kind} are not supported"
        )
    has_alpha = num_channels > num_colours and page.extrasamples[:1] in ((_ALPHA,), (_PREMULTIPLIED_ALPHA,))
    if num_colours == 1 and num_channels > 1 + has_alpha:
        raise ValueError(
            f"{num_channels} channels without a colour are not an image; save one, or three as RGB"
        )
    return values[..., : num_colours + has_alpha]


def _declared_max(page: Any, dtype: np.dtype[Any]) -> float | None:
    """White by the bits of a sample if they are not whole bytes, or by the tag for it."""
    declared = page.tags.valueof(_MAX_VALUE)
    declared = 0 if declared is None else int(np.max(declared))
    if dtype.kind == "u" and page.bitspersample % 8:
        return float(2**page.bitspersample - 1)
    return float(declared) if dtype == np.uint16 and 255 < declared < _WHITE_OF_16_BITS else None


def _shaped(values: np.ndarray) -> np.ndarray:
    """Values as (height, width, channels).

    Raises:
        ValueError: They have another shape, or are not real numbers.
    """
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.dtype.kind not in "uif":
        shape = " x ".join(map(str, values.shape))
        raise ValueError(f"{shape} values of {values.dtype} are not an image")
    return values
