"""From a source's name in a space to images with scores, in three parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl

import torch
from PIL import Image
from torch import Tensor

from trainables.core.contract import DataError, TrainingContext
from trainables.core.suggest import no_such_source
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.findings import refuse
from trainables.engine.images.data import DataSplits, ImageSet, split_source
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import Pictures
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.identical import more_than_once
from trainables.engine.images.source import ImageSource, in_memory_source, with_files
from trainables.image_quality.photographs import SIDE_PX, photographs
from trainables.image_quality.ratings import NUM_LEVELS, Ratings, read_ratings

SOURCES = ("photographs", "quality:PATH.csv", "quality:PATH.csv?images=FOLDER&side=384")
_SIDE_PX = 384  # shorter side of KonIQ-10k's images where the paper cuts its patches
_LOOKED_AT = 64
_MAX_SURVEY_S = 10.0
_SETTINGS = {"images", "side"}


@dataclass(frozen=True, eq=False)
class QualityData:
    """Whole images of one side in three parts, with their scores.

    Attributes:
        side_px: Of the stored images. Resolutions are sides of the patches that are cut out of them.
        scores: Of each row of the source: (n,), fp32.
    """

    splits: DataSplits
    ratings: Ratings
    side_px: int
    scores: Tensor

    def taken_by(self, nearest_resolution: Callable[[int], int]) -> QualityData:
        """The same data for a network that takes patches of some sides only.

        Raises:
            DataError: The network takes none that could be cut from the images.
        """
        splits = self.splits.taken_by(nearest_resolution)
        if splits.score_resolution > self.side_px:
            raise DataError(
                f"the model takes patches of {splits.score_resolution} px at least, the images have "
                f"{self.side_px} px; name another model, or larger images: quality:PATH.csv?side=PIXELS"
            )
        return replace(self, splits=splits)

    def scores_of(self, images: ImageSet, indices: Tensor) -> Tensor:
        """Those of the images of one part, by number: (batch,)."""
        return self.scores[images.rows[indices]]

    def mean_and_spread(self) -> tuple[float, float]:
        """Mean and standard deviation of the training scores."""
        scores = self.scores[self.splits.train.rows].double()
        return float(scores.mean()), float(scores.std(correction=0))

    def notes(self) -> dict[str, str]:
        splits = self.splits
        sizes = ", ".join(
            f"{len({self.ratings.references[row] for row in part.rows.tolist()})} of {name}"
            for name, part in (("training", splits.train), ("validation", splits.val), ("test", splits.test))
        )
        return {**splits.notes(), "references": f"{sizes}; none is in two parts"}


@dataclass(frozen=True)
class _Place:
    """Where a source's table and images are, and the side to store these at."""

    table: Path
    folder: Path
    side_px: int


def load_quality_data(context: TrainingContext) -> QualityData:
    """The data of a run, split the same way in every trial of it; kept for the next trial.

    Images are stretched to squares, so that a whole image is scored, and patches are cut out of
    these. A patch of a smaller side is as sharp: it is cheaper for showing less.

    Raises:
        DataError: Unknown, missing or unfit data, or a part whose scores are all the same.
    """
    cache = CacheFolder.of(context)
    source, ratings, side_px = _loaded(context.data, cache, context.num_workers, context.data_seed)
    _check_resolution(context, side_px)
    data = QualityData(split_source(source, context), ratings, side_px, torch.tensor(ratings.scores))
    for name in ("train", "val", "test"):
        scores = data.scores[getattr(data.splits, name).rows]
        if bool((scores == scores[0]).all()):
            raise DataError(
                f"{context.data}: all {len(scores)} images of {name} are scored {float(scores[0]):g}"
            )
    return data


def check_quality_data(context: TrainingContext) -> list[str]:
    """What is to be known of the source that `context.data` names, without decoding it.

    Of the images 64 are opened, evenly spread.

    Raises:
        DataError: No such source, or it is missing or unfit.
    """
    if context.data == "photographs":
        ratings, side_px, small = photographs()[1], SIDE_PX, 0
    else:
        place = _place(context.data)
        ratings, side_px = read_ratings(place.table, place.folder), place.side_px
        small = _num_small(context.data, place, ratings)
    _check_resolution(context, side_px)
    ratings.split(context.data_seed)
    low, high = min(ratings.scores), max(ratings.scores)
    counts = (
        f"{len(ratings.images)} images of {ratings.num_references} references, scores {low:g} to {high:g}"
    )
    told = [f"{counts}, stretched to {side_px} x {side_px} px"]
    if small:
        told.append(f"{small} images looked at are smaller than that, and blurred by it; ?side= may be less")
    return told if context.data == "photographs" else [*told, *_said_of_files(context, ratings)]


def _said_of_files(context: TrainingContext, ratings: Ratings) -> list[str]:
    """Which files have unusual pixels, and which are one picture under several names."""
    files = _files(_place(context.data), ratings)
    survey = files.survey(context.cache_dir, most_s=_MAX_SURVEY_S)
    copies = more_than_once(survey.identical(), files.name)
    return [*survey.notes(), *([copies] if copies else [])]


def _files(place: _Place, ratings: Ratings) -> ImageFiles:
    return ImageFiles(
        root=place.folder,
        paths=tuple(place.folder / name for name in ratings.images),
        labels=(),
        parts=ratings.parts,
        class_names=(),
    )


def _check_resolution(context: TrainingContext, side_px: int) -> None:
    if context.resolution is not None and context.resolution > side_px:
        raise DataError(
            f"patches of {context.resolution} px cannot be cut from images of {side_px} px; give "
            f"search.ladder a resolution of {side_px} at most, or quality:PATH.csv?side={context.resolution}"
        )


def _num_small(source: str, place: _Place, ratings: Ratings) -> int:
    """How many of 64 images have a side under that which they are stored at."""
    num_small, problems = 0, []
    for name in ratings.images[:: max(1, len(ratings.images) // _LOOKED_AT)]:
        try:
            with Image.open(place.folder / name) as picture:
                num_small += min(picture.size) < place.side_px
        except OSError as error:
            problems.append(str(error) if name in str(error) else f"{name}: {error}")
    refuse(source, problems)
    return num_small


def _place(name: str) -> _Place:
    kind, _, rest = name.partition(":")
    path, _, query = rest.partition("?")
    if kind != "quality" or not path:
        raise DataError(no_such_source("source of scored images", name, SOURCES))
    settings = dict(parse_qsl(query, keep_blank_values=True))
    side = settings.get("side", str(_SIDE_PX))
    if settings.keys() - _SETTINGS or not side.isdecimal() or int(side) < 1:
        raise DataError(f"{name}: after the ? there may be images=FOLDER and side=PIXELS, got {query}")
    table = Path(path).expanduser()
    folder = Path(settings["images"]).expanduser() if "images" in settings else table.parent
    return _Place(table, folder, int(side))


@lru_cache(maxsize=1)
def _loaded(name: str, cache: CacheFolder, num_threads: int, seed: int) -> tuple[ImageSource, Ratings, int]:
    level_names: Sequence[str] = [f"level {number}" for number in range(NUM_LEVELS)]
    if name == "photographs":
        images, ratings = photographs()
        source = in_memory_source(
            images, ratings.levels(), parts=ratings.split(seed), class_names=level_names
        )
        side_px = SIDE_PX
    else:
        place = _place(name)
        ratings, side_px = read_ratings(place.table, place.folder), place.side_px
        source = _decoded(place, ratings, cache, num_threads, seed, level_names)
    whole = source.pixels(side_px)
    # Whatever side is asked for, it is that of patches, and whole images are what they are cut from.
    source = replace(
        source, pixels=lambda side: whole, own_resolution=side_px, name=lambda row: ratings.images[row]
    )
    return source, ratings, side_px


def _decoded(
    place: _Place,
    ratings: Ratings,
    cache: CacheFolder,
    num_threads: int,
    seed: int,
    level_names: Sequence[str],
) -> ImageSource:
    files = _files(place, ratings)

    def stretched(index: int, side: int) -> Image.Image:
        return files.opened(index, side).resize((side, side), Image.Resampling.BILINEAR)

    source = decoded_source(
        Pictures(len(files.paths), stretched),
        ratings.levels(),
        parts=ratings.split(seed),
        class_names=level_names,
        cache=cache,
        name=lambda: f"stretched-{files.content_key(cache.folder)}",
        top=place.side_px,
        num_threads=num_threads,
    )
    return with_files(source, files, cache.folder)
