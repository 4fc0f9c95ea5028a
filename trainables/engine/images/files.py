"""Images on disk: their files, and what identifies their content."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from trainables.core.data_summary import LeftOut
from trainables.engine.images.reading import StoredImage, read_image
from trainables.engine.images.survey import Survey, survey_files

_ONE_SURVEY = threading.Lock()  # decoding threads may all need the survey at once


@dataclass(frozen=True)
class ImageFiles:
    """Stored images with their class and part ("train", "val", "test"), in an order that never changes.

    Every source of images on disk reads them through this, so that pixels mean the same everywhere.

    Attributes:
        paths: What each image is read from: its file, or a row of a file with many.
        block_starts: The index of the first image of each block (a row group of Parquet) whose images are
            read fast only one after another; empty if any order is as fast.
        left_out: Other content of the folder, which is not used.
        remarks: How the folder was interpreted, as far as the user should know, a sentence each.
    """

    root: Path
    paths: tuple[StoredImage, ...]
    labels: tuple[int, ...]
    parts: tuple[str, ...]
    class_names: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()
    block_starts: tuple[int, ...] = ()
    _surveyed: dict[str, Survey] = field(default_factory=dict, repr=False, compare=False)

    def survey(self, known: Path | None = None, *, most_s: float | None = None) -> Survey:
        """Survey the files' sizes, kinds of pixels and content; they are read once, see `survey_files`.

        Args:
            known: Folder where surveys of files with these sizes and times are kept.
            most_s: Seconds after which no more files are read; None reads all.
        """
        with _ONE_SURVEY:
            if "whole" not in self._surveyed:
                names = [self._name(path) for path in self.paths]
                found = survey_files(self.paths, names, known, most_s=most_s, block_starts=self.block_starts)
                if not found.is_complete:
                    return found
                self._surveyed["whole"] = found
            return self._surveyed["whole"]

    def content_key(self, known: Path) -> str:
        """A key that changes if a file is added, removed, renamed or edited, but not if the folder moves."""
        return self.survey(known).content_key([self._name(path) for path in self.paths])

    def opened(self, index: int, resolution: int) -> Image.Image:
        """Decode one file, upright and in RGB; a JPEG may be reduced to twice `resolution`, see `reading`.

        Raises:
            OSError: The file is truncated or no image at all; the message has its path.
        """
        return read_image(self.paths[index], resolution, lambda: self.survey().scales)

    def name(self, index: int) -> str:
        """The path of a file relative to the folder."""
        return self._name(self.paths[index])

    def _name(self, path: StoredImage) -> str:
        return Path(os.path.relpath(str(path), self.root)).as_posix()  # a table may name files anywhere
