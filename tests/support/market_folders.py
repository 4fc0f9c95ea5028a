"""Folders of images of persons, written to disk for tests."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from trainables.person_reid.persons import persons
from trainables.person_reid.sightings import PLACES


def market_folder(root: Path) -> Path:
    """Write the generated persons as files, laid out like Market-1501, with a Windows file among them."""
    images, sightings = persons()
    for image, name, place in zip(images, sightings.names, sightings.places, strict=True):
        folder = root / PLACES[str(place)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{Path(name).stem}.png")
    (root / "query" / "Thumbs.db").write_bytes(b"not an image")
    return root
