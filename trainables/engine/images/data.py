"""Training, validation and test images of a run; the program owns the split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import torch
from PIL import Image
from torch import Tensor

from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import data_text
from trainables.engine.images.identical import in_two_parts
from trainables.engine.images.pixels import StoredPixels
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing
from trainables.engine.images.source import ImageSource
from trainables.engine.images.sources import load_source
from trainables.engine.subset import balanced_order, num_kept, split_rows

_CPU = torch.device("cpu")
_MIN_STD = 1e-3  # an empty channel must not divide by zero


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, for values in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Some images of a source, numbered from 0.

    Attributes:
        seed: The run's seed, which decides which images a subset has.
    """

    source: ImageSource
    rows: Tensor
    seed: int
    _statistics: dict[int, Statistics] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def labels(self) -> Tensor:
        """Labels, (n,), int64."""
        return self.source.labels[self.rows]

    def name(self, index: int) -> str:
        """The name of image `index` in its source."""
        return self.source.name(int(self.rows[index]))

    def images(self, indices: Tensor, resolution: int, device: torch.device = _CPU) -> Tensor:
        """The images at `indices`: (batch, channels, side, side), uint8, channels last."""
        return self.source.pixels(resolution).on(device).pick(self.rows[indices]).to(device)

    def expect(self, indices: Tensor, resolution: int) -> None:
        """Prepare for these images, in this order."""
        self.source.pixels(resolution).expect(self.rows[indices])

    def subset(self, wanted: float | int | None) -> Tensor:
        """Indices of the images in a fraction, a count, or None for all; see `nested_subset`."""
        return self._order[: num_kept(self.labels, wanted)]

    @cached_property
    def _order(self) -> Tensor:
        return balanced_order(self.labels, seed=self.seed)

    def statistics(self, resolution: int) -> Statistics:
        """Statistics of at most as many of these images as the source says, by default 2,000; read once."""
        if resolution not in self._statistics:
            chosen = self.subset(min(1.0, self.source.num_for_statistics / len(self)))
            self._statistics[resolution] = _statistics_of(self.images(chosen, resolution))
        return self._statistics[resolution]


@dataclass(frozen=True, eq=False)
class DataSplits:
    """The three parts of a run's data.

    Attributes:
        score_resolution: Resolution of test images, and of validation images unless the rung decides.
        device: The device that images are needed on.
        nearest_resolution: Returns the nearest resolution that the model takes; see `taken_by`.
        scale: Factor on a budget's resolution; see `scaled`.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    channels: int
    own_resolution: int | None
    score_resolution: int
    num_unreadable: int
    device: torch.device
    nearest_resolution: Callable[[int], int] = int
    scale: float = 1.0
    _other_resolutions: dict[int, int] = field(default_factory=dict)

    def scaled(self, scale: float) -> DataSplits:
        """The same data with every resolution multiplied by `scale`, in (0, 1]: 0.5 makes 224 px 112 px.

        Images are still decoded at the top rung's resolution, so trials of all scales share a cache.
        """
        return replace(self, scale=scale, score_resolution=_at_scale(self.score_resolution, scale))

    def taken_by(self, nearest_resolution: Callable[[int], int]) -> DataSplits:
        """The same data for a model that takes only some resolutions: images get the nearest one."""
        data = replace(self, nearest_resolution=nearest_resolution, _other_resolutions={})
        return replace(data, score_resolution=data._taken(self.score_resolution))

    def notes(self) -> dict[str, str]:
        """Which images were left out or are in two parts, and where they are stored if that was a choice."""
        notes = dict(self.train.source.notes)
        parts = [("train", self.train.rows), ("val", self.val.rows), ("test", self.test.rows)]
        if same := in_two_parts(self.train.source.identical, parts, self.train.source.name):
            notes["identical"] = same
        largest = self.train.source.pixels(self.score_resolution).on(self.device)
        if self.device.type == "cuda" and isinstance(largest, StoredPixels):
            notes["images"] = largest.where()
        if self.num_unreadable:
            notes["data"] = (
                f"{self.num_unreadable} images cannot be read and are left out; the log lists them"
            )
        return notes

    def test_picture(self, index: int, longest_px: int) -> Image.Image | None:
        """Test image `index` for people to look at, its longer side at most `longest_px`.

        It is the whole image from its file; images that are not in files are shown as they are. None if it
        has other than one or three channels.

        Raises:
            OSError: Its file can no longer be read.
        """
        row = int(self.test.rows[index])
        if self.test.source.picture:
            image = self.test.source.picture(row, longest_px)
        elif self.channels in (1, 3):
            (pixels,) = self.test.images(torch.tensor([index]), self.own_resolution or self.score_resolution)
            array = pixels.permute(1, 2, 0).cpu().numpy()
            image = Image.fromarray(array[:, :, 0] if self.channels == 1 else array)
        else:
            return None
        image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
        return image

    def train_resolution(self, wanted: int | None) -> int:
        """Resolution of training images at a budget's resolution, where None means the data's own."""
        asked = wanted or self.own_resolution
        return self._taken(_at_scale(asked, self.scale) if asked else self.score_resolution)

    def resolution_notes(self) -> dict[str, str]:
        """Which requested resolutions the model does not take, and what it was given instead."""
        if not self._other_resolutions:
            return {}
        pairs = [
            f"{given} px instead of {wanted} px" for wanted, given in sorted(self._other_resolutions.items())
        ]
        return {"resolution": f"{', '.join(pairs)}: the nearest size that this model takes"}

    def _taken(self, wanted: int) -> int:
        """The nearest resolution that the model takes; it is noted if that differs from `wanted`."""
        if (given := self.nearest_resolution(wanted)) != wanted:
            self._other_resolutions[wanted] = given
        return given


def _at_scale(resolution: int, scale: float) -> int:
    return max(1, round(scale * resolution))


def load_data(context: TrainingContext, framing: Framing = WHOLE_MIDDLE) -> DataSplits:
    """Load the data of a run, split the same way in every trial; it is kept for the next trial.

    Parts that the source defines are kept. A missing validation or test part is split class-balanced
    off its training part: 15 % of that, so 70/15/15 if it lacks both.

    Raises:
        DataError: Unknown, missing or unfit data, images of many sizes and no `context.resolution`, or no
            class that is both trained on and scored.
    """
    splits = split_source(load_source(context, framing), context)
    refuse_unlearnable(splits.train.labels, splits.val.labels)
    return splits


def refuse_unlearnable(trained: Tensor, scored: Tensor) -> None:
    """Raise DataError if no class of the validation part is in the training part: nothing could be right."""
    if not bool(torch.isin(scored, trained).any()):
        raise DataError(
            f"no class of the {len(scored)} validation images is among those of the {len(trained)} to train "
            "on, as when each image has a class of its own; a class needs several images"
        )


def split_source(source: ImageSource, context: TrainingContext) -> DataSplits:
    """Split a source that is already loaded; see `load_data`."""
    score_resolution = context.resolution or source.own_resolution
    if score_resolution is None:
        raise DataError(
            f"{data_text(context.data)} has no resolution of its own; give validation a resolution in pixels"
        )
    return _splits(source, context.data_seed, score_resolution, torch.device(context.device))


@lru_cache(maxsize=2)
def _splits(source: ImageSource, seed: int, score_resolution: int, device: torch.device) -> DataSplits:
    """The three parts of a source; kept as long as sources are, as all trials of a run need the same."""
    train, val, test = (
        ImageSet(source, rows, seed)
        for rows in split_rows(source.labels, source.parts, seed=seed, num_val=source.num_val)
    )
    return DataSplits(
        train=train,
        val=val,
        test=test,
        class_names=source.class_names,
        channels=source.channels,
        own_resolution=source.own_resolution,
        score_resolution=score_resolution,
        num_unreadable=int((source.parts == "unreadable").sum()),
        device=device,
    )


def _statistics_of(images: Tensor) -> Statistics:
    """Statistics from the counts of each value: exact, and 6 times as fast as from floats."""
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = [torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]
    shares = torch.stack([count.double() / count.sum() for count in counts])  # (channels, 256)
    mean = shares @ values
    std = (shares @ values.square() - mean.square()).clamp(min=0).sqrt()
    return Statistics(tuple(mean.tolist()), tuple(std.clamp(min=_MIN_STD).tolist()))
