"""Learning rates over fractional epochs."""

from __future__ import annotations

import pytest
import torch

from trainables.engine.choices import milestones
from trainables.engine.schedule import Schedule


def optimizer_with_two_rates() -> torch.optim.SGD:
    head, backbone = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [
        {"params": [head], "base_lr": 1.0},
        {"params": [backbone], "base_lr": 0.1, "backbone_ratio": 0.1},
    ]
    return torch.optim.SGD(groups, lr=1.0)


def rates(name, positions, *, epochs=8, **settings):
    optimizer = optimizer_with_two_rates()
    schedule = Schedule(optimizer, name=name, epochs=epochs, **settings)
    found = []
    for position in positions:
        schedule.set_position(position)
        found.append(tuple(group["lr"] for group in optimizer.param_groups))
    return found


def test_a_cosine_falls_from_the_base_rate_to_zero_and_stays_there():
    heads = [head for head, _ in rates("cosine", [0, 2, 4, 8, 9])]
    assert heads == pytest.approx([1.0, 0.8535534, 0.5, 0.0, 0.0])


def test_step_divides_by_ten_at_half_and_at_three_quarters():
    heads = [head for head, _ in rates("step", [3.99, 4, 5.99, 6, 8])]
    assert heads == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])


def test_one_cycle_rises_for_three_tenths_and_then_falls_to_zero():
    heads = [head for head, _ in rates("one_cycle", [0, 1.2, 2.4, 5.2, 8])]
    assert heads == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])


def test_none_keeps_the_base_rate():
    assert rates("none", [0, 3.3, 8]) == [(1.0, 0.1)] * 3


@pytest.mark.parametrize("name", ["cosine", "step", "plateau", "one_cycle", "none"])
def test_both_rates_keep_their_ratio_all_the_way(name):
    positions = [0.5, 1.7, 3.9, 5.5, 7.9]
    warmup = 0.0 if name == "one_cycle" else 1.0
    assert [back / head for head, back in rates(name, positions, warmup_epochs=warmup)] == pytest.approx(
        [0.1] * 5
    )


@pytest.mark.parametrize("name", ["cosine", "step", "plateau", "none"])
def test_warm_up_rises_linearly_from_zero(name):
    heads = [head for head, _ in rates(name, [0.0, 0.5, 1.0], warmup_epochs=2.0)]
    assert heads == pytest.approx([0.0, 0.25, 0.5])


def test_plateau_divides_by_ten_once_the_loss_has_stood_still():
    optimizer = optimizer_with_two_rates()
    schedule = Schedule(optimizer, name="plateau", epochs=10, warmup_epochs=1.0)  # patience: one epoch
    heads = []
    for epoch, loss in enumerate([9.0, 2.0, 2.0, 2.0, 1.0], start=1):
        schedule.set_position(epoch - 0.5)
        heads.append(schedule.lr)
        schedule.observe(epoch, loss)
    schedule.set_position(5.5)
    assert heads == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.1])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])


def test_a_restored_plateau_keeps_its_patience_and_its_lowered_rate():
    losses = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]

    def run(split_after):
        optimizer = optimizer_with_two_rates()
        schedule = Schedule(optimizer, name="plateau", epochs=10)
        heads = []
        for epoch, loss in enumerate(losses, start=1):
            if epoch == split_after:
                state, optimizer = schedule.state_dict(), optimizer_with_two_rates()
                schedule = Schedule(optimizer, name="plateau", epochs=10)
                schedule.load_state_dict(state)
            schedule.set_position(epoch - 0.5)
            heads.append(schedule.lr)
            schedule.observe(epoch, loss)
        return heads

    assert run(split_after=3) == run(split_after=5) == run(split_after=None)
    assert len(set(run(split_after=None))) > 1


def test_an_unknown_schedule_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no schedule is named 'cosin'; there are cosine, linear, step"):
        Schedule(optimizer_with_two_rates(), name="cosin", epochs=2)


@pytest.mark.parametrize(("name", "warmup_epochs"), [("cosine", 8.0), ("one_cycle", 1.0)])
def test_a_warm_up_that_does_not_fit_is_refused(name, warmup_epochs):
    with pytest.raises(ValueError, match="warmup_epochs"):
        Schedule(optimizer_with_two_rates(), name=name, epochs=8, warmup_epochs=warmup_epochs)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_one_epoch_is_annealed_too_and_without_a_warning(name, caplog):
    assert rates(name, [0.65, 0.999], epochs=1)[1][0] == pytest.approx(0.0, abs=1e-4)
    assert not caplog.records


def test_a_backbone_becomes_even_with_the_head_from_an_epoch_on():
    found = rates("cosine", [0, 2, 4, 6], unified_lr_epoch=4)
    assert [head for head, _ in found] == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])
    assert [backbone for _, backbone in found] == pytest.approx([0.1, 0.08535534, 0.5, 0.1464466])


def test_all_rates_fall_from_an_epoch_on():
    assert rates("none", [2.9, 3, 7], falls={3: 0.5}) == [(1.0, 0.1), (0.5, 0.05), (0.5, 0.05)]


def test_a_group_that_joins_later_follows_from_its_first_step_on():
    optimizer = optimizer_with_two_rates()
    schedule = Schedule(optimizer, name="cosine", epochs=8)
    schedule.set_position(2)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "base_lr": 0.01})
    schedule.set_position(4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05, 0.005])


def test_linear_rises_over_a_fifth_and_falls_to_a_tenth_of_the_base_rate():
    heads = [
        head for head, _ in rates("linear", [0, 1, 2, 6, 10], epochs=10, warmup_epochs=2.0, min_lr_ratio=0.1)
    ]
    assert heads == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1])


@pytest.mark.parametrize("name", ["cosine", "linear", "one_cycle"])
def test_a_floor_is_where_the_rate_ends_and_stays(name):
    assert [head for head, _ in rates(name, [8, 9], min_lr_ratio=0.25)] == pytest.approx([0.25, 0.25])


def test_exponential_keeps_its_rate_within_an_epoch_and_then_takes_seven_tenths_of_it():
    heads = [head for head, _ in rates("exponential", [0, 0.9, 1, 1.5, 2])]
    assert heads == pytest.approx([1.0, 1.0, 0.7, 0.7, 0.49])


@pytest.mark.parametrize(
    ("milestones", "rate", "expected"),
    [
        ("2, 6", None, [1.0, 0.1, 0.1, 0.01]),
        ("0.25, 0.75", 0.5, [1.0, 0.5, 0.5, 0.25]),
        ("0.5", 0.2, [1.0, 1.0, 0.2, 0.2]),
        ("0.25, 6", None, [1.0, 0.1, 0.1, 0.01]),  # a fraction and an epoch
    ],
)
def test_step_falls_at_its_milestones(milestones, rate, expected):
    found = rates("step", [1.99, 2, 5.99, 6], decay_milestones=milestones, decay_rate=rate)
    assert [head for head, _ in found] == pytest.approx(expected)


def test_a_fraction_of_the_training_from_which_a_backbone_is_even():
    found = rates("none", [3.99, 4], unified_lr_epoch=0.5)
    assert [backbone for _, backbone in found] == pytest.approx([0.1, 1.0])


@pytest.mark.parametrize("text", ["", "a", "0.5,", "0, 3", "3, 2", "2, 2", "-1", "0.5, 4"])
def test_milestones_that_do_not_rise_are_refused(text):
    with pytest.raises(ValueError, match="milestones must"):
        milestones(text, epochs=8)
