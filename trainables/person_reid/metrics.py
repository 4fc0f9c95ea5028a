"""Scores of person re-identification, by the rules of Market-1501."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from trainables.core.contract import DataError
from trainables.core.optional import Table
from trainables.person_reid.batches import PersonBatch
from trainables.person_reid.re_ranking import re_ranked_distances
from trainables.person_reid.sightings import JUNK

RANKS = (1, 5, 10)
_QUERIES_AT_ONCE = 256  # Market-1501's gallery of 19,732: 40 MB for each matrix of doubles
_TEMPERATURE = 1 / 16  # of the loss, as cosines differ by tenths


@dataclass(frozen=True)
class Described:
    """Features of images (n, d), of length 1, with each one's person and camera (n,)."""

    features: Tensor
    labels: Tensor
    cameras: Tensor

    def split(self, size: int) -> list[Described]:
        parts = (of.split(size) for of in (self.features, self.labels, self.cameras))
        return [Described(*part) for part in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Found:
    """How well each query found its person; values are NaN if no other camera has seen the person.

    Attributes:
        average_precision: (queries,), in [0, 1].
        first_rank: Place in the gallery, from 1, of the first right image.
        loss: Minus the log of the right images' share in a softmax over the gallery.
        nearest: Index in the gallery, as given, of the image most similar to the query.
    """

    average_precision: Tensor
    first_rank: Tensor
    loss: Tensor
    nearest: Tensor


def found(queries: Described, gallery: Described, *, re_ranking: bool = False) -> Found:
    """How well each of `queries` finds its person in `gallery`, by Market-1501's rules.

    Junk, and images of the person by the query's own camera, are left out. Average precision is the area
    under the line through the points of precision and recall (the trapezoidal rule), which begins at a
    precision of 1; torchmetrics' RetrievalMAP sums rectangles. (Zheng et al. 2015, "Scalable Person
    Re-identification: A Benchmark", and the authors' code.)

    Args:
        re_ranking: Rank by the neighbours that queries and gallery share, else by the cosine of their
            features.
    """
    if re_ranking:
        distances = re_ranked_distances(queries.features, gallery.features).to(queries.features.device)
        rows = [1 - part for part in distances.split(_QUERIES_AT_ONCE)]
    else:
        rows = [None] * -(-len(queries.labels) // _QUERIES_AT_ONCE)
    parts = [
        _found(part, gallery, likeness)
        for part, likeness in zip(queries.split(_QUERIES_AT_ONCE), rows, strict=True)
    ]
    return Found(*(torch.cat([getattr(part, own.name) for part in parts]) for own in fields(Found)))


def _found(queries: Described, gallery: Described, likeness: Tensor | None) -> Found:
    """The same for some of the queries.

    Args:
        likeness: (queries, gallery); None means the cosine of the features.
    """
    is_same = queries.labels[:, None] == gallery.labels
    is_out = (gallery.labels == JUNK) | (is_same & (queries.cameras[:, None] == gallery.cameras))
    is_right = is_same & ~is_out
    if likeness is None:
        likeness = queries.features.double() @ gallery.features.double().T
    likeness = likeness.masked_fill(is_out, -torch.inf)
    order = likeness.argsort(dim=1, descending=True, stable=True)  # images left out come last
    hits = is_right.gather(1, order).double()
    num_right = hits.sum(1)
    places = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    precision = hits.cumsum(1) / places
    before = functional.pad(precision[:, :-1], (1, 0), value=1.0)
    area = (hits * (precision + before) / 2).sum(1) / num_right  # 0 / 0 is NaN
    first = torch.where(num_right > 0, hits.argmax(1) + 1.0, torch.nan)
    shares = likeness / _TEMPERATURE
    loss = shares.logsumexp(1) - shares.masked_fill(~is_right, -torch.inf).logsumexp(1)
    return Found(area, first, loss.where(num_right > 0, torch.nan), order[:, 0])


class Collection:
    """Features of a scored set with the labels of its images, collected batch by batch."""

    def __init__(self, *, re_ranking: bool = False) -> None:
        self._re_ranking = re_ranking
        self._seen: list[tuple[Tensor, ...]] = []

    def __len__(self) -> int:
        return len(self._seen)

    def update(self, outputs: Mapping[str, Tensor], batch: PersonBatch) -> None:
        """Add a batch and its features (batch, d) in fp32."""
        features = functional.normalize(outputs["features"], dim=1)
        self._seen.append((features, batch.labels, batch.cameras, batch.is_query, batch.is_gallery))

    def answered(self) -> tuple[Found, Tensor, Tensor]:
        """How well queries found their persons, and the indices of queries and gallery in the set.

        The collection is then emptied.
        """
        *known, is_query, is_gallery = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        queries, gallery = (Described(*(of[chosen] for of in known)) for chosen in (is_query, is_gallery))
        answers = found(queries, gallery, re_ranking=self._re_ranking)
        return answers, is_query.nonzero()[:, 0], is_gallery.nonzero()[:, 0]


class PersonMetrics:
    """Mean average precision, Rank-1, -5 and -10, and loss; fed batch by batch."""

    def __init__(self, *, re_ranking: bool = False) -> None:
        self._collection = Collection(re_ranking=re_ranking)
        self.update = self._collection.update

    def compute(self) -> dict[str, float]:
        """Return plain floats over all batches since the last call, and start over.

        Raises:
            DataError: No query can be answered.
        """
        return means(self._collection.answered()[0])


class PersonDetails:
    """The result of each query, as a table; fed batch by batch.

    Args:
        image_name: Maps the index of an image, in the order of feeding, to its name.
    """

    def __init__(self, image_name: Callable[[int], str], *, re_ranking: bool = False) -> None:
        self._image_name = image_name
        self._collection = Collection(re_ranking=re_ranking)
        self.update = self._collection.update

    def tables(self) -> Mapping[str, Table]:
        """The tables that results/README.md explains; none if nothing was fed."""
        if not self._collection:
            return {}
        answers, queries, gallery = self._collection.answered()
        columns = (answers.average_precision, answers.first_rank, gallery[answers.nearest])
        rows: list[tuple[str, float, int, str]] = [
            (self._image_name(query), area, int(first), self._image_name(nearest))
            for query, area, first, nearest in zip(
                queries.tolist(), *(of.tolist() for of in columns), strict=True
            )
            if not math.isnan(area)
        ]
        header = ("query", "average_precision", "first_rank", "nearest")
        rows.sort(key=lambda row: row[1])
        examples = [(query, area, float(first <= 1)) for query, area, first, _ in rows]
        return {
            "queries": Table(columns=header, rows=rows),
            "examples": Table(columns=("example", "map", "rank_1"), rows=examples),
        }


def means(answers: Found) -> dict[str, float]:
    """Means over the queries that can be answered.

    Raises:
        DataError: None can.
    """
    is_answered = ~answers.first_rank.isnan()
    if not is_answered.any():
        raise DataError(
            f"none of {len(is_answered)} queries can be answered: no person among the scored images is seen "
            "by two cameras; score more of them"
        )
    first = answers.first_rank[is_answered]
    scores = {
        "map": answers.average_precision[is_answered].mean(),
        **{f"rank_{rank}": (first <= rank).double().mean() for rank in RANKS},
        "loss": answers.loss[is_answered].mean(),
        "num_examples": is_answered.sum(),
    }
    return {name: float(value) for name, value in scores.items()}
