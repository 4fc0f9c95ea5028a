"""Image classifiers by name: resnet20 and mnist_cnn, timm's, and torchvision's as torchvision/NAME."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torchvision
from timm.models import get_arch_pretrained_cfgs, get_deprecated_models, split_model_name_tag
from torch import Tensor, nn

from trainables.core.contract import WeightFile
from trainables.core.weights import own_file, required
from trainables.engine.classifiers.building import Build, Resolutions, joined, quietly_on, twin_of
from trainables.engine.classifiers.small_networks import MnistCNN, ResNet20
from trainables.engine.classifiers.timm_models import from_timm, timm_build
from trainables.engine.classifiers.torchvision_models import (
    from_torchvision,
    torchvision_build,
    trained_statistics,
)
from trainables.engine.images.data import Statistics
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing
from trainables.engine.pretrained import (
    check_loaded,
    fraction_found,
    load_backbone,
    load_in_order,
    reading_weights,
)
from trainables.engine.state_files import MIN_FRACTION, State, state_for

_OWN: dict[str, type[ResNet20 | MnistCNN]] = {"resnet20": ResNet20, "mnist_cnn": MnistCNN}
_TORCHVISION = "torchvision/"
_HUBS = ("hf-hub:", "hf_hub:", "local-dir:", "hub/")
_NO_PATHS = "has no paths that can be dropped"
_OTHER_SHAPE = "size mismatch"  # torch's words if weights have another shape than the model


@dataclass(frozen=True)
class Classifier:
    """A model and what the engine must know about it.

    Attributes:
        head: The new last layer, or all of them if there are several, inside `model`; the rest is the
            backbone.
        statistics: Statistics of the images its weights were trained on; None for random weights.
        resolutions: Resolutions of the images that it takes.
        notes: Choices made for it, with their reasons.
    """

    model: nn.Module
    head: nn.Module
    statistics: Statistics | None = None
    resolutions: Resolutions = field(default_factory=Resolutions)
    notes: Mapping[str, str] = field(default_factory=dict)


def build_classifier(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    weights: str = "none",
    resolution: int,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    aspect_ratio: float = 1.0,
) -> Classifier:
    """Build the named model with a new head, on the CPU.

    Args:
        num_classes: 0 means a backbone, for models of timm only; its head is empty.
        in_channels: 1 or 3; pretrained first layers are summed over colours for 1.
        weights: "none", "hub" or "file:PATH", whose file must be on this machine.
        resolution: Resolution of the images to score, in pixels. Models with a fixed resolution are built for
            this one, or for the nearest that they take.
        aspect_ratio: Width over height of the images.

    Raises:
        ValueError: No such model, or it cannot classify these images; the message says why.
        WeightsError: The file of weights is missing, damaged or another model's.
    """
    files = weight_files(name, weights)
    path = required(files[0]) if files else None
    wanted = _Wanted(
        name,
        num_classes,
        in_channels,
        path,
        weights == "hub",
        resolution,
        drop_rate,
        drop_path_rate,
        aspect_ratio,
    )
    if path is None:
        return _built(wanted)
    with reading_weights(path, name):
        return _built(wanted) if weights == "hub" else _from_file(wanted, path)


def _from_file(wanted: _Wanted, path: Path) -> Classifier:
    """Build a model with a user's weights, in order if they have another implementation's names.

    Raises:
        ValueError: The file is another model's.
        RuntimeError: So is the file, or shapes differ.
    """
    random = replace(wanted, path=None)
    found = state_for(path, twin_of(lambda: _built(random).model).state_dict())
    built, notes = _built(replace(wanted, state=found.tensors)), found.notes()
    if fraction_found(built.model, built.head, found.tensors) < MIN_FRACTION and (
        num_taken := load_in_order(built.model, built.head, found.tensors)
    ):
        text = f"the file has another implementation's names: its {num_taken} tensors, whose shapes are the "
        notes["weights"] = f"{text}model's, were taken in order"
    notes |= check_loaded(built.model, built.head, found.tensors)
    return replace(built, notes={**built.notes, **notes})


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `build_classifier`, and what was read for it."""

    name: str
    num_classes: int
    in_channels: int
    path: Path | None
    is_of_hub: bool
    resolution: int
    drop_rate: float
    drop_path_rate: float
    aspect_ratio: float
    state: State | None = None  # of a user's file


def _built(wanted: _Wanted) -> Classifier:
    """Build the model by the library that its name belongs to."""
    if wanted.name in _OWN:
        model = _OWN[wanted.name](wanted.num_classes, wanted.in_channels, wanted.drop_rate)
        if wanted.state:
            load_backbone(model, wanted.state, heads=["head"], first_conv="stem.0")
        notes = {"no effect of drop_path_rate": f"{wanted.name} {_NO_PATHS}"} if wanted.drop_path_rate else {}
        return Classifier(model, model.head, notes=notes)
    if wanted.name.startswith(_TORCHVISION):
        return _of_torchvision(wanted)
    return _of_timm(wanted)


def _of_torchvision(wanted: _Wanted) -> Classifier:
    """Build a classifier of torchvision, for its own resolution if its weights fit no other."""
    name = wanted.name.removeprefix(_TORCHVISION)
    shape = (wanted.num_classes, wanted.in_channels)
    about: dict[str, Any] = {"num_classes": wanted.num_classes, "in_channels": wanted.in_channels}
    about |= {"drop_rate": wanted.drop_rate, "state": wanted.state, "is_of_hub": wanted.is_of_hub}
    build = torchvision_build(name, *shape, wanted.resolution, wanted.drop_rate, wanted.is_of_hub)
    try:
        model = from_torchvision(name, build, **about)
    except RuntimeError as error:
        if wanted.state is None or _OTHER_SHAPE not in str(error):
            raise
        build = torchvision_build(name, *shape, wanted.resolution, wanted.drop_rate, True)
        model = from_torchvision(name, build, **about)
    return _classifier(model, build, wanted, trained_statistics(model))


def _of_timm(wanted: _Wanted) -> Classifier:
    """Build a classifier of timm.

    Two failures are retried: a model that takes only colours gets grey images three times, and one whose
    weights fit only their own resolution is built for that.
    """
    shape = (wanted.num_classes, wanted.in_channels)
    options = (wanted.drop_rate, wanted.aspect_ratio, wanted.drop_path_rate)
    try:
        build = timm_build(wanted.name, *shape, wanted.resolution, *options)
    except ValueError:
        if wanted.in_channels != 1:
            raise
        return _in_colour(_of_timm(replace(wanted, in_channels=3)))
    try:
        model = from_timm(wanted.name, build, wanted.path, wanted.state)
    except RuntimeError as error:
        if wanted.path is None or _OTHER_SHAPE not in str(error):
            raise
        build = timm_build(wanted.name, *shape, None, *options)  # weights of one resolution fit no other
        model = from_timm(wanted.name, build, wanted.path, wanted.state)
    return _classifier(model, build, wanted, (model.pretrained_cfg["mean"], model.pretrained_cfg["std"]))


def _in_colour(built: Classifier) -> Classifier:
    """A model that takes only colours, given grey images three times; its parameters keep their names."""
    built.model.register_forward_pre_hook(_thrice)
    note = {"channels": "the model takes only colour images: each grey one is used for all three channels"}
    of_grey = built.statistics and _statistics(built.statistics.mean, built.statistics.std, 1)
    return replace(built, statistics=of_grey, notes={**built.notes, **note})


def _thrice(model: nn.Module, images: tuple[Tensor]) -> tuple[Tensor]:
    """Grey images (batch, 1, height, width) as all three colours, without a copy."""
    return (images[0].expand(-1, 3, -1, -1),)


def _classifier(
    model: nn.Module, build: Build, wanted: _Wanted, trained_on: tuple[Sequence[float], Sequence[float]]
) -> Classifier:
    """A built model with its head, the statistics of its weights' images, and notes."""
    notes = {}
    if wanted.drop_rate and not build.has_dropout:
        notes["no effect of drop_rate"] = f"{wanted.name} has no dropout layer"
    if wanted.drop_path_rate and not build.options.get("drop_path_rate"):
        notes["no effect of drop_path_rate"] = f"{wanted.name} {_NO_PATHS}"
    statistics = _statistics(*trained_on, wanted.in_channels) if wanted.path else None
    return Classifier(model, joined(model, build.head), statistics, build.resolutions, notes)


def framing_of(name: str, weights: str) -> Framing:
    """How the images that a model's weights come from were framed; the whole middle for random weights."""
    if weights == "none" or name in _OWN:
        return WHOLE_MIDDLE
    check_model_name(name)
    if name.startswith(_TORCHVISION):
        seen = torchvision.models.get_model_weights(name.removeprefix(_TORCHVISION)).DEFAULT.transforms()
        return Framing(seen.crop_size[0] / seen.resize_size[0], seen.interpolation.value)
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None:
        return WHOLE_MIDDLE
    return Framing(cfg.crop_pct, cfg.interpolation, is_squashed=cfg.crop_mode == "squash")


def check_model_name(name: str) -> None:
    """Raise ValueError, with the nearest names, if there is no such model or its weights have no such tag."""
    if timm.is_model(name):
        _check_timm_name(name)
        return
    known = [_TORCHVISION + model for model in torchvision.models.list_models(torchvision.models)]
    if name in (*_OWN, *known):
        return
    last = name.rpartition("/")[2].rpartition(":")[2]
    if timm.is_model(last):
        raise ValueError(f"no model is named {name!r}; if timm's is meant, write {last}")
    if name.startswith(_HUBS):
        raise ValueError(
            f"no model is named {name!r}: write timm's name of its architecture, and its file as weights: "
            "file:/PATH"
        )
    plain = name.lower().replace("-", "_").replace("torchvision.models.", _TORCHVISION)
    if (torchvisions := _TORCHVISION + plain) in known and not timm.is_model(plain):
        raise ValueError(f"no model is named {name!r}; if torchvision's is meant, write {torchvisions}")
    near = difflib.get_close_matches(plain, [*_OWN, *known, *timm.list_models()], n=5)
    raise ValueError(
        f"no model is named {name!r}; near are {', '.join(near) or 'none'} ({', '.join(_OWN)}, "
        f"timm's names, or torchvision/NAME)"
    )


def _check_timm_name(name: str) -> None:
    """Raise ValueError if timm has renamed or removed a model, or has no weights of this tag."""
    architecture, tag = split_model_name_tag(name)
    renamed = get_deprecated_models()
    if architecture in renamed:
        now = renamed[architecture]
        raise ValueError(f"timm has {f'renamed {name} to {now}: write that' if now else f'removed {name}'}")
    tags = [split_model_name_tag(known)[1] for known in get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in tags:
        listed = ", ".join(filter(None, tags)) or "none"
        raise ValueError(f"timm's {architecture} has no weights with the tag {tag!r}; it has {listed}")


def weight_files(name: str, weights: str) -> Sequence[WeightFile]:
    """The file that `build_classifier(name, weights=weights)` reads; none for random weights.

    Raises:
        ValueError: There is no such model, or its library has no weights for it.
    """
    check_model_name(name)
    if weights == "none":
        return ()
    if weights != "hub":
        return (own_file(weights, name),)
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
    return (
        WeightFile(
            source="hub",
            location=f"{cfg.hf_hub_id}/{first}",
            alternatives=tuple(others),
            size_mib=_size_mib(name),
        ),
    )


@lru_cache(maxsize=256)
def _size_mib(name: str) -> float:
    """Size of a model's weights in fp32, as nearly all are stored: 45 MiB for resnet18, found in 30 ms."""
    with quietly_on("meta"):
        model = timm.create_model(name)
    tensors = itertools.chain(model.parameters(), model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def weights_origin(name: str, weights: str) -> dict[str, str | None]:
    """The weights that a model's training started from, and their licence if their library states it.

    For a file it is only the name: models are shared, and the path is private.
    """
    if weights.startswith("file:"):
        return {"weights": f"file:{Path(weights.removeprefix('file:')).name}", "licence": None}
    is_of_timm = weights == "hub" and name not in _OWN and not name.startswith(_TORCHVISION)
    cfg = timm.get_pretrained_cfg(name) if is_of_timm else None
    return {"weights": weights, "licence": None if cfg is None else cfg.license}


def _hub_names(filename: str) -> list[str]:
    """A file's names in a repository, as timm tries them: safetensors before pickles."""
    safe = (
        "model.safetensors" if filename == "pytorch_model.bin" else filename.replace(".bin", ".safetensors")
    )
    if filename == "open_clip_pytorch_model.bin":
        safe = "open_clip_model.safetensors"
    return list(dict.fromkeys([safe, filename]))


def _statistics(mean: Sequence[float], std: Sequence[float], in_channels: int) -> Statistics:
    """Statistics for `in_channels`: grey images get the mean over the colours."""
    if len(mean) == in_channels:
        return Statistics(tuple(mean), tuple(std))
    return Statistics((sum(mean) / len(mean),) * in_channels, (sum(std) / len(std),) * in_channels)
