"""Training, validation and test reports of a run, with the features of each report and file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from trainables.bug_localization.data_sources import REPORT_SOURCES, Reports, SplitBy, StdlibReports
from trainables.bug_localization.features import FEATURES, fill_features
from trainables.bug_localization.project import Project
from trainables.bug_localization.stdlib import stdlib_project
from trainables.bug_localization.table import read_table
from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import DataSource, read_source
from trainables.engine.cache_folder import CacheFile, CacheFolder
from trainables.engine.cache_lock import CacheUnavailable

Part = Literal["train", "val", "test"]
_HELD_OUT_FRACTION = 0.15  # each of validation and test
_MIN_REPORTS = 10
_VERSION = 1  # of the features: cached ones of another version are not read
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ReportData:
    """A project's reports in three parts.

    Attributes:
        rows: Indices of the reports of each part, int64.
        features: `FEATURES` of each report and file, (reports, files, 5), float32.
        low: Minimum of each feature over the training reports, (5,), float32.
        high: Maximum of each.
    """

    project: Project
    rows: Mapping[Part, np.ndarray]
    features: np.ndarray
    low: np.ndarray
    high: np.ndarray
    notes: Mapping[str, str]
    _file: CacheFile | None  # not evicted as long as this object lives

    def scaled(self, row: int, files: np.ndarray) -> np.ndarray:
        """Features of one report and these files (files, 5), in [0, 1] over the training reports."""
        span = np.maximum(self.high - self.low, 1e-12)
        return np.asarray((self.features[row, files] - self.low) / span, dtype=np.float32)

    def relevant(self, row: int) -> np.ndarray:
        """Indices of the files that one report is about, ascending."""
        return np.array(self.project.reports[row].files, dtype=np.int64)


def load_report_data(context: TrainingContext) -> ReportData:
    """The data of a run, split the same way in every trial, and cached for the next one.

    Split by time, the first 70 % of the reports are for training, the next 15 % for validation and the last
    15 % for the test, and a report's features use every fix before it. With `split: report` the parts are
    drawn at random, and features use earlier training reports only.

    Raises:
        DataError: Unknown, missing or unusable data, or fewer than ten reports.
    """
    source = read_source(context.data, REPORT_SOURCES)
    return _loaded(source, CacheFolder.of(context), context.data_seed)


def load_project(source: DataSource) -> tuple[Project, SplitBy]:
    """The reports and files of a source, and what the parts are split by.

    Raises:
        DataError: The source is missing or unusable.
    """
    match source:
        case StdlibReports():
            return _stdlib(), source.split
        case Reports():
            return read_table(source.reports, source.tree), source.split
    raise TypeError(f"{type(source).__name__} is among REPORT_SOURCES, and nothing here reads it")


def check_report_data(context: TrainingContext) -> list[str]:
    """Notes on the source that `context.data` names, before any feature is computed.

    Raises:
        DataError: There is no such source, or it is missing or unusable.
    """
    project, split = load_project(read_source(context.data, REPORT_SOURCES))
    _split_rows(project, split, context.data_seed)
    counts = f"{len(project.reports)} reports about {len(project.paths)} files, split by {split}"
    return [counts, *project.notes.values()]


_stdlib = lru_cache(maxsize=1)(stdlib_project)  # half a second


@lru_cache(maxsize=1)
def _loaded(source: DataSource, cache: CacheFolder, seed: int) -> ReportData:
    project, split = load_project(source)
    rows = _split_rows(project, split, seed)
    features, file, notes = _features(project, split, rows["train"], cache)
    low, high = _range(features, rows["train"])
    notes = {**project.notes, **notes, "ranking": f"each report ranks all {len(project.paths)} files"}
    return ReportData(project, rows, features, low, high, notes, file)


def _split_rows(project: Project, split: SplitBy, seed: int) -> dict[Part, np.ndarray]:
    num_reports = len(project.reports)
    if num_reports < _MIN_REPORTS:
        raise DataError(f"{num_reports} reports are too few for training, validation and test parts")
    order = np.arange(num_reports)  # the oldest first
    if split == "report":
        order = np.random.default_rng(seed).permutation(num_reports)
    num_held_out = max(1, round(_HELD_OUT_FRACTION * num_reports))
    train, val, test = np.split(order, [num_reports - 2 * num_held_out, num_reports - num_held_out])
    return {"train": train, "val": val, "test": test}


def _features(
    project: Project, split: SplitBy, trained: np.ndarray, cache: CacheFolder
) -> tuple[np.ndarray, CacheFile | None, dict[str, str]]:
    """The features, in a file of the cache if they fit into it."""
    shape = (len(project.reports), len(project.paths), len(FEATURES))
    known = np.zeros(len(project.reports), dtype=bool)
    known[slice(None) if split == "time" else trained] = True

    def fill(content: np.ndarray) -> None:
        fill_features(content.view(np.float32).reshape(shape), project, known=known, trained=trained)

    digest = hashlib.blake2b(np.sort(trained).tobytes(), digest_size=8).hexdigest()
    name = f"bug-features-{_VERSION}-{split}-{project.key}-{digest}"
    num_bytes = 4 * int(np.prod(shape))
    try:
        file = cache.file(name, num_bytes, fill)
    except CacheUnavailable as error:
        _log.warning("bug features are kept in memory: %s", error)
        content = np.zeros(num_bytes, dtype=np.uint8)
        fill(content)
        features = content.view(np.float32).reshape(shape)
        return features, None, {"cache": f"features are made again in each process: {error}"}
    return file.content.view(np.float32).reshape(shape), file, {}


def _range(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum of each feature, one report at a time: all may exceed memory."""
    ranges = [(features[row].min(0), features[row].max(0)) for row in rows.tolist()]
    low, high = (np.stack(values) for values in zip(*ranges, strict=True))
    return low.min(0), high.max(0)
