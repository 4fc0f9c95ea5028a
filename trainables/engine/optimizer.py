"""Optimisers with two learning rates and no decay on biases and norms."""

from __future__ import annotations

from collections import Counter
from typing import Any

import timm.optim
import torch
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
) -> torch.optim.Optimizer:
    """Any optimiser timm knows, over every trainable parameter of `model`.

    The head's groups come first and learn at `lr`; the others at `lr * backbone_lr_ratio`.

    Args:
        name: "sgd" is Nesterov's, "momentum" is plain; else as in `timm.optim.list_optimizers()`.
    """
    known = [str(known_name) for known_name in timm.optim.list_optimizers()]
    if name not in known:
        raise ValueError(f"no optimiser is named {name!r}; timm has {', '.join(known)}")
    groups = _groups(model, head, lr=lr, backbone_lr=lr * backbone_lr_ratio, weight_decay=weight_decay)
    optimizer = timm.optim.create_optimizer_v2(groups, opt=name, lr=lr, momentum=momentum)
    check_groups(model, optimizer)
    return optimizer


def check_groups(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Hold that each trainable parameter is in exactly one group of the optimiser.

    Raises:
        ValueError: Naming the parameters that would not learn, or would be stepped twice.
    """
    uses = Counter(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
    wrong = [
        f"{name} is in {uses[id(parameter)]} groups"
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and uses[id(parameter)] != 1
    ]
    if wrong:
        raise ValueError(f"each trainable parameter belongs in one optimiser group: {'; '.join(wrong)}")


def _groups(
    model: nn.Module, head: nn.Module, *, lr: float, backbone_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    in_head = {id(parameter) for parameter in head.parameters()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [p for p in parameters if (id(p) in in_head) == is_head and (p.ndim > 1) == decays],
            "lr": lr if is_head else backbone_lr,
            "weight_decay": weight_decay if decays else 0.0,  # vectors are biases and norms: never decayed
        }
        for is_head in (True, False)
        for decays in (True, False)
    ]
    return [group for group in groups if group["params"]]
