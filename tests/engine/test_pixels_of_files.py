"""Pixels mean what the file means, whatever kind of file it is."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from trainables.core.contract import TrainingContext
from trainables.engine.images import sources
from trainables.engine.images.data import load_data
from trainables.engine.images.data_check import check_source
from trainables.engine.images.deep import Scales, read_deep
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.reading import read_image, upright_size

Write = Callable[[Path, float], object]


@pytest.fixture(autouse=True)
def fresh_process_cache():
    sources._load_source.cache_clear()


def files_of(folder: Path) -> ImageFiles:
    paths = tuple(sorted(path for path in folder.iterdir() if path.is_file()))
    return ImageFiles(root=folder, paths=paths, labels=(), parts=(), class_names=())


def pixel(files: ImageFiles, index: int = 0) -> tuple[int, ...]:
    image = files.opened(index, 8)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def grey(value: float, dtype: str, shape: tuple[int, ...] = (6, 8)) -> np.ndarray:
    return np.full(shape, value).astype(dtype)


def png_16(path: Path, value: float) -> None:
    Image.fromarray(grey(value, "uint16")).save(path.with_suffix(".png"))


def tiff(dtype: str, **settings) -> Write:
    shape = (6, 8, 3) if settings.get("photometric") == "rgb" else (6, 8)
    if settings.get("planarconfig") == "separate":
        shape = (3, 6, 8)
    return lambda path, value: tifffile.imwrite(
        path.with_suffix(".tif"), grey(value, dtype, shape), **settings
    )


def lzw(path: Path, value: float) -> None:
    Image.fromarray(grey(value, "uint16")).save(path.with_suffix(".tif"), compression="tiff_lzw")


def pfm(path: Path, value: float) -> None:
    path.with_suffix(".pfm").write_bytes(b"Pf 8 6 -1.0\n" + grey(value, "<f4").tobytes())


# Of each kind a darkest, a middle and a brightest value, and the 8 bits that they mean.
KINDS: dict[str, tuple[Write, tuple[float, float, float], tuple[int, int, int]]] = {
    "PNG of 16 bits": (png_16, (0, 32768, 65535), (0, 128, 255)),
    "PNG of 12 bits in 16": (png_16, (0, 2048, 4095), (0, 128, 255)),
    "PNG of 10 bits in 16": (png_16, (0, 512, 1023), (0, 128, 255)),
    "TIFF of 16 bits": (tiff("uint16"), (0, 32768, 65535), (0, 128, 255)),
    "TIFF of 12 bits in 16": (tiff("uint16"), (0, 2048, 4095), (0, 128, 255)),
    "TIFF of 12 bits, LZW": (lzw, (0, 2048, 4095), (0, 128, 255)),
    "TIFF whose 0 is white": (tiff("uint16", photometric="miniswhite"), (0, 2048, 4095), (255, 127, 0)),
    "colours of 12 bits in 16": (tiff("uint16", photometric="rgb"), (0, 2048, 4095), (0, 128, 255)),
    "planes of 16 bits": (
        tiff("uint16", photometric="rgb", planarconfig="separate"),
        (0, 32768, 65535),
        (0, 128, 255),
    ),
    "floats in 0 to 1": (tiff("float32"), (0.2, 0.5, 0.6), (51, 128, 153)),
    "floats of 64 bits": (tiff("float64"), (0.2, 0.5, 0.6), (51, 128, 153)),
    "colours of floats": (tiff("float32", photometric="rgb"), (0.2, 0.5, 0.6), (51, 128, 153)),
    "floats beyond 1": (tiff("float32"), (-100.0, 0.0, 300.0), (0, 64, 255)),
    "PFM": (pfm, (0.2, 0.5, 0.6), (51, 128, 153)),
    "signed 16 bits, as of a CT": (tiff("int16"), (-1000, 500, 3000), (0, 96, 255)),
    "32 bits": (tiff("uint32"), (0, 50_000, 100_000), (0, 128, 255)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_beyond_8_bits_are_scaled_by_the_range_of_all_images(tmp_path: Path, kind: str) -> None:
    write, values, expected = KINDS[kind]
    for name, value in zip("abc", values, strict=True):
        write(tmp_path / name, value)
    files = files_of(tmp_path)
    assert [pixel(files, index) for index in range(3)] == [(value,) * 3 for value in expected]
    assert len(files.survey().notes()) == 1


@pytest.mark.parametrize(("kind", "num_channels"), [(2, 3), (6, 4), (4, 2)])
def test_a_png_of_16_bits_keeps_them_all_with_and_without_colour_and_alpha(
    tmp_path: Path, kind: int, num_channels: int
) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (6, 8, num_channels)).astype(np.uint16)
    content = png_of_16_bits(values, kind)
    assert read_deep(content).values.tolist() == values.tolist()
    values[0, 0] = 1024
    values[0, 1] = 4095
    if num_channels != 3:
        values[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(png_of_16_bits(values, kind))
    image = files_of(tmp_path).opened(0, 8)
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(64,) * 3, (255,) * 3]


def png_of_16_bits(values: np.ndarray, kind: int) -> bytes:
    """A PNG of colours or with alpha, which Pillow does not write: its chunks by hand.

    Every row is predicted from its left neighbours, so that a reader must know what a pixel is.
    """
    height, width, num_channels = values.shape
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    before = np.pad(rows, ((0, 0), (2 * num_channels, 0)))[:, : rows.shape[1]]
    raw = b"".join(b"\1" + row.tobytes() for row in rows - before)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def test_a_white_that_the_file_declares_goes_before_the_datas_own(tmp_path: Path) -> None:
    for name, value in (("a", 1024), ("b", 2048)):
        header = b"P5 8 6 4095\n"
        (tmp_path / f"{name}.pgm").write_bytes(header + grey(value, ">u2").tobytes())
        tiff("uint16", extratags=[(281, 3, 1, 4095, True)])(tmp_path / f"t{name}", value)
    assert [pixel(files_of(tmp_path), index)[0] for index in range(4)] == [64, 128, 64, 128]


def test_what_is_no_number_is_black_and_spoils_no_range(tmp_path: Path) -> None:
    values = np.array([[np.nan, 0.5], [1.0, 0.0]], "float32")
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = files_of(tmp_path).opened(0, 2)
    assert np.asarray(image)[..., 0].tolist() == [[0, 128], [255, 0]]


def test_more_channels_than_colours_are_refused_and_not_guessed(tmp_path: Path) -> None:
    bands = np.zeros((5, 6, 8), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="separate")
    with pytest.raises(OSError, match="5 channels without a colour are not an image"):
        files_of(tmp_path).opened(0, 8)


def saved(mode: str, colour: object, name: str, **settings) -> Write:
    return lambda path, _: Image.new(mode, (8, 6), colour).save(path.with_name(name), **settings)


def palette(path: Path, _: float) -> None:
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(path.with_name("a.png"), transparency=0)


def half_transparent_palette(path: Path, _: float) -> None:
    image = Image.new("P", (8, 6), 0)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(path.with_name("a.png"), transparency=bytes([102, 255]))


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (saved("CMYK", (0, 0, 0, 255), "a.jpg", quality=100), (0, 0, 0)),
        (saved("CMYK", (0, 0, 0, 0), "a.jpg", quality=100), (255, 255, 255)),
        (saved("CMYK", (255, 0, 0, 0), "a.tif"), (0, 255, 255)),
        (saved("RGBA", (200, 0, 0, 0), "a.png"), (255, 255, 255)),
        (saved("RGBA", (0, 0, 0, 102), "a.png"), (153, 153, 153)),
        (saved("RGBA", (10, 20, 30, 255), "a.png"), (10, 20, 30)),
        (saved("LA", (0, 102), "a.png"), (153, 153, 153)),
        (saved("RGB", (7, 8, 9), "a.png", transparency=(7, 8, 9)), (255, 255, 255)),
        (saved("L", 7, "a.png", transparency=7), (255, 255, 255)),
        (saved("RGBA", (0, 0, 0, 0), "a.webp", lossless=True), (255, 255, 255)),
        (saved("1", 1, "a.png"), (255, 255, 255)),
        (saved("1", 0, "a.tif"), (0, 0, 0)),
        (saved("P", 0, "a.gif", transparency=0), (255, 255, 255)),
        (saved("LAB", (255, 128, 128), "a.tif"), None),
        (palette, (200, 100, 50)),
        (half_transparent_palette, (153, 153, 153)),
    ],
)
def test_colours_of_8_bits_are_what_a_viewer_shows_on_white(
    tmp_path: Path, write: Write, expected: tuple[int, ...] | None
) -> None:
    write(tmp_path / "a", 0)
    found = pixel(files_of(tmp_path))
    assert found == expected if expected else min(found) > 0


# Where the upper left of the file is seen, by orientation.
SEEN = (
    "left top",
    "right top",
    "right bottom",
    "left bottom",
    "left top",
    "right top",
    "right bottom",
    "left bottom",
)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_images_are_upright_as_their_exif_says(tmp_path: Path, orientation: int, ending: str) -> None:
    corners = np.zeros((32, 64, 3), np.uint8)
    corners[:16, :32] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(corners).save(tmp_path / f"a{ending}", exif=exif)
    files = files_of(tmp_path)
    image = files.opened(0, 64)
    width, height = image.size
    assert (width, height) == ((32, 64) if orientation >= 5 else (64, 32))
    assert files.survey().sizes_px.tolist() == [[width, height]]
    assert image.getexif().get(274, 1) == 1  # so no reader turns it once more
    bright = [
        f"{x_name} {y_name}"
        for x_name, x in (("left", 4), ("right", width - 5))
        for y_name, y in (("top", 4), ("bottom", height - 5))
        if image.getpixel((x, y))[0] > 128
    ]
    assert bright == [SEEN[orientation - 1]]


def test_a_trial_and_preflight_report_what_is_done_with_unusual_pixels(tmp_path: Path) -> None:
    for level, name in enumerate(("dark", "bright")):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(8):
            png_16(tmp_path / "d" / name / str(number), 1000 + 2000 * level + number)
    context = TrainingContext(
        data=f"imagefolder:{tmp_path / 'd'}", data_seed=0, seed=0, cache_dir=tmp_path / "cache", resolution=8
    )
    note = (
        "16-bit images, scaled to 8 bits by 4095 as of their 16 bits 12 are used (the data's own values "
        "are 1000 to 3007): 16"
    )
    assert note in check_source(context)
    data = load_data(context)
    assert data.notes()["pixels"] == note
    means = [
        data.train.images((data.train.labels == label).nonzero().flatten(), 8).float().mean()
        for label in (0, 1)
    ]
    assert [round(float(mean)) for mean in means] == [187, 62]


def test_what_was_seen_of_the_pixels_is_kept_with_the_cache(tmp_path: Path, monkeypatch) -> None:
    png_16(tmp_path / "a", 4095)
    first = files_of(tmp_path).survey(tmp_path / "known")
    monkeypatch.setattr("trainables.engine.images.survey._record", lambda path: pytest.fail("read again"))
    again = files_of(tmp_path).survey(tmp_path / "known")
    assert again.scales == first.scales == Scales({"16-bit": (4095.0, 4095.0)})
    assert again.content_key(["a.png"]) == first.content_key(["a.png"])


def test_a_photograph_of_200_megapixels_is_no_bomb(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 16320 12240 255\n")
    assert upright_size(tmp_path / "a.ppm") == (16320, 12240)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
            "pointer of Git LFS; .*git lfs pull",
        ),
        (
            b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
            "it is HEIC, whatever its name; `pip install pillow-heif` reads",
        ),
        (b"<!DOCTYPE html><html>", "cannot identify image file"),
    ],
)
def test_what_is_no_image_in_spite_of_its_name_says_what_it_is(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(OSError, match=reason):
        read_image(tmp_path / "a.jpg", 32, Scales)


def test_a_drawing_in_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("it was run"))
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\n(x) run\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(text)
    files = files_of(tmp_path)
    assert files.survey().is_unreadable.tolist() == [True]
    with pytest.raises(OSError, match="it is PostScript, a program, which is not run; save what it draws as"):
        files.opened(0, 8)


def test_a_file_outside_of_the_folder_has_a_name_too(tmp_path: Path) -> None:
    path = tmp_path / "b" / "x.png"  # as a table may have it
    files = ImageFiles(root=tmp_path / "a", paths=(path,), labels=(), parts=("train",), class_names=())
    assert files.name(0) == "../b/x.png"
