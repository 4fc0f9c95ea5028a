"""Folders of pictures of persons that tests write to disk."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from trainables.person_reid.persons import persons
from trainables.person_reid.sightings import PLACES


def market_folder(root: Path) -> Path:
    """The made persons as files, laid out as Market-1501 is, with a file of Windows' between them."""
    pictures, sightings = persons()
    for picture, name, place in zip(pictures, sightings.names, sightings.places, strict=True):
        folder = root / PLACES[str(place)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{Path(name).stem}.png")
    (root / "query" / "Thumbs.db").write_bytes(b"not a picture")
    return root
