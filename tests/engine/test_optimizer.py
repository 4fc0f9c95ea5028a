"""Parameter groups."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from trainables.engine.optimizer import add_missing_groups, build_optimizer, check_groups, parameter_groups

SETTINGS = {"name": "sgd", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9, "backbone_lr_ratio": 0.5}


def small_model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_heads_learn_at_lr_and_backbones_at_their_share_of_it():
    model = small_model()
    groups = build_optimizer(model, model[3], **SETTINGS).param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.1, 0.05, 0.05]


def test_biases_and_norms_are_not_decayed():
    model = small_model()
    groups = build_optimizer(model, model[3], **SETTINGS).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert {name: decay[id(parameter)] for name, parameter in model.named_parameters()} == {
        "0.weight": 0.01,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "3.weight": 0.01,
        "3.bias": 0.0,
    }


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_what_a_model_of_timm_exempts_is_not_decayed(is_wrapped):
    vit = timm.create_model("test_vit", num_classes=2)
    assert {"pos_embed", "cls_token"} <= vit.no_weight_decay()
    model = nn.Sequential(vit) if is_wrapped else vit
    groups = build_optimizer(model, vit.head, **SETTINGS).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert (decay[id(vit.pos_embed)], decay[id(vit.cls_token)]) == (0.0, 0.0)
    assert decay[id(vit.patch_embed.proj.weight)] == 0.01


def test_frozen_parameters_are_in_no_group():
    model = small_model()
    model[0].requires_grad_(False)
    groups = build_optimizer(model, model[3], **SETTINGS).param_groups
    assert sum(len(group["params"]) for group in groups) == 4


def test_a_parameter_in_two_groups_or_in_none_is_named():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    optimizer = torch.optim.SGD([model[0].weight], lr=0.1)
    optimizer.param_groups.append(optimizer.param_groups[0])
    with pytest.raises(ValueError, match=r"0\.weight is in 2 groups; 1\.weight is in 0 groups"):
        check_groups(model, optimizer)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "lamb"])
def test_any_optimiser_of_timm_lowers_a_loss(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3))
    optimizer = build_optimizer(model, model[0], **SETTINGS | {"name": name, "lr": 0.01})
    inputs = torch.ones(4, 3)
    losses = []
    for _ in range(5):
        loss = model(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_an_unknown_optimiser_is_refused_with_those_there_are():
    model = small_model()
    with pytest.raises(ValueError, match=r"no optimiser is named 'sdg'.*adamw"):
        build_optimizer(model, model[3], **SETTINGS | {"name": "sdg"})


def test_each_layer_learns_slower_than_the_one_above_it():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=3)
    optimizer = build_optimizer(model, model.get_classifier(), **SETTINGS, layer_decay=0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.head.weight)] == 0.1
    assert rates[id(model.norm.weight)] == pytest.approx(0.1 * 0.5 * 0.5)  # below the head
    assert rates[id(model.blocks[11].mlp.fc1.weight)] == pytest.approx(0.1 * 0.5 * 0.5)
    assert rates[id(model.blocks[0].mlp.fc1.weight)] == pytest.approx(0.1 * 0.5 * 0.5**12)
    assert rates[id(model.patch_embed.proj.weight)] == pytest.approx(0.1 * 0.5 * 0.5**13)
    assert optimizer.param_groups[0]["params"] == [model.head.weight]


def test_layer_decay_is_refused_where_the_layers_are_unknown():
    model = small_model()
    with pytest.raises(
        ValueError, match=r"layer_decay below 1 needs a model that says .*: Sequential does not; set"
    ):
        build_optimizer(model, model[3], **SETTINGS, layer_decay=0.5)


def test_groups_that_are_added_leave_the_state_of_the_others():
    model = small_model()
    model[0].requires_grad_(False)
    optimizer = build_optimizer(model, model[3], **SETTINGS)
    model(torch.ones(2, 1, 3, 3)).sum().backward()
    optimizer.step()
    before = optimizer.state[model[3].weight]["momentum_buffer"]
    model[0].requires_grad_(True)
    rates = {name: SETTINGS[name] for name in ("lr", "weight_decay", "backbone_lr_ratio")}
    add_missing_groups(optimizer, parameter_groups(model, model[3], **rates))
    check_groups(model, optimizer)
    assert optimizer.state[model[3].weight]["momentum_buffer"] is before
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1, 0.05, 0.05, 0.05]


def test_every_parameter_decays_where_all_shall():
    model = small_model()
    groups = build_optimizer(model, model[3], **SETTINGS, decay_norms_and_biases=True).param_groups
    assert {group["weight_decay"] for group in groups} == {0.01}
    assert sum(len(group["params"]) for group in groups) == 6
