"""Persons and cameras, read from the names of images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainables.core.contract import DataError
from trainables.core.data_summary import LeftOut
from trainables.engine.images.folder_tree import FolderTree, is_image

# Market-1501's numbers for useless boxes, and for persons who are not searched for.
JUNK, DISTRACTOR = -1, 0
PLACES = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
_NAME = re.compile(r"(-1|\d+)_c(\d+)")
_LISTED = 5


@dataclass(frozen=True, eq=False)
class Sightings:
    """Images of persons, numbered from 0.

    Attributes:
        names: Files, relative to the folder.
        identities: Numbers of the persons: (n,), int64; -1 is junk, 0 a distractor.
        cameras: (n,), int64.
        places: "train", "query" or "gallery": (n,), text.
        left_out: Other contents of the folders.
    """

    names: tuple[str, ...]
    identities: np.ndarray
    cameras: np.ndarray
    places: np.ndarray
    left_out: tuple[LeftOut, ...] = ()

    @property
    def is_person(self) -> np.ndarray:
        """Whether each image shows a person who can be found again: (n,), bool."""
        return np.asarray(self.identities > DISTRACTOR)

    def counts(self) -> str:
        """The numbers of images, persons, cameras and distractors, in words."""
        num_persons = len(np.unique(self.identities[self.is_person]))
        num_others = int((~self.is_person).sum())
        cameras = len(np.unique(self.cameras))
        return f"{len(self.names)} images, {num_persons} persons, {cameras} cameras, {num_others} distractors"


def sightings_of(names: Sequence[str], places: Sequence[str]) -> Sightings:
    """Parsed names such as `0001_c1s1_000151_00.jpg`: person 1, seen by camera 1.

    Raises:
        DataError: Some names do not follow this pattern.
    """
    matches = [_NAME.match(Path(name).name) for name in names]
    odd = [name for name, match in zip(names, matches, strict=True) if match is None]
    if odd:
        listed = ", ".join(odd[:_LISTED]) + (", ..." if len(odd) > _LISTED else "")
        raise DataError(
            f"{len(odd)} images are not named like 0001_c1s1_000151_00.jpg, person and camera first: {listed}"
        )
    numbers = np.array([match.groups() for match in matches if match], dtype=np.int64).reshape(-1, 2)
    return Sightings(tuple(names), numbers[:, 0], numbers[:, 1], np.array(places))


def find_sightings(root: Path) -> Sightings:
    """The images of a folder laid out like Market-1501, or of a folder without query and gallery.

    The former contains `bounding_box_train`, `query` and `bounding_box_test`.

    Raises:
        DataError: No such folder, or one without images of persons.
    """
    if not root.is_dir():
        raise DataError(f"{root} does not exist; write market:FOLDER")
    there = {place: root / name for place, name in PLACES.items() if (root / name).is_dir()}
    if there and len(there) < len(PLACES):
        missing = ", ".join(name for place, name in PLACES.items() if place not in there)
        raise DataError(f"{root} has no {missing}; either all of {', '.join(PLACES.values())} or none")
    tree = FolderTree(root)
    files = [
        (path, place)
        for place, folder in (there or {"train": root}).items()
        for path in tree.listing(folder).files
    ]
    for path, _ in files:
        if not is_image(path):
            tree.leave_file(path, otherwise="")
    found = [(path.relative_to(root).as_posix(), place) for path, place in files if is_image(path)]
    if not found:
        raise DataError(_no_images_reason(root, list(there.values()), tree))
    return replace(sightings_of(*zip(*found, strict=True)), left_out=tree.left_out())


def _no_images_reason(root: Path, searched: Sequence[Path], tree: FolderTree) -> str:
    """Where images were looked for, and where they may be."""
    if searched:
        return f"there are no images in {', '.join(map(str, searched))}"
    folders = tree.listing(root).folders
    alike = next((one for one in folders if all((one / name).is_dir() for name in PLACES.values())), None)
    if alike:
        return f"there are no images in {root}; did you mean market:{alike}?"
    has = ", ".join(one.name for one in folders[:_LISTED]) or "none"
    return (
        f"there are no images in {root} itself, nor folders named {', '.join(PLACES.values())}; its folders: "
        f"{has}"
    )
