"""Image classifiers by name: resnet20 and mnist_cnn, timm's, and torchvision's as torchvision/NAME."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from trainables.contract import WeightFile
from trainables.engine.classifiers.mnist_cnn import MnistCNN
from trainables.engine.classifiers.resnet20 import ResNet20
from trainables.engine.images.data import Statistics
from trainables.engine.pretrained import check_loaded, fitting, load_backbone
from trainables.weights import required

_OWN: dict[str, type[ResNet20 | MnistCNN]] = {"resnet20": ResNet20, "mnist_cnn": MnistCNN}
_TORCHVISION = "torchvision/"
# Auxiliary outputs in training, or a convolution as the last layer: the head cannot be replaced.
_UNFIT = {"googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1"}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Classifier:
    """A model and what the engine must know of it.

    Attributes:
        head: The new last layer, inside `model`; the rest is the backbone.
        statistics: Of the images its weights were trained on; None for random weights.
    """

    model: nn.Module
    head: nn.Module
    statistics: Statistics | None = None


def build_classifier(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    weights: str = "none",
    resolution: int,
    drop_rate: float = 0.0,
) -> Classifier:
    """The named model with a new head, on the CPU.

    Args:
        in_channels: 1 or 3; pretrained first layers are summed over colours for 1.
        weights: "none", "hub" or "file:PATH", whose file must be on this machine.
        resolution: Side in pixels of the images to score; models with position embeddings start there.

    Raises:
        ValueError: No such model; the message names the nearest.
        WeightsError: The file of weights is missing, damaged or another model's.
    """
    files = weight_files(name, weights)
    path = required(files[0]) if files else None
    with fitting(path or Path(), name) if path else nullcontext():
        built = _built(name, num_classes, in_channels, path, weights == "hub", resolution, drop_rate)
        if path and weights != "hub":
            check_loaded(built.model, built.head, path)
    return built


def _built(
    name: str,
    num_classes: int,
    in_channels: int,
    path: Path | None,
    is_of_hub: bool,
    resolution: int,
    drop_rate: float,
) -> Classifier:
    if name in _OWN:
        model = _OWN[name](num_classes, in_channels, drop_rate)
        if path:
            load_backbone(model, path, head="head", first_conv="stem.0")
        return Classifier(model, model.head)
    if name.startswith(_TORCHVISION):
        own_name = name.removeprefix(_TORCHVISION)
        return _from_torchvision(own_name, num_classes, in_channels, path, is_of_hub, drop_rate)
    return _from_timm(name, num_classes, in_channels, path, resolution, drop_rate)


def check_model_name(name: str) -> None:
    """Raise ValueError, with the nearest names, if there is no such model."""
    if name in _OWN or timm.is_model(name):
        return
    known = [_TORCHVISION + n for n in torchvision.models.list_models(torchvision.models) if n not in _UNFIT]
    if name in known:
        return
    near = difflib.get_close_matches(name, [*_OWN, *known, *timm.list_models()], n=5)
    raise ValueError(
        f"no model is named {name!r}; near are {', '.join(near) or 'none'} ({', '.join(_OWN)}, "
        f"timm's names, or torchvision/NAME)"
    )


def weight_files(name: str, weights: str) -> Sequence[WeightFile]:
    """The file that `build_classifier(name, weights=weights)` reads; none for random weights.

    Raises:
        ValueError: There is no such model, or its library has no weights for it.
    """
    check_model_name(name)
    if weights == "none":
        return ()
    if weights != "hub":
        return (WeightFile(source="file", location=weights.removeprefix("file:")),)
    if name.startswith(_TORCHVISION):
        default = torchvision.models.get_model_weights(name.removeprefix(_TORCHVISION)).DEFAULT
        size_mib = default.meta.get("_file_size")
        return (WeightFile(source="torchvision", location=default.url, size_mib=size_mib),)
    cfg = None if name in _OWN else timm.get_pretrained_cfg(name)
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        raise ValueError(f"no library has weights for {name}; set weights to none or file:PATH")
    if not cfg.hf_hub_id:
        return (WeightFile(source="url", location=str(cfg.url)),)
    first, *others = _hub_names(cfg.hf_hub_filename or "pytorch_model.bin")
    others = [f"{cfg.hf_hub_id}/{other}" for other in others]
    return (WeightFile(source="hub", location=f"{cfg.hf_hub_id}/{first}", alternatives=tuple(others)),)


def _hub_names(filename: str) -> list[str]:
    """A file's names in a repository, as timm tries them: safetensors before pickles."""
    safe = (
        "model.safetensors" if filename == "pytorch_model.bin" else filename.replace(".bin", ".safetensors")
    )
    if filename == "open_clip_pytorch_model.bin":
        safe = "open_clip_model.safetensors"
    return list(dict.fromkeys([safe, filename]))


def _from_timm(
    name: str, num_classes: int, in_channels: int, path: Path | None, resolution: int, drop_rate: float
) -> Classifier:
    cfg = timm.get_pretrained_cfg(name)
    fixed = cfg is not None and cfg.fixed_input_size
    sizes: dict[str, Any] = {"img_size": resolution, "dynamic_img_size": True} if fixed else {}
    model: Any = timm.create_model(
        name,
        pretrained=path is not None,
        # By its path: timm would ask the hub, which without a network takes 23 s to fail.
        pretrained_cfg_overlay={"file": str(path), "custom_load": path.suffix == ".npz"} if path else None,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=drop_rate,
        **sizes,
    )
    if path is None:
        return Classifier(model, model.get_classifier())
    statistics = _statistics(model.pretrained_cfg["mean"], model.pretrained_cfg["std"], in_channels)
    return Classifier(model, model.get_classifier(), statistics)


def _from_torchvision(
    name: str, num_classes: int, in_channels: int, path: Path | None, is_of_hub: bool, drop_rate: float
) -> Classifier:
    model = torchvision.models.get_model(name, weights="DEFAULT" if is_of_hub else None)
    for module in model.modules():
        if drop_rate and isinstance(module, nn.Dropout):
            module.p = drop_rate
    old_head_name, old_head = [item for item in model.named_modules() if isinstance(item[1], nn.Linear)][-1]
    head = nn.Linear(old_head.in_features, num_classes)
    model.set_submodule(old_head_name, head)
    if in_channels != 3:
        _change_input(model, in_channels)
    if path is None:
        return Classifier(model, head)
    if not is_of_hub:
        load_backbone(model, path, head=old_head_name, first_conv=_first_conv(model)[0])
    return Classifier(model, head, _statistics(*_IMAGENET, in_channels))


def _change_input(model: nn.Module, in_channels: int) -> None:
    """Replace the first convolution by one for grey images, its weights summed over the colours."""
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


def _statistics(mean: Sequence[float], std: Sequence[float], in_channels: int) -> Statistics:
    """Grey images get the mean over the colours."""
    if len(mean) == in_channels:
        return Statistics(tuple(mean), tuple(std))
    return Statistics((sum(mean) / len(mean),) * in_channels, (sum(std) / len(std),) * in_channels)
