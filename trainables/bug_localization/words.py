"""From texts and sources to counts of terms, and similarities between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer
from sklearn.preprocessing import normalize

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_MIN_LETTERS = 2


def terms(text: str) -> list[str]:
    """The words of a text in lower case; names such as `parseInt` both whole and in parts.

    English stop words and single letters are dropped; words are not stemmed.
    """
    return [term for word in _WORD.findall(text) for term in _terms_of(word)]


@lru_cache(maxsize=2**17)
def _terms_of(word: str) -> tuple[str, ...]:
    parts = _PART.findall(word)
    found = [part.lower() for part in ([word, *parts] if len(parts) > 1 else [word])]
    return tuple(term for term in found if len(term) >= _MIN_LETTERS and term not in ENGLISH_STOP_WORDS)


def term_counts(files: Sequence[str], reports: Sequence[str]) -> tuple[csr_matrix, csr_matrix]:
    """How often each term is in each file (files, terms) and in each report (reports, terms), float32."""
    counter = CountVectorizer(analyzer=terms, dtype=np.float32)
    counts = counter.fit_transform([*files, *reports]).tocsr()
    return counts[: len(files)], counts[len(files) :]


def weighted(counts: csr_matrix, known: csr_matrix) -> csr_matrix:
    """Rows of unit length: (log f + 1) for each count f, times the rarity of the term in `known`.

    The rarity of a term in n of N rows of `known` is log(N / n), and 0 if it is in none.
    """
    in_rows = np.asarray((known > 0).sum(0), dtype=np.float64).ravel()
    rarity = np.where(in_rows > 0, np.log(known.shape[0] / np.maximum(in_rows, 1)), 0)
    weights = counts.copy()
    weights.data = np.log(weights.data) + 1
    return normalize(weights @ diags(rarity.astype(np.float32)), copy=False).tocsr()


def rvsm(files: csr_matrix, reports: csr_matrix) -> np.ndarray:
    """The similarity of each report and file, (reports, files), float32, in [0, 1].

    Zhou, Zhang and Lo 2012, "Where Should the Bugs Be Fixed?": cosines of weighted terms, times a
    logistic function of the file's length, as long files have more bugs.
    """
    length = np.asarray(files.sum(1)).ravel()
    share = (length - length.min()) / max(float(np.ptp(length)), 1.0)
    cosines = (weighted(reports, files) @ weighted(files, files).T).toarray()
    return np.asarray(cosines / (1 + np.exp(-share)), dtype=np.float32)
