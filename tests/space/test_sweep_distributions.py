"""2,000 seeded draws of each of W&B's distributions against what its own sampler's formula gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist, mean
from typing import Any

import optuna
import pytest

from search.sampling.axes import axis_of, suggested
from search.space import Choice, Integer, Normal, Real
from search.space.distributions import Entry, to_parameter

NUM_DRAWS = 2000
NOISE = 1.95 / math.sqrt(NUM_DRAWS)  # a distance of Kolmogorov and Smirnov that chance passes once in 1,000
Cdf = Callable[[float], float]


def draws(entry: dict[str, Any], seed: int = 0) -> list[Any]:
    parameter = to_parameter(Entry(**entry))
    assert isinstance(parameter, Real | Integer | Choice | Normal)
    axis = axis_of(parameter)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    values = [axis.decode(suggested(study.ask(), "x", axis)) for _ in range(NUM_DRAWS)]
    assert all(map(parameter.contains, values))
    return values


def distance(values: list[float], cdf: Cdf, step: float | None = None) -> float:
    """The largest difference between the share of draws up to a value and what it should be.

    Args:
        step: Values are rounded to it: all up to half a step above a value come out as that value or less.
    """
    ends = sorted(set(values))
    half = 0.0 if step is None else step / 2
    shares = [(sum(value <= end for value in values) / len(values), cdf(end + half)) for end in ends]
    return max(abs(share - expected) for share, expected in shares)


def uniform(low: float, high: float) -> Cdf:
    return lambda value: min(max((value - low) / (high - low), 0.0), 1.0)


def log_uniform(low: float, high: float) -> Cdf:
    """Between exponents of e."""
    return lambda value: uniform(low, high)(math.log(value)) if value > 0 else 0.0


def normal(mu: float, sigma: float) -> Cdf:
    return NormalDist(mu, sigma).cdf


def log_normal(mu: float, sigma: float) -> Cdf:
    return lambda value: NormalDist(mu, sigma).cdf(math.log(value)) if value > 0 else 0.0


RANGES: list[tuple[dict[str, Any], Cdf, float | None]] = [
    ({"distribution": "uniform", "min": 0, "max": 3}, uniform(0, 3), None),
    ({"min": 0.5, "max": 7}, uniform(0.5, 7), None),
    ({"distribution": "q_uniform", "min": 16, "max": 256, "q": 16}, uniform(16, 256), 16),
    ({"distribution": "q_uniform", "min": -1.3, "max": 2.6, "q": 1}, uniform(-1.3, 2.6), 1),
    ({"distribution": "q_uniform", "min": 0.05, "max": 0.95, "q": 0.1}, uniform(0.05, 0.95), 0.1),
    ({"distribution": "log_uniform", "min": -9.2, "max": -2.3}, log_uniform(-9.2, -2.3), None),
    (
        {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
        log_uniform(math.log(1e-5), math.log(0.1)),
        None,
    ),
    ({"distribution": "q_log_uniform", "min": 0.69, "max": 7.6, "q": 1}, log_uniform(0.69, 7.6), 1),
    ({"distribution": "q_log_uniform", "min": -2, "max": 2, "q": 1}, log_uniform(-2, 2), 1),
    ({"distribution": "q_log_uniform_values", "min": 1, "max": 256}, log_uniform(0, math.log(256)), 1),
    (
        {"distribution": "q_log_uniform_values", "min": 32, "max": 256, "q": 8},
        log_uniform(math.log(32), math.log(256)),
        8,
    ),
    ({"distribution": "inv_log_uniform", "min": 0.69, "max": 9.2}, log_uniform(-9.2, -0.69), None),
    (
        {"distribution": "inv_log_uniform_values", "min": 1e-4, "max": 0.5},
        log_uniform(math.log(1e-4), math.log(0.5)),
        None,
    ),
    ({"distribution": "normal"}, normal(0, 1), None),
    ({"distribution": "normal", "mu": 2, "sigma": 0.5}, normal(2, 0.5), None),
    ({"distribution": "q_normal", "mu": 2, "sigma": 3, "q": 1}, normal(2, 3), 1),
    ({"distribution": "q_normal", "mu": 0, "sigma": 0.2, "q": 0.1}, normal(0, 0.2), 0.1),
    ({"distribution": "log_normal", "mu": -3, "sigma": 1}, log_normal(-3, 1), None),
    ({"distribution": "q_log_normal", "mu": 1, "sigma": 1, "q": 1}, log_normal(1, 1), 1),
    ({"distribution": "q_log_normal", "mu": 0, "sigma": 2, "q": 0.5}, log_normal(0, 2), 0.5),
]


@pytest.mark.parametrize(("entry", "cdf", "step"), RANGES, ids=[str(entry) for entry, _, _ in RANGES])
def test_draws_are_within_chance_of_wandbs_own(entry: dict[str, Any], cdf: Cdf, step: float | None) -> None:
    assert distance(draws(entry), cdf, step) < NOISE


@pytest.mark.parametrize(
    ("entry", "shares"),
    [
        ({"min": 1, "max": 5}, dict.fromkeys(range(1, 6), 0.2)),
        ({"distribution": "int_uniform", "min": -1, "max": 2}, dict.fromkeys(range(-1, 3), 0.25)),
        ({"values": ["a", "b", True, None]}, {"a": 0.25, "b": 0.25, True: 0.25, None: 0.25}),
        ({"values": [0.05, 5e-5, 5e-5]}, {0.05: 1 / 3, 5e-5: 2 / 3}),
        ({"values": ["a", "b", "c"], "probabilities": [0.7, 0.05, 0.25]}, {"a": 0.7, "b": 0.05, "c": 0.25}),
        ({"values": ["a", "b", "a"], "probabilities": [0.5, 0.3, 0.2]}, {"a": 0.7, "b": 0.3}),
        ({"distribution": "q_uniform", "min": 0, "max": 4, "q": 2}, {0: 0.25, 2: 0.5, 4: 0.25}),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 8}, {1: math.log(1.5) / math.log(8)}),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 256}, {1: math.log(1.5) / math.log(256)}),
    ],
    ids=str,
)
def test_each_value_is_as_likely_as_in_wandbs_own(entry: dict[str, Any], shares: dict[Any, float]) -> None:
    values = draws(entry)
    for value, share in shares.items():
        deviation = math.sqrt(share * (1 - share) / NUM_DRAWS)
        assert values.count(value) / NUM_DRAWS == pytest.approx(share, abs=3.3 * deviation)


def test_a_whole_step_gives_whole_numbers_and_another_fractions() -> None:
    whole, fraction = ({"distribution": "q_uniform", "min": 0, "max": 9, "q": q} for q in (1, 0.5))
    assert {type(value) for value in draws(whole)} == {int}
    assert {type(value) for value in draws(fraction)} == {float}
    assert mean(draws(whole)) == pytest.approx(4.5, abs=0.3)
