"""Images of made-up persons in coloured clothes, seen by four cameras: data for trying things out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.person_reid.sightings import DISTRACTOR, JUNK, Sightings, sightings_of

HEIGHT_PX, WIDTH_PX = 64, 32
_NUM_TRAINED, _NUM_TESTED = 80, 16
_NUM_DISTRACTORS, _NUM_JUNK = 40, 12
_NUM_CAMERAS, _PER_CAMERA = 4, 3
_SEED = 0
_WEAVES = 4


@dataclass(frozen=True)
class _Outfit:
    """What a person wears: colours (3,), and which of four weaves combines the coat's two colours."""

    coat: np.ndarray
    second: np.ndarray
    trousers: np.ndarray
    weave: int


@dataclass(frozen=True)
class _Camera:
    """A camera's background and the factors by which it tints colours, (3,) each."""

    background: np.ndarray
    tint: np.ndarray


def persons() -> tuple[Tensor, Sightings]:
    """1,204 images of 64 x 32 px, named as in Market-1501 and the same every time.

    80 persons to train on and 16 to find again, with 3 images by each of 4 cameras, which tint what they see;
    for the 16, the first image by each camera is a query. The gallery also has 40 distractors, persons
    without a query, and 12 images of junk, which show half of a person.
    """
    random = np.random.default_rng(_SEED)
    cameras = [_camera(random) for _ in range(_NUM_CAMERAS)]
    images: list[np.ndarray] = []
    names: list[str] = []
    places: list[str] = []

    def see(
        identity: int, camera: int, frame: int, outfit: _Outfit, place: str, *, cut: bool = False
    ) -> None:
        images.append(_image(random, outfit, cameras[camera], is_cut=cut))
        number = f"{identity:04d}" if identity >= 0 else str(identity)
        names.append(f"{number}_c{camera + 1}s1_{frame:06d}_00.jpg")
        places.append(place)

    outfits = [_outfit(random) for _ in range(_NUM_TRAINED + _NUM_TESTED)]
    for number, outfit in enumerate(outfits):
        for camera in range(_NUM_CAMERAS):
            for frame in range(_PER_CAMERA):
                tested = "gallery" if frame else "query"
                see(number + 1, camera, frame, outfit, "train" if number < _NUM_TRAINED else tested)
    for number in range(_NUM_DISTRACTORS):
        see(DISTRACTOR, number % _NUM_CAMERAS, number, _outfit(random), "gallery")
    for number in range(_NUM_JUNK):
        see(JUNK, number % _NUM_CAMERAS, number, outfits[-1 - number], "gallery", cut=True)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), sightings_of(names, places)


def _outfit(random: np.random.Generator) -> _Outfit:
    """Colours and a weave at random."""
    coat, second, trousers = random.uniform(30, 225, (3, 3))
    return _Outfit(coat, second, trousers, int(random.integers(_WEAVES)))


def _camera(random: np.random.Generator) -> _Camera:
    return _Camera(random.uniform(60, 200, 3), random.uniform(0.6, 1.3, 3))


def _image(random: np.random.Generator, outfit: _Outfit, camera: _Camera, *, is_cut: bool) -> np.ndarray:
    """(64, 32, 3), uint8: a person somewhere near the middle, tinted, brighter or darker, with noise."""
    rows, columns = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    rows = rows - random.integers(-4, 5) - (HEIGHT_PX // 2 if is_cut else 0)
    columns = columns - WIDTH_PX // 2 - random.integers(-4, 5)
    half_px = random.integers(7, 11)  # of the body's width
    scene = np.tile(camera.background, (HEIGHT_PX, WIDTH_PX, 1))
    scene[(rows - 8) ** 2 + columns**2 < 25] = (200, 160, 130)  # the head
    is_body = np.abs(columns) < half_px
    is_second = (np.zeros_like(rows), rows // 3 % 2, columns // 3 % 2, rows > 24)[outfit.weave] == 1
    is_coat = is_body & (rows >= 13) & (rows < 37)
    scene[is_coat & ~is_second] = outfit.coat
    scene[is_coat & is_second] = outfit.second
    scene[is_body & (rows >= 37) & (rows < 62)] = outfit.trousers
    noise = random.normal(0, 12, scene.shape)
    seen = scene * camera.tint * random.uniform(0.8, 1.15) + noise
    return np.asarray(np.clip(seen, 0, 255), dtype=np.uint8)
