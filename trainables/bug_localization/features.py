"""Five numbers for each report and file, from which a network learns to rank."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import PurePosixPath

import numpy as np

from trainables.bug_localization.history import history
from trainables.bug_localization.project import Project
from trainables.bug_localization.words import rvsm, term_counts, weighted

FEATURES = ("rvsm", "similar_reports", "class_name", "recency", "frequency")
_DECLARED = re.compile(r"\b(?:class|interface|enum|struct|trait|record)\s+([A-Za-z_]\w*)")
_NAME = re.compile(r"[A-Za-z_]\w*")


def fill_features(features: np.ndarray, project: Project, *, known: np.ndarray, trained: np.ndarray) -> None:
    """Write `FEATURES` of every report and file into (reports, files, 5), float32.

    Lam et al. 2017: rVSM; how like the report is to earlier ones about the file; the length of the
    longest name of a class of the file that the summary has; 1 / (months since its last fix + 1); and
    the number of its fixes.

    Args:
        known: Whether a report may be in the histories of others (reports,), bool.
        trained: Numbers of the reports of which the weights of terms are.
    """
    files, reports = term_counts(project.texts, [report.text for report in project.reports])
    features[..., 0] = rvsm(files, reports)
    before = history(project, weighted(reports, reports[trained]), known)
    features[..., 1] = before.similarity
    features[..., 2] = class_names(project)
    features[..., 3] = before.recency
    features[..., 4] = before.frequency


def class_names(project: Project) -> np.ndarray:
    """Letters of the longest class name of each file in each summary (reports, files), float32.

    A file's own name, without its ending, counts as a class: in Java it is one.
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
