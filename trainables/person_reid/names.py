"""Names of the networks that describe persons. Imports no torch."""

from __future__ import annotations

from trainables.engine.choices import OWN_MODELS

_PCB = "pcb"


def is_striped(name: str) -> bool:
    """Whether it is a part-based network: `pcb` or `pcb/NAME`."""
    return name == _PCB or name.startswith(f"{_PCB}/")


def backbone_of(name: str) -> str:
    """The timm model inside a network; for `pcb` a ResNet-50."""
    if name == _PCB:
        return "resnet50"
    return name.removeprefix(f"{_PCB}/")


def unknown_network_reason(name: str) -> str:
    """Why no network has this name; empty if timm may have its backbone."""
    backbone = backbone_of(name)
    if backbone in OWN_MODELS or "/" in backbone or ":" in backbone:
        return f"model must be a convolutional network of timm by its name, pcb or pcb/RESNET, got {name!r}"
    return ""
