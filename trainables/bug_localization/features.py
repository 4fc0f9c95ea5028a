"""Five numbers for each report and file, from which a network learns to rank.

Of other reports only earlier ones count: nothing from the future is used.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from scipy.sparse import csr_matrix

from trainables.bug_localization.project import Project
from trainables.bug_localization.words import rvsm, term_counts, weighted

FEATURES = ("rvsm", "similar_reports", "class_name", "recency", "frequency")
_DECLARED = re.compile(r"\b(?:class|interface|enum|struct|trait|record)\s+([A-Za-z_]\w*)")
_MONTH_S = 30.44 * 86_400
_NAME = re.compile(r"[A-Za-z_]\w*")


def fill_features(features: np.ndarray, project: Project, *, known: np.ndarray, trained: np.ndarray) -> None:
    """Write `FEATURES` of every report and file into (reports, files, 5), float32.

    Lam et al. 2017: rVSM; the similarity of the report to earlier ones about the file; the length of the
    file's longest class name in the summary; 1 / (months since its last fix + 1); and the number of its
    fixes.

    Args:
        known: Whether a report may be in the histories of others, (reports,), bool.
        trained: Indices of the reports from which the weights of terms are taken.
    """
    files, reports = term_counts(project.texts, [report.text for report in project.reports])
    features[..., 0] = rvsm(files, reports)
    before = history(project, weighted(reports, reports[trained]), known)
    features[..., 1] = before.similarity
    features[..., 2] = class_names(project)
    features[..., 3] = before.recency
    features[..., 4] = before.frequency


def class_names(project: Project) -> np.ndarray:
    """The length of each file's longest class name in each summary, (reports, files), float32.

    A file's own name without its suffix counts as a class, which in Java it is.
    """
    files_of: dict[str, list[int]] = defaultdict(list)
    for number, (path, text) in enumerate(zip(project.paths, project.texts, strict=True)):
        for name in {PurePosixPath(path).stem, *_DECLARED.findall(text)}:
            files_of[name].append(number)
    longest = np.zeros((len(project.reports), len(project.paths)), dtype=np.float32)
    for row, report in enumerate(project.reports):
        for name in set(_NAME.findall(report.summary)) & files_of.keys():
            files = files_of[name]
            longest[row, files] = np.maximum(longest[row, files], len(name))
    return longest


@dataclass(frozen=True, eq=False)
class History:
    """What earlier reports say about each report and file: three arrays (reports, files), float32.

    Attributes:
        similarity: Cosine of the report and all earlier ones that the file was changed for, together.
        recency: 1 / (months since the last change + 1); 0 without any.
        frequency: Number of earlier changes.
    """

    similarity: np.ndarray
    recency: np.ndarray
    frequency: np.ndarray


def history(project: Project, vectors: csr_matrix, known: np.ndarray) -> History:
    """The history of every report, from the known reports fixed before it was reported.

    Lam et al. 2017, "Bug Localization with Combination of Deep Learning and Information Retrieval".

    Args:
        vectors: Unit vectors of each report's terms, (reports, terms).
        known: Whether a report may be learnt from at all, (reports,), bool.
    """
    shape = (len(project.reports), len(project.paths))
    found = History(*(np.zeros(shape, dtype=np.float32) for _ in range(3)))
    reported_s = np.array([report.reported_s for report in project.reports])
    fixed_s = np.array([report.fixed_s for report in project.reports])
    cosines = (vectors @ vectors.T).toarray()  # (reports, reports)
    for file, fixes in _fixes(project, known).items():
        fixes = fixes[np.argsort(fixed_s[fixes], kind="stable")]
        num_before = np.searchsorted(fixed_s[fixes], reported_s, side="left")  # strictly before
        rows = np.flatnonzero(num_before)
        last = num_before[rows] - 1
        # The cosine with a sum of vectors, computed from their products alone: no texts are concatenated.
        products = cosines[np.ix_(rows, fixes)].cumsum(1)[np.arange(len(rows)), last]
        squares = cosines[np.ix_(fixes, fixes)].cumsum(0).cumsum(1).diagonal()[last]
        found.similarity[rows, file] = products / np.sqrt(np.maximum(squares, 1e-12))
        found.recency[rows, file] = 1 / ((reported_s[rows] - fixed_s[fixes][last]) / _MONTH_S + 1)
        found.frequency[rows, file] = num_before[rows]
    return found


def _fixes(project: Project, known: np.ndarray) -> dict[int, np.ndarray]:
    """The reports that each changed file was changed for."""
    by_file: dict[int, list[int]] = {}
    for row in np.flatnonzero(known).tolist():
        for file in project.reports[row].files:
            by_file.setdefault(file, []).append(row)
    return {file: np.array(rows) for file, rows in by_file.items()}
