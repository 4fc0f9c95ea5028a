"""Names of the detectors, and the files of their weights. Imports no torch."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from trainables.core.contract import WeightFile
from trainables.core.weights import own_file
from trainables.engine import choices

BoxAugmentName = Literal["none", "light", "strong", "crop"]
Resize = Literal["stretch", "keep_aspect"]
REPOSITORIES = {
    "rt_detr_r18": "PekingU/rtdetr_r18vd",
    "rt_detr_r50": "PekingU/rtdetr_r50vd",
    "rt_detr_r101": "PekingU/rtdetr_r101vd",
    "detr_r50": "facebook/detr-resnet-50",
    "d_fine_l": "ustc-community/dfine-large-coco",
}
# timm's classifiers, trained on ImageNet, that are these detectors' backbones, with file sizes in MiB. DETR
# was published with this very one, RT-DETR and D-FINE with a ResNet-D and an HGNetV2 like these.
BACKBONES: Mapping[str, tuple[str, float]] = {
    "rt_detr_r18": ("timm/resnet18d.ra2_in1k", 44.7),
    "rt_detr_r50": ("timm/resnet50d.ra2_in1k", 97.8),
    "rt_detr_r101": ("timm/resnet101d.ra2_in1k", 170.3),
    "detr_r50": ("timm/resnet50.tv_in1k", 97.7),
    "d_fine_l": ("timm/hgnetv2_b4.ssld_stage2_ft_in1k", 75.7),
}
TINY = ("rt_detr_tiny", "detr_tiny", "d_fine_tiny")
TORCHVISION = "torchvision/"
HUB = "hub/"
BACKBONE = "backbone"  # the value of `weights` for those of the backbone alone, trained on ImageNet
FILE = "file:"
_KINDS = f"{HUB}OWNER/NAME, {FILE}/path/config.json or {TORCHVISION}NAME"


def unknown_model_reason(name: str) -> str:
    """Return why there is no model of this name, with the closest ones; empty if there is or may be one.

    Libraries and hubs are not asked whether they have it.
    """
    is_of_hub = name.startswith(HUB) and name.count("/") == 2
    is_file = name.startswith(FILE) and Path(name.removeprefix(FILE)).expanduser().is_absolute()
    known = [*REPOSITORIES, *TINY]
    if name in known or is_of_hub or is_file or name.startswith(TORCHVISION):
        return ""
    near = difflib.get_close_matches(name, known, n=3) or known
    return f"no detector is named {name!r}; near are {', '.join(near)} (or {_KINDS})"


def config_file(name: str) -> WeightFile | None:
    """The file of the model's configuration; None if this program or torchvision has it."""
    if name.startswith(HUB):
        return WeightFile(source="hub", location=f"{name.removeprefix(HUB)}/config.json")
    if name.startswith(FILE):
        return WeightFile(source="file", location=name.removeprefix(FILE))
    return None


def weight_files(name: str, weights: str) -> tuple[WeightFile, ...]:
    """Return the files that `build_detector(name, weights=weights)` reads, the weights last.

    Raises:
        ValueError: There is no such model, or no hub has weights for it.
    """
    if reason := unknown_model_reason(name):
        raise ValueError(reason)
    config = config_file(name)
    files = (config,) if config else ()
    if weights == "none":
        return files
    if weights == BACKBONE:
        return (*files, _backbone_file(name))
    if weights != "hub":
        return (*files, own_file(weights, name))
    if name.startswith(TORCHVISION):
        return (_torchvision_file(name.removeprefix(TORCHVISION)),)
    repository = REPOSITORIES.get(name) or (name.removeprefix(HUB) if name.startswith(HUB) else None)
    if repository is None:
        raise ValueError(f"no hub has weights for {name}; set weights to none or file:PATH")
    last = WeightFile(
        source="hub",
        location=f"{repository}/model.safetensors",
        alternatives=(f"{repository}/pytorch_model.bin",),
    )
    return (*(files or (WeightFile(source="hub", location=f"{repository}/config.json"),)), last)


def is_weights(value: str) -> bool:
    """Whether a value is valid for `weights`."""
    return value == BACKBONE or choices.is_weights(value)


def _backbone_file(name: str) -> WeightFile:
    """The weights of the detector's backbone alone, from a classifier of ImageNet.

    Raises:
        ValueError: None are known for it.
    """
    if name.startswith(TORCHVISION):
        return _torchvision_backbone(name.removeprefix(TORCHVISION))
    if name not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise ValueError(f"no hub has weights for the backbone of {name}, but for those of {known}")
    repository, size_mib = BACKBONES[name]
    return WeightFile(source="hub", location=f"{repository}/model.safetensors", size_mib=size_mib)


def _torchvision_backbone(name: str) -> WeightFile:
    """The backbone weights that torchvision itself uses for a new detector of this name."""
    # Imported here, as spaces are checked without torch.
    from torchvision.models import get_model_builder

    check_torchvision_name(name)
    chosen: Any = inspect.signature(get_model_builder(name)).parameters["weights_backbone"].default
    # An SSDLite without COCO weights has half the channels at its end, which MobileNet's weights do not fit.
    if chosen is None or name.startswith("ssdlite"):
        raise ValueError(f"torchvision has no weights for the backbone of {name}; set weights to none or hub")
    return WeightFile(source="torchvision", location=chosen.url, size_mib=chosen.meta["_file_size"])


def _torchvision_file(name: str) -> WeightFile:
    # Imported here, as spaces are checked without torch.
    import torchvision

    check_torchvision_name(name)
    default = torchvision.models.get_model_weights(name).DEFAULT
    size_mib = default.meta.get("_file_size")
    return WeightFile(source="torchvision", location=default.url, size_mib=size_mib)


def check_torchvision_name(name: str) -> None:
    """Raise ValueError unless torchvision has this detector, and it detects boxes alone."""
    from torchvision.models import detection, list_models

    known = [known for known in list_models(detection) if not known.startswith(("mask", "keypoint"))]
    if name not in known:
        raise ValueError(f"torchvision has no detector {name!r}; there are {', '.join(known)}")
