"""BatchNorm over the examples of several ranks, which are threads here: that of all examples at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from trainables.engine.parallel.batch_norm import GlobalBatchNorm


class Exchange:
    """What ranks that are threads give each other, in turns that all of them take."""

    def __init__(self, number: int) -> None:
        self._barrier = threading.Barrier(number)
        self._given: dict[int, Tensor] = {}

    def gathered(self, rank: int, values: Tensor) -> Tensor:
        self._given[rank] = values.clone()
        self._barrier.wait(timeout=30)
        found = torch.stack([self._given[each] for each in sorted(self._given)])
        self._barrier.wait(timeout=30)
        return found

    def add_up(self, rank: int, values: Tensor) -> None:
        values.copy_(self.gathered(rank, values).sum(0))


Step = tuple[list[Tensor], dict[str, Tensor]]


def step(model: nn.Module, parts: list[Tensor], num: int) -> Step:
    """The gradients of a step, and the buffers after it, in one process or over as many ranks as parts."""
    exchange = Exchange(len(parts))
    models = [model, *(clone(model) for _ in parts[1:])]

    def run(rank: int) -> None:
        mode = GlobalBatchNorm(
            lambda values: exchange.gathered(rank, values), lambda values: exchange.add_up(rank, values)
        )
        if len(parts) == 1:
            outputs = models[0](parts[0])
        else:
            with mode:
                outputs = models[rank](parts[rank])
        (outputs.sin().square().sum() / num).backward()

    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(run, range(len(parts))))
    gradients = [
        torch.stack([each.grad for each in same if each.grad is not None]).sum(0)
        for same in zip(*(each.parameters() for each in models), strict=True)
    ]
    return gradients, dict(models[-1].named_buffers())


def clone(model: nn.Module) -> nn.Module:
    made = make(type(model[1]))
    made.load_state_dict(model.state_dict())
    return made


def make(norm: type[nn.Module], **options: object) -> nn.Sequential:
    conv: Callable[..., nn.Module] = nn.Conv1d if norm is nn.BatchNorm1d else nn.Conv2d
    return nn.Sequential(conv(3, 4, 2), norm(4, **options), nn.ReLU(), conv(4, 2, 2)).double()


@pytest.mark.parametrize("sizes", [(4, 3), (1, 2, 1)])
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_statistics_and_gradients_of_ranks_are_those_of_all_examples(
    norm: type[nn.Module], sizes: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    one = make(norm)
    many = clone(one)
    shape = (sum(sizes), 3, *([5] * (1 if norm is nn.BatchNorm1d else 2)))
    examples = 100 + torch.randn(shape, dtype=torch.float64)  # a mean that sums of squares would drown in
    gradients, buffers = step(one, [examples], sum(sizes))
    over_ranks, buffers_over_ranks = step(many, list(examples.split(sizes)), sum(sizes))
    for alone, together in zip(gradients, over_ranks, strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)
    for name, alone in buffers.items():
        torch.testing.assert_close(buffers_over_ranks[name], alone, rtol=1e-12, atol=0)


def test_scoring_and_numbers_of_half_the_bits_stay_what_they_are() -> None:
    def refuse(values: Tensor) -> Tensor:
        raise AssertionError("nothing is exchanged")

    scored = nn.BatchNorm2d(3).eval()
    examples = torch.randn(2, 3, 4, 4)
    with GlobalBatchNorm(refuse, refuse):
        torch.testing.assert_close(scored(examples), scored(examples))
    exchange = Exchange(1)
    halves = examples.bfloat16()
    with GlobalBatchNorm(lambda each: exchange.gathered(0, each), lambda each: exchange.add_up(0, each)):
        assert nn.BatchNorm2d(3)(halves).dtype == torch.bfloat16
