"""Which parameter the score depends on."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.sampling.importance import TooFew, importances
from search.space import Choice, Space
from tests.support.toy_runs import made_space

TEXT = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32, 64, 128]}
  noise: {values: [0.0, 0.005]}
search: {trainable: toy, data: none, ladder: {epochs: [1, 3]}, limits: {trials: 40}}
"""


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return made_space(tmp_path, TEXT)


def points(count: int) -> list[dict[str, Any]]:
    draw = random.Random(0)
    return [
        {
            "lr": 10 ** draw.uniform(-4, 0),
            "batch_size": draw.choice([16, 32, 64, 128]),
            "noise": draw.choice([0.0, 0.005]),
        }
        for _ in range(count)
    ]


def test_the_parameter_that_decides_comes_first_and_the_shares_add_up_to_one(space: Space) -> None:
    by_lr = importances(space, [(point, -((math.log10(point["lr"]) + 2) ** 2)) for point in points(24)])
    assert next(iter(by_lr)) == "lr"
    assert by_lr["lr"] > 0.9
    assert sum(by_lr.values()) == pytest.approx(1)
    by_batch = importances(space, [(point, float(point["batch_size"])) for point in points(24)])
    assert by_batch["batch_size"] > 0.9
    by_name = importances(space, [(point, float(point["noise"] == 0.0)) for point in points(24)])
    assert by_name["noise"] > 0.9


def test_the_same_trials_give_the_same_shares(space: Space) -> None:
    scored = [(point, point["lr"]) for point in points(12)]
    assert importances(space, scored) == importances(space, scored)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.7e308])
def test_scores_of_any_size_give_the_same_shares(space: Space, scale: float) -> None:
    plain = importances(space, [(point, point["lr"]) for point in points(12)])
    scaled = importances(space, [(point, scale * point["lr"]) for point in points(12)])
    assert scaled == {name: pytest.approx(share, abs=0.03) for name, share in plain.items()}


def test_fifty_names_take_no_longer_than_fifty_numbers(space: Space) -> None:
    names = tuple(f"model{number}" for number in range(50))
    wide = replace(space, parameters={**space.parameters, "noise": Choice(values=names)})
    scored = [({**point, "noise": names[at % 50]}, at % 50 / 50) for at, point in enumerate(points(60))]
    assert importances(wide, scored)["noise"] > 0.5


def test_trials_at_one_point_are_reported(space: Space) -> None:
    with pytest.raises(TooFew, match="the trials have the same parameters"):
        importances(space, [(points(1)[0], number / 10) for number in range(9)])


def test_too_few_trials_are_reported(space: Space) -> None:
    with pytest.raises(TooFew, match="7 trials with a score lie in the space, and it takes 8"):
        importances(space, [(point, point["lr"]) for point in points(7)])


def test_trials_outside_the_space_do_not_count(space: Space) -> None:
    outside = [({**point, "lr": 5.0}, 1.0) for point in points(3)]
    with pytest.raises(TooFew, match="7 trials"):
        importances(space, [*outside, *((point, point["lr"]) for point in points(7))])


def test_scores_that_do_not_differ_say_nothing(space: Space) -> None:
    with pytest.raises(TooFew, match="all scores are the same"):
        importances(space, [(point, 0.5) for point in points(10)])
