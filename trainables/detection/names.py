"""Which detectors there are, and the files of their weights. No torch here."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from trainables.core.contract import WeightFile
from trainables.core.weights import own_file

BoxAugmentName = Literal["none", "light", "strong", "crop"]
Resize = Literal["stretch", "keep_aspect"]
REPOSITORIES = {
    "rt_detr_r18": "PekingU/rtdetr_r18vd",
    "rt_detr_r50": "PekingU/rtdetr_r50vd",
    "rt_detr_r101": "PekingU/rtdetr_r101vd",
    "detr_r50": "facebook/detr-resnet-50",
    "d_fine_l": "ustc-community/dfine-large-coco",
}
TINY = ("rt_detr_tiny", "detr_tiny", "d_fine_tiny")
TORCHVISION = "torchvision/"
HUB = "hub/"
FILE = "file:"
_KINDS = f"{HUB}OWNER/NAME, {FILE}/path/config.json or {TORCHVISION}NAME"


def unknown_model_reason(name: str) -> str:
    """Why there is no model of this name, with the nearest ones; empty where there is, or may be.

    Whether a library or a hub has it is not asked.
    """
    is_of_hub = name.startswith(HUB) and name.count("/") == 2
    is_file = name.startswith(FILE) and Path(name.removeprefix(FILE)).expanduser().is_absolute()
    known = [*REPOSITORIES, *TINY]
    if name in known or is_of_hub or is_file or name.startswith(TORCHVISION):
        return ""
    near = difflib.get_close_matches(name, known, n=3) or known
    return f"no detector is named {name!r}; near are {', '.join(near)} (or {_KINDS})"


def config_file(name: str) -> WeightFile | None:
    """The file that says how the model is built; None where the program or torchvision knows."""
    if name.startswith(HUB):
        return WeightFile(source="hub", location=f"{name.removeprefix(HUB)}/config.json")
    if name.startswith(FILE):
        return WeightFile(source="file", location=name.removeprefix(FILE))
    return None


def weight_files(name: str, weights: str) -> tuple[WeightFile, ...]:
    """The files that `build_detector(name, weights=weights)` reads, those of weights last.

    Raises:
        ValueError: There is no such model, or no hub has weights for it.
    """
    if reason := unknown_model_reason(name):
        raise ValueError(reason)
    config = config_file(name)
    files = (config,) if config else ()
    if weights == "none":
        return files
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


def _torchvision_file(name: str) -> WeightFile:
    # Here, as spaces are checked without torch.
    import torchvision

    check_torchvision_name(name)
    default = torchvision.models.get_model_weights(name).DEFAULT
    size_mib = default.meta.get("_file_size")
    return WeightFile(source="torchvision", location=default.url, size_mib=size_mib)


def check_torchvision_name(name: str) -> None:
    """Raise ValueError if torchvision has no such detector of boxes alone."""
    from torchvision.models import detection, list_models

    known = [known for known in list_models(detection) if not known.startswith(("mask", "keypoint"))]
    if name not in known:
        raise ValueError(f"torchvision has no detector {name!r}; there are {', '.join(known)}")
