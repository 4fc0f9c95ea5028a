"""Which networks describe persons. No torch here."""

from __future__ import annotations

from trainables.engine.choices import OWN_MODELS

_PCB = "pcb"


def is_striped(name: str) -> bool:
    """Whether it is a part-based network: `pcb` or `pcb/NAME`."""
    return name == _PCB or name.startswith(f"{_PCB}/")


def backbone_of(name: str) -> str:
    """The model of timm inside a network: of `pcb` a ResNet-50."""
    if name == _PCB:
        return "resnet50"
    return name.removeprefix(f"{_PCB}/")


def unknown_network_reason(name: str) -> str:
    """Why there is no network of this name; empty where timm may have its backbone."""
    backbone = backbone_of(name)
    if backbone in OWN_MODELS or "/" in backbone or ":" in backbone:
        return f"model must be a convolutional network of timm by its name, pcb or pcb/RESNET, got {name!r}"
    return ""
