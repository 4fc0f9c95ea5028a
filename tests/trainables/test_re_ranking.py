"""k-reciprocal re-ranking, beside an implementation that follows the paper set by set."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables.person_reid.metrics import Described, found, means
from trainables.person_reid.re_ranking import re_ranked_distances


def by_sets(queries: Tensor, gallery: Tensor, k1: int, k2: int) -> Tensor:
    """The paper's equations, with sets and dictionaries."""
    features = torch.cat([queries, gallery]).double()
    distances = 2 - 2 * features @ features.T
    distances = (distances / distances.max(1, keepdim=True).values).tolist()
    everyone = range(len(features))
    ranked = [sorted(everyone, key=lambda other: distances[own][other]) for own in everyone]

    def reciprocal(own: int, k: int) -> set[int]:
        return {other for other in ranked[own][: k + 1] if own in ranked[other][: k + 1]}

    described = []
    for own in everyone:
        wide = reciprocal(own, k1)
        taken_in = set(wide)
        for other in wide:
            narrow = reciprocal(other, round(k1 / 2))
            if len(narrow & wide) > 2 / 3 * len(narrow):
                taken_in |= narrow
        # One beyond the k1 nearest weighs as much as the last of them.
        last = distances[own][ranked[own][k1]]
        weights = {other: math.exp(-min(distances[own][other], last)) for other in taken_in}
        total = sum(weights.values())
        described.append({other: weight / total for other, weight in weights.items()})
    expanded = []
    for own in everyone:
        mean: dict[int, float] = {}
        for other in ranked[own][:k2]:
            for key, weight in described[other].items():
                mean[key] = mean.get(key, 0.0) + weight / k2
        expanded.append(mean)
    rows = []
    for own in range(len(queries)):
        row = []
        for other in range(len(queries), len(features)):
            first, second = expanded[own], expanded[other]
            keys = {*first, *second}
            low = sum(min(first.get(key, 0.0), second.get(key, 0.0)) for key in keys)
            high = sum(max(first.get(key, 0.0), second.get(key, 0.0)) for key in keys)
            row.append(0.7 * (1 - low / high) + 0.3 * distances[own][other])
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def images_of(num_persons: int, each: int, *, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Features of length 1 and persons of `each` images of everybody."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_persons).repeat_interleave(each)
    own = torch.randn(num_persons, 16, generator=random)[labels]
    return functional.normalize(own + noise * torch.randn(own.shape, generator=random), dim=1), labels


@pytest.mark.parametrize(("k1", "k2", "seed"), [(20, 6, 0), (6, 3, 1), (4, 1, 2), (10, 10, 3)])
def test_distances_are_those_of_the_paper(k1: int, k2: int, seed: int) -> None:
    features, _ = images_of(8, 6, noise=0.8, seed=seed)
    queries, gallery = features[::6], features[torch.arange(len(features)) % 6 > 0]
    found_distances = re_ranked_distances(queries, gallery, k1=k1, k2=k2)
    torch.testing.assert_close(found_distances, by_sets(queries, gallery, k1, k2))


def test_fewer_images_than_neighbours_are_re_ranked_too() -> None:
    features, _ = images_of(2, 3, noise=0.1, seed=0)
    distances = re_ranked_distances(features[:2], features[2:])
    assert distances.shape == (2, 4)
    assert bool(((distances >= 0) & (distances <= 1)).all())


def test_images_that_are_all_alike_have_finite_distances() -> None:
    same = torch.ones(6, 4) / 2
    assert bool(re_ranked_distances(same[:2], same[2:]).isfinite().all())


def test_neighbours_in_common_find_more_persons_again() -> None:
    features, labels = images_of(12, 12, noise=1.0, seed=0)
    cameras = torch.arange(len(labels)) % 2
    is_query = torch.arange(len(labels)) % 12 == 0
    queries, gallery = (
        Described(features[chosen], labels[chosen], cameras[chosen]) for chosen in (is_query, ~is_query)
    )
    plain, re_ranked = (means(found(queries, gallery, re_ranking=choice))["map"] for choice in (False, True))
    assert re_ranked > plain + 0.15
