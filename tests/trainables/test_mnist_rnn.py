"""An LSTM that reads images row by row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.mnist_rnn import Hparams
from trainables.mnist_rnn.training import RowLSTM, start


def network(in_channels: int = 1, width: int = 28, **changes) -> RowLSTM:
    settings = {"hidden": 64, "layers": 1, "is_bidirectional": False, "drop_rate": 0.0, "head_drop_rate": 0.0}
    torch.manual_seed(0)
    return RowLSTM(10, in_channels, width, **{**settings, **changes}).eval()


def test_it_is_the_network_of_the_example() -> None:
    lstm = 4 * 64 * (28 + 64 + 2)
    assert sum(parameter.numel() for parameter in network().parameters()) == (
        lstm + 2 * 64 + (64 + 1) * 32 + (32 + 1) * 10
    )


@pytest.mark.parametrize("changes", [{}, {"layers": 2}, {"is_bidirectional": True}])
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("rows", [14, 28])
def test_any_number_of_rows_and_channels_can_be_read(changes, in_channels: int, rows: int) -> None:
    images = torch.randn(3, in_channels, rows, rows)
    assert network(in_channels, **changes)(images).shape == (3, 10)


def test_a_row_is_a_time_step() -> None:
    """What stands in the last row cannot change what is known after the first."""
    net, images = network(width=4), torch.randn(1, 1, 4, 4)
    changed = images.clone()
    changed[:, :, -1] += 1
    before, after = (net.lstm(net._rows(each))[0] for each in (images, changed))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_a_row_holds_all_channels_of_its_pixels() -> None:
    images = torch.arange(2 * 2 * 2.0).view(1, 2, 2, 2)  # 0 1 / 2 3 in one channel, 4 5 / 6 7 in the other
    assert network(2, 2)._rows(images).tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]


def test_it_learns_digits(tmp_path: Path) -> None:
    context = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    training = start(Hparams(head_drop_rate=0.0), budget := Budget(epochs=6), context)
    scores = [training.run_epoch(budget)["val_accuracy"] for _ in range(6)]
    assert scores[-1] > 0.9


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(ValueError, match="hidden must be 2 or more") as caught:
        Hparams(hidden=1, layers=0, drop_rate=1.0, augment="heavy", layer_decay=0.5)
    assert str(caught.value).split("; ") == [
        "layer_decay below 1 needs a classifier of timm",
        "set it to 1, got 0.5",
        "hidden must be 2 or more, got 1",
        "layers must be 1 or more, got 0",
        "drop_rate must be in [0, 1), got 1.0",
        "augment must be none, crop, light, strong or in [0, 1], got 'heavy'",
    ]
