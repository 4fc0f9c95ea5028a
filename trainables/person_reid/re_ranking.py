"""Distances between queries and a gallery, re-ranked by the neighbours that they share.

k-reciprocal re-ranking: Zhong, Zheng, Cao and Li 2017, "Re-ranking Person Re-identification with k-reciprocal
Encoding". Written from the paper. An image is described by its k-reciprocal neighbours: those of its nearest
images that have it among their own nearest. Similarity combines the overlap of these descriptions and the
similarity of the features.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

K1, K2, LAMBDA = 20, 6, 0.3  # the paper's, for Market-1501
_ROWS_AT_ONCE = 1024  # of Market-1501's 23,100 images: 95 MB of distances
_ENOUGH = 2 / 3  # of a neighbour's own neighbours that must be shared before they are added


def re_ranked_distances(queries: Tensor, gallery: Tensor, *, k1: int = K1, k2: int = K2) -> Tensor:
    """Distances (queries, gallery) in [0, 1], fp64; needs memory for one such matrix, and for sparse ones.

    Args:
        queries: Features of length 1, (queries, d); so are those of `gallery`.
        k1: Number of neighbours considered, or all if there are fewer; descriptions are averaged over `k2`.
    """
    features = torch.cat([queries, gallery]).double().cpu()
    num_queries, k1 = len(queries), min(k1, len(features) - 1)
    nearest, near_distances = _neighbours(features, k1 + 1)
    described = _descriptions(nearest, near_distances, k1)
    chosen = nearest[:, : min(k2, k1 + 1)]
    # Local query expansion: an image's description becomes the mean of its nearest ones'.
    described = _row_means(described, chosen)
    own = _scaled_distances(features[:num_queries], features)[:, num_queries:]
    jaccard = torch.from_numpy(_jaccard(described[:num_queries], described[num_queries:]))
    return (1 - LAMBDA) * jaccard + LAMBDA * own


def _scaled_distances(rows: Tensor, features: Tensor) -> Tensor:
    """Squared distances of features of length 1, as fractions of the largest of each row."""
    distances = (2 - 2 * rows @ features.T).clamp(min=0)
    return distances / distances.amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def _neighbours(features: Tensor, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest images of each, itself included, and their distances: (n, num) each, ascending."""
    parts = [
        _scaled_distances(rows, features).topk(num, largest=False, sorted=True)
        for rows in features.split(_ROWS_AT_ONCE)
    ]
    indices, distances = torch.cat([part[1] for part in parts]), torch.cat([part[0] for part in parts])
    return indices.numpy(), distances.numpy()


def _descriptions(nearest: np.ndarray, distances: np.ndarray, k1: int) -> sparse.csr_matrix:
    """Weights exp(-distance) of each image's k-reciprocal neighbours, (n, n); each row sums to 1."""
    num = len(nearest)
    wide = [_reciprocal(nearest, row, k1 + 1) for row in range(num)]
    narrow = [_reciprocal(nearest, row, round(k1 / 2) + 1) for row in range(num)]
    by_row = [_expanded(wide[row], narrow) for row in range(num)]
    weights = [_weights(nearest[row], distances[row], chosen) for row, chosen in enumerate(by_row)]
    starts = np.cumsum([0, *map(len, by_row)])
    return sparse.csr_matrix((np.concatenate(weights), np.concatenate(by_row), starts), shape=(num, num))


def _reciprocal(nearest: np.ndarray, row: int, num: int) -> np.ndarray:
    """Those of an image's `num` nearest that have it among their own `num` nearest, itself included."""
    candidates = nearest[row, :num]
    return np.asarray(candidates[(nearest[candidates, :num] == row).any(1)])


def _expanded(own: np.ndarray, narrow: list[np.ndarray]) -> np.ndarray:
    """An image's reciprocal neighbours, plus those of neighbours that share over two thirds of their own."""
    found = [own]
    for neighbour in own:
        theirs = narrow[neighbour]
        if np.isin(theirs, own).sum() > _ENOUGH * len(theirs):
            found.append(theirs)
    return np.unique(np.concatenate(found))


def _weights(nearest: np.ndarray, distances: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """exp(-distance) of the chosen images, with a sum of 1; any beyond the nearest counts as the last."""
    known = dict(zip(nearest.tolist(), distances.tolist(), strict=True))
    weights = np.exp([-known.get(number, float(distances[-1])) for number in chosen.tolist()])
    return np.asarray(weights / weights.sum())


def _row_means(described: sparse.csr_matrix, chosen: np.ndarray) -> sparse.csr_matrix:
    """For each row of `chosen`, the mean of the rows whose indices it holds."""
    num, each = chosen.shape
    averaging = sparse.csr_matrix(
        (np.full(num * each, 1 / each), chosen.ravel(), np.arange(num + 1) * each), shape=(num, num)
    )
    return (averaging @ described).tocsr()


def _jaccard(first: sparse.csr_matrix, second: sparse.csr_matrix) -> np.ndarray:
    """One minus the overlap of each pair of rows, whose sums are 1: (first, second)."""
    columns = second.tocsc()
    result = np.ones((first.shape[0], second.shape[0]))
    for row in range(first.shape[0]):
        shared = np.zeros(second.shape[0])
        own = slice(first.indptr[row], first.indptr[row + 1])
        for column, weight in zip(first.indices[own], first.data[own], strict=True):
            there = slice(columns.indptr[column], columns.indptr[column + 1])
            shared[columns.indices[there]] += np.minimum(weight, columns.data[there])
        result[row] -= shared / (2 - shared)
    return result
