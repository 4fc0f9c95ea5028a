"""Optimisers with a learning rate per part of a model, and weight decay on its matrices or on everything."""

from __future__ import annotations

from collections import Counter
from typing import Any

import timm.optim
import torch
from timm.models import group_parameters
from torch import nn


def build_optimizer(
    model: nn.Module,
    head: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float,
    backbone_lr_ratio: float,
    layer_decay: float = 1.0,
    decay_norms_and_biases: bool = False,
) -> torch.optim.Optimizer:
    """Build any optimiser timm knows, over every trainable parameter of `model`.

    The head's groups come first and learn at `lr`; the others at `lr * backbone_lr_ratio`. Each
    group keeps its rate as `base_lr`, from which a `Schedule` computes the rate of each step.

    Args:
        name: One of `timm.optim.list_optimizers()`; "sgd" is Nesterov's, "momentum" is plain.
        layer_decay: Each layer of the backbone learns at this times the rate of the one above it
            (Bao et al. 2021, "BEiT"). Below 1 it needs a timm model, which knows the order of its layers.
        decay_norms_and_biases: Decay every parameter, not only matrices and filters.
    """
    known = [str(known_name) for known_name in timm.optim.list_optimizers()]
    if name not in known:
        raise ValueError(f"no optimiser is named {name!r}; timm has {', '.join(known)}")
    groups = parameter_groups(
        model,
        head,
        lr=lr,
        weight_decay=weight_decay,
        backbone_lr_ratio=backbone_lr_ratio,
        layer_decay=layer_decay,
        decay_norms_and_biases=decay_norms_and_biases,
    )
    optimizer = timm.optim.create_optimizer_v2(groups, opt=name, lr=lr, momentum=momentum)
    check_groups(model, optimizer)
    return optimizer


def add_missing_groups(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> None:
    """Add the parameters of `groups` that `optimizer` does not step yet.

    Its state for the others (momentum, second moments) is kept.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for group in groups:
        missing = [parameter for parameter in group["params"] if id(parameter) not in held]
        if missing:
            optimizer.add_param_group({**group, "params": missing})


def check_groups(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Check that each trainable parameter is in exactly one group of the optimiser.

    Raises:
        ValueError: Some parameters would not learn, or would be stepped twice; the message names them.
    """
    uses = Counter(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
    wrong = [
        f"{name} is in {uses[id(parameter)]} groups"
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and uses[id(parameter)] != 1
    ]
    if wrong:
        raise ValueError(f"each trainable parameter belongs in one optimiser group: {'; '.join(wrong)}")


def parameter_groups(
    model: nn.Module,
    head: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    backbone_lr_ratio: float,
    layer_decay: float = 1.0,
    decay_norms_and_biases: bool = False,
) -> list[dict[str, Any]]:
    """The trainable parameters of `model` in groups of one rate and one decay, the head's first."""
    in_head = {id(parameter) for parameter in head.parameters()}
    scales, exempt = _layer_scales(model, layer_decay), _exempt_from_decay(model)
    members: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # Matrices and filters decay; vectors and scalars do only if everything does.
            is_matrix = parameter.ndim > 1 and name not in exempt
            is_head, decays = id(parameter) in in_head, is_matrix or decay_norms_and_biases
            scale = 1.0 if is_head else scales.get(name, 1.0)
            members.setdefault((is_head, scale, decays), []).append(parameter)
    groups = []
    for (is_head, scale, decays), parameters in sorted(
        members.items(), key=lambda item: item[0], reverse=True
    ):
        ratio = 1.0 if is_head else backbone_lr_ratio
        groups.append(
            {
                "params": parameters,
                "lr": lr * ratio * scale,
                "base_lr": lr * ratio * scale,
                "backbone_ratio": ratio,
                # Decay pulls a norm's scale to 0 instead of 1, and biases do not add to overfitting.
                "weight_decay": weight_decay if decays else 0.0,
            }
        )
    return groups


def _exempt_from_decay(model: nn.Module) -> set[str]:
    """Names of the parameters that models of timm exempt: position embeddings, class tokens and the like."""
    return {
        f"{place}.{name}".removeprefix(".")
        for place, module in model.named_modules()
        if hasattr(module, "no_weight_decay")
        for name in module.no_weight_decay()
    }


def _layer_scales(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """Factor on the rate of each parameter, by name; empty if all layers learn at the same rate."""
    if layer_decay == 1.0:
        return {}
    if not hasattr(model, "group_matcher"):
        raise ValueError(
            f"layer_decay below 1 needs a model that says what its layers are, as most of timm do: "
            f"{type(model).__name__} does not; set layer_decay to 1"
        )
    timms: Any = model
    layers: dict[str, int] = group_parameters(model, timms.group_matcher(coarse=False), reverse=True)
    top = max(layers.values())
    # The last layer learns at the full rate, the one below at `layer_decay` of it, and so on down: with 0.75
    # a layer 12 below learns at 3 % of it.
    return {name: layer_decay ** (top - layer) for name, layer in layers.items()}
