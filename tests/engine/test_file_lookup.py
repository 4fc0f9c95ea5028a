"""Files are found by the names of another machine, and never by a guess."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from trainables.engine.images.file_lookup import ImageFinder, find_file, is_file, spellings

NFC, NFD = "caf\u00e9.png", "cafe\u0301.png"


def made(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "PNG")
    return root


def found(root: Path, name: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in ImageFinder(root).find(name))


def test_a_name_stands_for_itself_or_for_what_follows_its_first_folders() -> None:
    assert list(spellings("C:\\pets\\../a.png")) == [
        "C:\\pets\\../a.png",
        "C:/pets/../a.png",
        "C:/pets/a.png",
        "pets/a.png",
        "a.png",
    ]
    assert {NFC, NFD} <= set(spellings(f"x/{NFC}"))


@pytest.mark.parametrize(
    "name", ["train/cat/0.png", "/kaggle/input/pets/train/cat/0.png", "D:\\pets\\train\\cat\\0.png"]
)
def test_of_images_with_one_name_the_one_with_most_of_its_folders_is_meant(tmp_path: Path, name: str) -> None:
    root = made(tmp_path, "train/cat/0.png", "train/dog/0.png", "val/cat/0.png")
    assert find_file(root, name) == root / "train/cat/0.png"
    assert found(root, name) == ["train/cat/0.png"]


@pytest.mark.parametrize(
    ("files", "name", "meant"),
    [
        (("a/0.png", "b/0.png"), "0.png", ["a/0.png", "b/0.png"]),
        (("a/0.png", "a/0.jpg"), "0", ["a/0.jpg", "a/0.png"]),
        (("a/0.png", "a/0.jpg"), "0.jpg", ["a/0.jpg"]),
        (("x/IMG_1.JPG", "x/img_2.JPG"), "img_1.jpg", ["x/IMG_1.JPG"]),
        (("x/a.png", "x/A.png"), "y/A.png", ["x/A.png"]),
        ((f"x/{NFD}",), NFC, [f"x/{NFD}"]),
        ((f"x/{NFC}",), NFD.removesuffix(".png"), [f"x/{NFC}"]),
        (("a/0.png",), "1.png", []),
        (("a/0.png",), "", []),
        (("a/0.png",), "x" * 5000, []),
        (("a/0.png",), "a\0b.png", []),
    ],
)
def test_case_accents_and_endings_may_differ_where_one_image_is_meant(
    tmp_path: Path, files: tuple[str, ...], name: str, meant: list[str]
) -> None:
    assert found(made(tmp_path, *files), name) == meant


def test_a_name_that_no_file_can_have_is_none(tmp_path: Path) -> None:
    assert not is_file(tmp_path / ("x" * 5000))
    assert find_file(tmp_path, "x" * 5000) is None
