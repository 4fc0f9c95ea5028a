"""Features of each file from earlier reports only: nothing from the future is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from trainables.bug_localization.project import Project

_MONTH_S = 30.44 * 86_400


@dataclass(frozen=True, eq=False)
class History:
    """Of each report and file what earlier reports say: three times (reports, files), float32.

    Attributes:
        similarity: Cosine of the report and all earlier ones that the file was changed for, together.
        recency: 1 / (months since the last change + 1); 0 without any.
        frequency: Number of earlier changes.
    """

    similarity: np.ndarray
    recency: np.ndarray
    frequency: np.ndarray


def history(project: Project, vectors: csr_matrix, known: np.ndarray) -> History:
    """The history of every report, from the known reports that were fixed before it came.

    Lam et al. 2017, "Bug Localization with Combination of Deep Learning and Information Retrieval".

    Args:
        vectors: Of each report's terms, of length 1 (reports, terms).
        known: Whether a report may be learnt from at all (reports,), bool.
    """
    shape = (len(project.reports), len(project.paths))
    found = History(*(np.zeros(shape, dtype=np.float32) for _ in range(3)))
    reported_s = np.array([report.reported_s for report in project.reports])
    fixed_s = np.array([report.fixed_s for report in project.reports])
    cosines = (vectors @ vectors.T).toarray()  # (reports, reports)
    for file, fixes in _fixes(project, known).items():
        fixes = fixes[np.argsort(fixed_s[fixes], kind="stable")]
        num_before = np.searchsorted(fixed_s[fixes], reported_s, side="left")  # at one moment is not before
        rows = np.flatnonzero(num_before)
        last = num_before[rows] - 1
        # The cosine with a sum of vectors, from their products alone: no text is put together.
        products = cosines[np.ix_(rows, fixes)].cumsum(1)[np.arange(len(rows)), last]
        squares = cosines[np.ix_(fixes, fixes)].cumsum(0).cumsum(1).diagonal()[last]
        found.similarity[rows, file] = products / np.sqrt(np.maximum(squares, 1e-12))
        found.recency[rows, file] = 1 / ((reported_s[rows] - fixed_s[fixes][last]) / _MONTH_S + 1)
        found.frequency[rows, file] = num_before[rows]
    return found


def _fixes(project: Project, known: np.ndarray) -> dict[int, np.ndarray]:
    """Of each file that was changed the reports that it was changed for."""
    by_file: dict[int, list[int]] = {}
    for row in np.flatnonzero(known).tolist():
        for file in project.reports[row].files:
            by_file.setdefault(file, []).append(row)
    return {file: np.array(rows) for file, rows in by_file.items()}
