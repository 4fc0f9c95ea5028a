"""The learning-rate range test: what the curve says, whether the space covers it, and what is left."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search.output import Output
from search.space import SPACES, load_space
from search.space.parameters import Choice, Real
from search.training import TrainingRequest
from search.training_checks import train_or_check
from search.trial.lr_range import LrRange, coverage, suggested_range
from trainables.core.optional import LrRangeStep
from trainables.engine.lr_range import range_steps, rising_rates

FOUND = LrRange(low=1e-3, high=1e-1, steepest=1e-2, safe=1e-2)


def steps_of(losses: list[float], low: float = 1e-6) -> list[LrRangeStep]:
    """A step at each tenfold rate."""
    return [
        LrRangeStep(lr=low * 10**place, loss=loss, smoothed_loss=loss) for place, loss in enumerate(losses)
    ]


def test_rates_rise_by_one_factor() -> None:
    assert rising_rates(1e-3, 10.0, 5) == pytest.approx([1e-3, 1e-2, 1e-1, 1.0, 10.0])


def test_the_range_is_where_the_loss_falls() -> None:
    steps = steps_of([2.0, 2.0, 2.0, 1.95, 1.8, 1.2, 1.0, 1.5, 4.0, 9.0])
    found = suggested_range(steps)
    assert found is not None
    assert found.low == pytest.approx(1e-2)  # the first with a tenth of the fall of 1.0
    assert found.high == pytest.approx(1.0)
    assert found.steepest == pytest.approx(1e-2)  # from 1.8 to 1.2
    assert found.safe == pytest.approx(0.1)


@pytest.mark.parametrize(
    "losses",
    [
        [2.0] * 12,
        [2.0, 1.99, 1.98, 1.97, 1.96, 1.95, 1.94, 1.93, 1.92, 1.92, 5.0],  # 4 %
        [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0],
        [2.0, 1.0, 0.5],
        [math.nan] * 12,
    ],
    ids=["flat", "noise", "rises", "few", "no numbers"],
)
def test_without_a_fall_nothing_is_suggested(losses: list[float]) -> None:
    assert suggested_range(steps_of(losses)) is None


def test_steps_end_where_the_loss_blows_up_and_groups_keep_their_ratio() -> None:
    weight, other = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [
        {"params": [weight], "lr": 0.1, "base_lr": 0.1},
        {"params": [other], "lr": 0.01, "base_lr": 0.01},
    ]
    optimizer = torch.optim.SGD(groups)
    rates = []

    def take(step: int) -> torch.Tensor:
        rates.append([group["lr"] for group in optimizer.param_groups])
        return torch.tensor([1.0, 1.0, 1.0, 50.0, 1.0][step])

    done = list(range_steps(optimizer, take, low=1e-2, high=1e2, num_steps=5))
    assert [step.loss for step in done] == [1.0, 1.0, 1.0, 50.0]
    assert rates == [pytest.approx([lr, lr / 10]) for lr in (1e-2, 1e-1, 1.0, 10.0)]
    # 0.98 of 100 steps is 0.98 ** 20 of 5, and the start at 0 is divided out.
    kept = 0.98**20
    mean = sum((1 - kept) * loss * kept ** (3 - place) for place, loss in enumerate((1.0, 1.0, 1.0, 50.0)))
    assert done[-1].smoothed_loss == pytest.approx(mean / (1 - kept**4))


def test_a_loss_that_is_no_number_ends_the_test() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    losses = iter([1.0, math.nan, 1.0])
    done = list(range_steps(optimizer, lambda _: torch.tensor(next(losses)), low=0.1, high=1.0, num_steps=3))
    assert len(done) == 2


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        (Real(1e-4, 1.0, log=True), "from 0.0001 to 1: that covers 0.001 to 0.1"),
        (
            Real(0.01, 1.0, log=True),
            "useful rates below 0.01 are not searched; --set parameters.lr.min=0.001",
        ),
        (
            Real(1e-5, 1e-4, log=True),
            "useful rates above 0.0001 are not searched; --set parameters.lr.max=0.1",
        ),
        (
            Real(0.01, 0.05),
            "below 0.01 and above 0.05 are not searched; --set parameters.lr.min=0.001 --set "
            "parameters.lr.max=0.1",
        ),
        (Choice((1e-3, 1e-1)), "from 0.001 to 0.1: that covers"),
        (Choice((1e-2, 1e-1)), "useful rates below 0.01 are not searched; add values below 0.01"),
    ],
)
def test_the_space_is_compared_with_the_suggestion(parameter: Real | Choice, says: str) -> None:
    space = load_space("lr_bs.yaml", overrides=[], spaces_dir=SPACES)
    space = replace(space, parameters={**space.parameters, "lr": parameter})
    assert says in coverage(space, FOUND)


def test_a_space_without_a_range_is_told_how_to_search_one() -> None:
    space = load_space("lr_bs.yaml", overrides=[], spaces_dir=SPACES)
    none = replace(space, parameters={}, fixed={"lr": 0.5})
    assert coverage(none, FOUND) == (
        'the space has one rate, 0.5; to search it: --set "parameters.lr={distribution: log_uniform_values, '
        'min: 0.001, max: 0.1}"'
    )
    assert coverage(replace(none, fixed={}), FOUND).startswith("the space does not search it; ")


@pytest.mark.slow  # 9 s
def test_a_network_is_tested_and_the_curve_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOULETUNE_CACHE", str(tmp_path / "cache"))
    request = TrainingRequest(
        space="lr_bs.yaml",
        overrides=["search.data=digits", "search.precision=fp32"],
        hparams=["model=mnist_cnn", "batch_size=64"],
        out=tmp_path / "out",
        is_check=True,
    )
    assert train_or_check(request, Output(), lr_range=100)
    with (tmp_path / "out" / "lr_range.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["lr", "loss", "smoothed_loss"]
    assert float(rows[0]["lr"]) == pytest.approx(1e-7)
    assert 50 < len(rows) <= 100
    assert (tmp_path / "out" / "lr_range.png").stat().st_size > 5_000
    printed = capsys.readouterr().out
    assert "suggested lr: " in printed
    assert "the space searches lr from 0.001 to 1" in printed
    assert "Smith 2017" in printed


def test_what_has_no_optimiser_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = TrainingRequest(space="hog_svm.yaml", out=tmp_path, is_check=True)
    assert not train_or_check(request, Output(), lr_range=100)
    assert "hog_svm has no optimiser whose learning rate could rise" in capsys.readouterr().out
