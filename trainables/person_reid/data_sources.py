"""Sources of images of persons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainables.core.data_source import DataSource, FolderPath


@dataclass(frozen=True, kw_only=True)
class Persons(DataSource):
    """Drawn persons, each seen by several cameras, made by the program."""

    name: Literal["persons"] = "persons"


@dataclass(frozen=True, kw_only=True)
class Market(DataSource):
    """A folder laid out like Market-1501, with person and camera in each image's name."""

    market: FolderPath


PERSON_SOURCES = (Persons, Market)
