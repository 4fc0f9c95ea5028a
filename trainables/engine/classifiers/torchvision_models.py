"""Classifiers of torchvision, for images of any resolution that they take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torchvision
from torch import nn

from trainables.engine.classifiers.building import Build, Builder, Options
from trainables.engine.pretrained import load_backbone
from trainables.engine.state_files import State

_OWN_SIDE = 224
_NO_AUXILIARY: Options = {"aux_logits": False, "init_weights": True}  # of GoogLeNet and Inception-v3
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_TO_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@lru_cache(maxsize=128)
def torchvision_build(
    name: str, num_classes: int, in_channels: int, resolution: int, drop_rate: float, is_of_hub: bool
) -> Build:
    """How torchvision builds the named classifier for this resolution, or the nearest that it takes.

    Args:
        is_of_hub: Whether it gets its own weights, which fit its own resolution: it is built for no other.

    Raises:
        ValueError: The model is no classifier of such images; the message says why.
    """

    def make(**options: Any) -> nn.Module:
        model: nn.Module = torchvision.models.get_model(
            name, weights=None, **{"num_classes": num_classes, **options}
        )
        _set_dropout(model, drop_rate)
        if in_channels != 3:
            _change_input(model, in_channels)
        return model

    published = _published_size(name) if is_of_hub else None
    builder = Builder(
        make,
        size_options=lambda near: _options(near, published),
        num_classes=num_classes,
        in_channels=in_channels,
        own=(published or {}).get("image_size", _OWN_SIDE),
        drop_rate=drop_rate,
    )
    try:
        return builder.build(resolution)
    except ValueError as error:
        channels = f"images of {in_channels} channels"
        raise ValueError(f"torchvision/{name} cannot classify {channels}: {error}") from error


def from_torchvision(
    name: str,
    build: Build,
    *,
    num_classes: int,
    in_channels: int,
    drop_rate: float,
    state: State | None,
    is_of_hub: bool,
) -> nn.Module:
    """Build the model as `build` says, with its own weights, those of a state dict, or random ones.

    Raises:
        RuntimeError: Shapes differ: the state is another model's, or of another resolution.
    """
    model: nn.Module
    if is_of_hub:
        model = _published(name, build)
        for head in build.head:
            model.set_submodule(head, _of_classes(model.get_submodule(head), num_classes))
    else:
        model = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **build.options)
    _set_dropout(model, drop_rate)
    if in_channels != 3:
        _change_input(model, in_channels)
    if state:
        load_backbone(model, state, heads=build.head, first_conv=_first_conv(model)[0])
    return model


def trained_statistics(model: nn.Module) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of the images that torchvision's weights were trained on.

    GoogLeNet's and Inception-v3's are TensorFlow's, of images in [-1, 1]. torchvision's option
    `transform_input`, which converts to them inside the model, stays off: no state dict records it.
    """
    return _TO_ONE if hasattr(model, "transform_input") else _IMAGENET


def _published_size(name: str) -> Options:
    """Keyword arguments for the resolution of the published weights: those of a ViT fit no other."""
    if not torchvision.models.get_model_builder(name).__module__.endswith("vision_transformer"):
        return {}
    return {"image_size": torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]}


def _published(name: str, build: Build) -> Any:
    """The model with torchvision's weights, which has auxiliary outputs until they are loaded."""
    options = {option: value for option, value in build.options.items() if option not in _NO_AUXILIARY}
    model: Any = torchvision.models.get_model(name, weights="DEFAULT", **options)
    if hasattr(model, "transform_input"):
        model.transform_input = False  # see `trained_statistics`
    if hasattr(model, "AuxLogits"):  # GoogLeNet removes its own
        model.aux_logits, model.AuxLogits = False, None
    return model


def _options(resolution: int, published: Options | None) -> list[Options]:
    """Keyword arguments that give a model its resolution, without auxiliary outputs if possible.

    Args:
        published: Those for its own weights; None if it does not get them.
    """
    sizes: list[Options] = [{"image_size": resolution}, {"input_size": (resolution, resolution)}, {}]
    sizes = sizes if published is None else [published]
    return [{**more, **size} for more in (_NO_AUXILIARY, {}) for size in sizes]


def _set_dropout(model: nn.Module, rate: float) -> None:
    for module in model.modules():
        if rate and isinstance(module, nn.Dropout):
            module.p = rate


def _of_classes(old: nn.Module, num_classes: int) -> nn.Module:
    """A new last layer for other classes: linear, or a convolution if the old one is."""
    if isinstance(old, nn.Conv2d):
        return nn.Conv2d(old.in_channels, num_classes, old.kernel_size, old.stride)  # type: ignore[arg-type]
    assert isinstance(old, nn.Linear)
    return nn.Linear(old.in_features, num_classes, bias=old.bias is not None)  # MaxViT's has none


def _change_input(model: nn.Module, in_channels: int) -> None:
    """Replace the first convolution by one for grey images, with its weights summed over the colours."""
    name, old = _first_conv(model)
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        kernel_size=old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(dim=1, keepdim=True))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    model.set_submodule(name, new)


def _first_conv(model: nn.Module) -> tuple[str, Any]:
    return next((name, item) for name, item in model.named_modules() if isinstance(item, nn.Conv2d))
