"""Sources of images with scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.core.data_source import DataSource, FilePath, FolderPath


@dataclass(frozen=True, kw_only=True)
class Photographs(DataSource):
    """Windows of scikit-image's photographs, blurred, noised and compressed by known amounts."""

    name: Literal["photographs"] = "photographs"


@dataclass(frozen=True, kw_only=True)
class Quality(DataSource):
    """A table (CSV, JSON, Parquet) of images and scores.

    The images are beside it or in `images`, and stored at `side` px.
    """

    quality: FilePath
    images: FolderPath | None = None
    side: int = 384  # shorter side of the KonIQ-10k images that the paper cuts its patches from

    @property
    def folder(self) -> Path:
        """The folder that the names in the table are relative to."""
        return self.images or self.quality.parent


SCORED_SOURCES = (Photographs, Quality)
