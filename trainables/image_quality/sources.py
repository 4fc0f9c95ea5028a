"""From a source's name in a space to images with scores, in three parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import DataSource, read_source
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.findings import refuse
from trainables.engine.images.data import DataSplits, ImageSet, split_source
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.identical import more_than_once
from trainables.engine.images.source import ImageSource, in_memory_source, with_files
from trainables.image_quality.data_sources import SCORED_SOURCES, Photographs, Quality
from trainables.image_quality.photographs import SIDE_PX, photographs
from trainables.image_quality.ratings import NUM_LEVELS, Ratings, read_ratings

_LOOKED_AT = 64
_MAX_SURVEY_S = 10.0


@dataclass(frozen=True, eq=False)
class QualityData:
    """Whole images of one side in three parts, with their scores.

    Attributes:
        side_px: Side of the stored images. Resolutions are sides of the patches cut from them.
        scores: Score of each row of the source, (n,), fp32.
    """

    splits: DataSplits
    ratings: Ratings
    side_px: int
    scores: Tensor

    def taken_by(self, nearest_resolution: Callable[[int], int]) -> QualityData:
        """The same data for a network that takes only patches of certain sides.

        Raises:
            DataError: The network takes no patches that could be cut from the images.
        """
        splits = self.splits.taken_by(nearest_resolution)
        if splits.score_resolution > self.side_px:
            raise DataError(
                f"the model takes patches of {splits.score_resolution} px at least, the images have "
                f"{self.side_px} px; name another model, or store larger images: {{quality: FILE, side: "
                "PIXELS}}"
            )
        return replace(self, splits=splits)

    def scores_of(self, images: ImageSet, indices: Tensor) -> Tensor:
        """Scores of images of one part, by index: (batch,)."""
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


def load_quality_data(context: TrainingContext) -> QualityData:
    """The data of a run, split the same way in every trial, and cached for the next one.

    The middle square of each image is kept in its own proportions, and patches are cut from it: a squashed
    image has other edges and noise than the one that was rated. A smaller patch is just as sharp; it is
    cheaper because it shows less.

    Raises:
        DataError: Unknown, missing or unusable data, or a part whose scores are all the same.
    """
    cache = CacheFolder.of(context)
    given = read_source(context.data, SCORED_SOURCES)
    source, ratings, side_px = _loaded(given, cache, context.num_workers, context.data_seed)
    _check_resolution(context, side_px)
    data = QualityData(split_source(source, context), ratings, side_px, torch.tensor(ratings.scores))
    for name in ("train", "val", "test"):
        scores = data.scores[getattr(data.splits, name).rows]
        if bool((scores == scores[0]).all()):
            raise DataError(f"{given}: all {len(scores)} images of {name} are scored {float(scores[0]):g}")
    return data


def check_quality_data(context: TrainingContext) -> list[str]:
    """Notes on the source that `context.data` names, without decoding it.

    About 64 of the images, evenly spread, are opened.

    Raises:
        DataError: The source is unknown, missing or unusable.
    """
    source = read_source(context.data, SCORED_SOURCES)
    ratings, side_px = _ratings(source)
    small = _num_small(source, ratings) if isinstance(source, Quality) else 0
    _check_resolution(context, side_px)
    ratings.split(context.data_seed)
    low, high = min(ratings.scores), max(ratings.scores)
    counts = (
        f"{len(ratings.images)} images of {ratings.num_references} references, scores {low:g} to {high:g}"
    )
    notes = [f"{counts}, the middle square of each at {side_px} px"]
    if small:
        notes.append(
            f"{small} of the images checked are smaller and are enlarged, which blurs them; side may be less"
        )
    return [*notes, *_file_notes(source, context, ratings)] if isinstance(source, Quality) else notes


def _file_notes(source: Quality, context: TrainingContext, ratings: Ratings) -> list[str]:
    """Notes on files with unusual pixels, and on images that occur under several names."""
    files = _files(source, ratings)
    survey = files.survey(context.cache_dir, most_s=_MAX_SURVEY_S)
    copies = more_than_once(survey.identical(), files.name)
    return [*survey.notes(), *([copies] if copies else [])]


def _files(source: Quality, ratings: Ratings) -> ImageFiles:
    return ImageFiles(
        root=source.folder,
        paths=tuple(source.folder / name for name in ratings.images),
        labels=(),
        parts=ratings.parts,
        class_names=(),
    )


def _check_resolution(context: TrainingContext, side_px: int) -> None:
    if context.resolution is not None and context.resolution > side_px:
        raise DataError(
            f"patches of {context.resolution} px cannot be cut from images of {side_px} px; give "
            f"search.ladder a resolution of {side_px} at most, or write data: {{quality: FILE, side: "
            f"{context.resolution}}}"
        )


def _num_small(source: Quality, ratings: Ratings) -> int:
    """How many of about 64 images have a side shorter than the one they are stored at."""
    num_small, problems = 0, []
    for name in ratings.images[:: max(1, len(ratings.images) // _LOOKED_AT)]:
        try:
            with Image.open(source.folder / name) as image:
                num_small += min(image.size) < source.side
        except OSError as error:
            problems.append(str(error) if name in str(error) else f"{name}: {error}")
    refuse(str(source), problems)
    return num_small


def _ratings(source: DataSource) -> tuple[Ratings, int]:
    """The ratings, and the side in pixels at which images are stored."""
    match source:
        case Photographs():
            return photographs()[1], SIDE_PX
        case Quality():
            return read_ratings(source.quality, source.folder), source.side
    raise TypeError(f"{type(source).__name__} is among SCORED_SOURCES, and nothing here reads it")


@lru_cache(maxsize=1)
def _loaded(
    given: DataSource, cache: CacheFolder, num_threads: int, seed: int
) -> tuple[ImageSource, Ratings, int]:
    level_names: Sequence[str] = [f"level {number}" for number in range(NUM_LEVELS)]
    ratings, side_px = _ratings(given)
    if isinstance(given, Quality):
        source = _decoded(given, ratings, cache, num_threads, seed, level_names)
    else:
        source = in_memory_source(
            photographs()[0], ratings.levels(), parts=ratings.split(seed), class_names=level_names
        )
    whole = source.pixels(side_px)
    # Any requested side is that of patches, which are cut from whole images.
    source = replace(
        source, pixels=lambda side: whole, own_resolution=side_px, name=lambda row: ratings.images[row]
    )
    return source, ratings, side_px


def _decoded(
    given: Quality,
    ratings: Ratings,
    cache: CacheFolder,
    num_threads: int,
    seed: int,
    level_names: Sequence[str],
) -> ImageSource:
    files = _files(given, ratings)

    source = decoded_source(
        ImageReader(len(files.paths), files.opened),
        ratings.levels(),
        parts=ratings.split(seed),
        class_names=level_names,
        cache=cache,
        name=lambda: f"middle-{files.content_key(cache.folder)}",
        top=given.side,
        num_threads=num_threads,
    )
    return with_files(source, files, cache.folder)
