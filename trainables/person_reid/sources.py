"""From a source's name in a space to images of persons in three parts, which share no person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import DataSource, read_source
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.images.data import DataSplits, split_source
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.source import ImageSource, in_memory_source, with_files
from trainables.person_reid.data import IdentitySet, PersonData
from trainables.person_reid.data_sources import PERSON_SOURCES, Market
from trainables.person_reid.persons import persons
from trainables.person_reid.sightings import JUNK, Sightings, find_sightings

_ASPECT_RATIO = 0.5  # of the height, which is the resolution: 256 x 128 px in most papers
_HELD_OUT_FRACTION = 0.15  # of the persons, for validation and for test each, if the source lacks them
_LOOKED_AT = 64
_MAX_SURVEY_S = 10.0


def load_person_data(context: TrainingContext) -> PersonData:
    """The data of a run, split the same way in every trial, and cached for the next one.

    15 % of the training part's persons are held out for validation, and as many for test if there are no
    queries. Images are stretched to a height of twice their width.

    Raises:
        DataError: Unknown, missing or unusable data, or a part in which no person is seen by two cameras.
    """
    cache = CacheFolder.of(context)
    given = read_source(context.data, PERSON_SOURCES)
    seen = _seen(given, cache, context.resolution, context.num_workers, context.data_seed)
    return _person_data(split_source(seen.source, context), seen)


def check_person_data(context: TrainingContext) -> list[str]:
    """Notes on the source that `context.data` names, without decoding it.

    About 64 of the images, evenly spread, are opened.

    Raises:
        DataError: The source is unknown, missing or unreadable, or cannot be split.
    """
    source = read_source(context.data, PERSON_SOURCES)
    if not isinstance(source, Market):
        return [persons()[1].counts()]
    root = source.market
    sightings = find_sightings(root)
    if context.resolution is None:
        raise DataError(f"{source} has no resolution of its own; give search.ladder a resolution in pixels")
    _parts(source, sightings, context.data_seed)
    for name in sightings.names[:: max(1, len(sightings.names) // _LOOKED_AT)]:
        try:
            Image.open(root / name).close()
        except OSError as error:
            raise DataError(f"{root / name} cannot be read: {error}") from error
    survey = _files(root, sightings).survey(context.cache_dir, most_s=_MAX_SURVEY_S)
    return [sightings.counts(), *map(str, sightings.left_out), *survey.notes()]


@dataclass(frozen=True, eq=False)
class _Seen:
    """Images, and the persons and cameras in their names."""

    source: ImageSource
    sightings: Sightings
    num_identities: int


@lru_cache(maxsize=1)
def _seen(given: DataSource, cache: CacheFolder, top: int | None, num_threads: int, seed: int) -> _Seen:
    if isinstance(given, Market):
        sightings = find_sightings(given.market)
        source = _decoded(given.market, sightings, cache, top, num_threads)
    else:
        images, sightings = persons()
        labels = torch.zeros(len(images))
        source = in_memory_source(images, labels, class_names=(), aspect_ratio=_ASPECT_RATIO)
    parts = np.where(source.parts == "unreadable", "unreadable", _parts(given, sightings, seed))
    trained = np.unique(sightings.identities[parts == "train"])
    source = replace(
        source,
        labels=_labels(sightings, parts, trained),
        parts=parts,
        class_names=tuple(f"{number:04d}" for number in trained),
        name=sightings.names.__getitem__,
    )
    return _Seen(source, sightings, len(trained))


@lru_cache(maxsize=1)
def _person_data(splits: DataSplits, seen: _Seen) -> PersonData:
    train, val, test = (
        IdentitySet(seen.source, part.rows, part.seed) for part in (splits.train, splits.val, splits.test)
    )
    places = seen.sightings.places
    first = _first_of_each_camera(seen.sightings, seen.source.parts != "unreadable")
    return PersonData(
        splits=replace(splits, train=train, val=val, test=test),
        cameras=torch.from_numpy(seen.sightings.cameras),
        is_query=torch.from_numpy(np.where(places == "train", first, places == "query")),
        is_gallery=torch.from_numpy(places != "query"),
        num_identities=seen.num_identities,
    )


def _decoded(
    root: Path, sightings: Sightings, cache: CacheFolder, top: int | None, num_threads: int
) -> ImageSource:
    files = _files(root, sightings)
    source = decoded_source(
        ImageReader(len(files.paths), files.opened, aspect_ratio=_ASPECT_RATIO),
        torch.zeros(len(files.paths)),
        parts=sightings.places,
        class_names=(),
        cache=cache,
        name=lambda: f"tall-{files.content_key(cache.folder)}",
        top=top,
        num_threads=num_threads,
    )
    return with_files(source, files, cache.folder)


def _files(root: Path, sightings: Sightings) -> ImageFiles:
    paths = tuple(root / name for name in sightings.names)
    return ImageFiles(
        root=root, paths=paths, labels=(), parts=(), class_names=(), left_out=sightings.left_out
    )


def _parts(source: DataSource, sightings: Sightings, seed: int) -> np.ndarray:
    """The part of each image, (n,), text. Distractors are in the test part, if in any.

    Raises:
        DataError: Too few persons, or no person of a part is seen by two cameras.
    """
    has_queries = bool((sightings.places == "query").any())
    is_known = (sightings.places == "train") & sightings.is_person
    known = np.random.default_rng(seed).permutation(np.unique(sightings.identities[is_known]))
    num_held_out = max(1, round(_HELD_OUT_FRACTION * len(known)))
    val, test = known[:num_held_out], known[num_held_out : (1 if has_queries else 2) * num_held_out]
    parts = np.where(is_known, "train", "test")
    parts[is_known & np.isin(sightings.identities, val)] = "val"
    parts[is_known & np.isin(sightings.identities, test)] = "test"
    if has_queries:
        parts[(sightings.places == "train") & ~is_known] = "none"
    lonely = [part for part in ("train", "val", "test") if not _is_seen_twice(sightings, parts == part)]
    if lonely:
        raise DataError(
            f"{source} cannot be used: no person of its parts {', '.join(lonely)} is seen by two cameras "
            f"({sightings.counts()})"
        )
    return parts


def _is_seen_twice(sightings: Sightings, is_meant: np.ndarray) -> bool:
    """Whether two cameras have seen any of the persons in these images."""
    chosen = is_meant & sightings.is_person
    pairs = {*zip(sightings.identities[chosen].tolist(), sightings.cameras[chosen].tolist(), strict=True)}
    return len({identity for identity, _ in pairs}) < len(pairs)


def _labels(sightings: Sightings, parts: np.ndarray, trained: np.ndarray) -> Tensor:
    """Labels (n,): the training part's classes from 0, then everybody else, and -1 for junk.

    The same number in a source's test part and training part does not mean the same person.
    """
    offset = np.where(sightings.places == "train", 0, sightings.identities.max() + 1)
    others = np.where(sightings.identities == JUNK, JUNK, len(trained) + sightings.identities + offset)
    labels = np.where(parts == "train", np.searchsorted(trained, sightings.identities), others)
    return torch.from_numpy(labels)


def _first_of_each_camera(sightings: Sightings, is_readable: np.ndarray) -> np.ndarray:
    """Whether each image is the first by its camera of its person, (n,), bool."""
    rows = np.flatnonzero(is_readable & sightings.is_person)
    pairs = np.stack([sightings.identities[rows], sightings.cameras[rows]])
    first = np.zeros(len(is_readable), dtype=bool)
    first[rows[np.unique(pairs, axis=1, return_index=True)[1]]] = True
    return first
