"""Detectors by name, with random weights or weights from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForObjectDetection

from trainables.core.weights import required
from trainables.detection.backbones import is_of_backbone, load_backbone_weights
from trainables.detection.configs import config_of
from trainables.detection.names import (
    TORCHVISION,
    check_torchvision_name,
    config_file,
    weight_files,
)
from trainables.detection.networks import TorchvisionDetector, TransformersDetector
from trainables.engine.classifiers.building import twin_of
from trainables.engine.images.data import Statistics
from trainables.engine.pretrained import check_loaded, reading_weights
from trainables.engine.state_files import largest_state, state_for

_AUTO: Any = AutoModelForObjectDetection
_AS_THEY_ARE = Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FAMILIES = {  # with the statistics by which their recipes scale images
    "rt_detr": _AS_THEY_ARE,
    "rt_detr_v2": _AS_THEY_ARE,
    "d_fine": _AS_THEY_ARE,
    "detr": _IMAGENET,
}


@dataclass(frozen=True)
class Detector:
    """A model and what the engine must know about it.

    Attributes:
        head: Everything but the backbone.
        statistics: Mean and deviation by which its images are scaled.
        notes: Which layers are new although weights were given.
    """

    model: nn.Module
    head: nn.Module
    statistics: Statistics
    notes: Mapping[str, str] = field(default_factory=dict)


def build_detector(name: str, *, num_classes: int, weights: str = "none") -> Detector:
    """Build the named model for `num_classes` classes, on the CPU.

    Weights for other classes are used except in layers whose shape depends on the classes. A model with
    random weights is trained as a whole, including BatchNorm, which the library would freeze.

    Args:
        weights: "none", "hub", "backbone" or "file:PATH"; the files must be on this machine.

    Raises:
        ValueError: There is no such model; the message names the closest.
        WeightsError: A file is missing, damaged or for another model.
    """
    files = [required(file) for file in weight_files(name, weights)]
    path = files[-1] if weights != "none" else None
    with reading_weights(path, name) if path else nullcontext():
        if name.startswith(TORCHVISION):
            return _from_torchvision(name.removeprefix(TORCHVISION), num_classes, path, weights == "hub")
        return _from_transformers(name, num_classes, path)


def _from_transformers(name: str, num_classes: int, path: Path | None) -> Detector:
    """Build a model of the DETR kind with new layers for the classes.

    Raises:
        ValueError: Its kind is not one whose losses are known here.
        WeightsError: The file has fewer than half of its matrices.
    """
    state = largest_state(path) if path else {}
    backbone_file = path if path and not _is_of_detector(path) and is_of_backbone(state) else None
    path = None if backbone_file else path
    config = _config(name, path)
    if config.model_type not in FAMILIES:
        raise ValueError(f"{name} is of the kind {config.model_type}; supported are {', '.join(FAMILIES)}")
    config.num_labels, config.auxiliary_loss = num_classes, True
    notes: dict[str, str] = {}
    if backbone_file:
        # The stem, the first stage and all norms stay frozen, as in the library and the papers.
        detector = _AUTO.from_config(config)
        loaded = load_backbone_weights(detector.model.backbone.model, state)
        notes["weights"] = loaded.note(backbone_file)
    elif path is None:
        detector = _AUTO.from_config(config)
        detector.model.unfreeze_backbone()
        thaw_norms(detector)
    else:
        twin: Any = twin_of(lambda: _AUTO.from_config(config))
        found = state_for(path, twin.state_dict())
        detector, info = type(twin).from_pretrained(
            None,
            config=config,
            state_dict=dict(found.tensors),
            dtype=torch.float32,  # else that of the file
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        if told := [*found.notes().values(), *_new_layers(info).values()]:
            notes["weights"] = "; ".join(told)
    model = TransformersDetector(detector)
    head = nn.ModuleList([*_but(detector.model, detector.model.backbone), *_but(detector, detector.model)])
    if path:
        check_loaded(model, nn.ModuleList(_of_classes(detector, num_classes)), state)
    return Detector(model, head, FAMILIES[config.model_type], notes)


def _is_of_detector(path: Path) -> bool:
    """Whether a configuration beside the file declares a whole detector of a kind known here."""
    config = path.parent / "config.json"
    return config.is_file() and AutoConfig.from_pretrained(config).model_type in FAMILIES


def _new_layers(info: Mapping[str, Any]) -> dict[str, str]:
    """Note the layers that weights for other classes, or with fewer layers, do not provide."""
    mismatched = [key if isinstance(key, str) else key[0] for key in info.get("mismatched_keys", ())]
    new = sorted({name.rpartition(".")[0] for name in (*info.get("missing_keys", ()), *mismatched)})
    if not new:
        return {}
    more = f" and {len(new) - 4} more" if len(new) > 4 else ""
    return {"weights": f"new, with random values, are {', '.join(new[:4])}{more}"}


def _config(name: str, path: Path | None) -> Any:
    """Return the model's configuration: the file that its name means, the one beside the weights, or ours."""
    if file := config_file(name):
        return AutoConfig.from_pretrained(required(file))
    if path and (path.parent / "config.json").is_file():
        return AutoConfig.from_pretrained(path.parent)
    return config_of(name)


def thaw_norms(detector: nn.Module, is_chosen: Callable[[str], bool] = lambda name: True) -> None:
    """Replace the frozen norms with chosen names by norms that are trained.

    The statistics of a random model, 0 and 1, normalise nothing.
    """
    frozen = [
        item for item in detector.named_modules() if type(item[1]).__name__.endswith("FrozenBatchNorm2d")
    ]
    for name, norm in filter(lambda item: is_chosen(item[0]), frozen):
        channels: Tensor = norm.get_buffer("weight")
        detector.set_submodule(name, nn.BatchNorm2d(len(channels)))


def _but(parent: nn.Module, child: nn.Module) -> Iterator[nn.Module]:
    """The children of a module except one."""
    return (module for module in parent.children() if module is not child)


def _of_classes(detector: nn.Module, num_classes: int) -> Iterator[nn.Module]:
    """Layers whose shape depends on the number of classes; DETR has one more class, for no object."""
    sizes = {num_classes, num_classes + 1}
    for module in detector.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear | nn.Embedding) and weight is not None and len(weight) in sizes:
            yield module


def _from_torchvision(name: str, num_classes: int, path: Path | None, is_of_hub: bool) -> Detector:
    """Build a torchvision detector, which has the background as a further class."""
    check_torchvision_name(name)
    detector: Any = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes + 1
    )
    state = state_for(path, detector.state_dict()).tensors if path else {}
    if path and not is_of_hub and is_of_backbone(state):
        # An SSD has no `body`: its pyramid is built on the last of the backbone's own layers.
        inner = detector.backbone.body if hasattr(detector.backbone, "body") else detector.backbone.features
        loaded = load_backbone_weights(inner, state)
        head = nn.ModuleList(_but(detector, detector.backbone))
        return Detector(TorchvisionDetector(detector), head, _AS_THEY_ARE, {"weights": loaded.note(path)})
    if path:
        trained: Any = torchvision.models.get_model(name, weights="DEFAULT") if is_of_hub else None
        if trained:
            detector.backbone = trained.backbone  # with frozen norms
        own = detector.state_dict()
        known = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
        detector.load_state_dict(known, strict=False)
        check_loaded(detector, nn.ModuleList(), state)
    head = nn.ModuleList(_but(detector, detector.backbone))
    return Detector(TorchvisionDetector(detector), head, _AS_THEY_ARE)  # it scales images itself
