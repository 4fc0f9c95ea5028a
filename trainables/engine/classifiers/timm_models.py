"""Classifiers of timm, for images of any resolution that they take."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm

from trainables.engine.classifiers.building import Build, Builder, Options, quietly_on
from trainables.engine.pretrained import without_heads
from trainables.engine.state_files import State

_USUAL_RESOLUTION = 224


def timm_options(resolution: int) -> list[Options]:
    """Keyword arguments that give a model of timm its resolution, the most flexible first."""
    return [
        {"img_size": resolution, "dynamic_img_size": True},  # ViT and its kin: any resolution from then on
        {"img_size": resolution, "strict_img_size": False},  # Swin and its kin
        {"img_size": resolution},  # this one and no other
        {},
    ]


def own_resolution(name: str) -> int | None:
    """The image resolution that a model was published for."""
    cfg = timm.get_pretrained_cfg(name)
    return None if cfg is None else int(cfg.input_size[-1])


@lru_cache(maxsize=128)
def timm_build(
    name: str,
    num_classes: int,
    in_channels: int,
    resolution: int | None,
    drop_rate: float,
    aspect_ratio: float = 1.0,
    drop_path_rate: float = 0.0,
) -> Build:
    """How timm builds the named classifier for images of this resolution, or the nearest that it takes.

    Args:
        num_classes: 0 means a backbone, whose output does not matter.
        resolution: None means the resolution that it was published for, and none is passed to the model.

    Raises:
        ValueError: The model is no classifier of such images; the message says why.
    """
    usual: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels, "drop_rate": drop_rate}
    if not _takes(name, usual, "drop_rate"):
        del usual["drop_rate"]
    if drop_path_rate and _takes(name, {**usual, "drop_path_rate": drop_path_rate}, "drop_path_rate"):
        usual["drop_path_rate"] = drop_path_rate
    builder = Builder(
        lambda **options: timm.create_model(name, **{**usual, **options}),
        size_options=timm_options if resolution else lambda near: [{}],
        num_classes=num_classes,
        in_channels=in_channels,
        own=own_resolution(name),
        drop_rate=drop_rate,
        aspect_ratio=aspect_ratio,
    )
    try:
        build = builder.build(resolution or own_resolution(name) or _USUAL_RESOLUTION)
    except ValueError as error:
        channels = f"images of {in_channels} channels"
        raise ValueError(f"{name} of timm cannot classify {channels}: {error}") from error
    return replace(build, options={**usual, **build.options})


def from_timm(name: str, build: Build, path: Path | None, state: State | None = None) -> Any:
    """Build the model as `build` says, on the CPU, with the weights of a file if there is one.

    Args:
        state: What was read from a user's file; None for a file of timm's own.

    Raises:
        RuntimeError: Shapes differ: the file is another model's, or cannot be adapted to another resolution.
    """
    if path is None:
        return timm.create_model(name, **build.options)
    return timm_model_with(path, state and without_heads(state, build.head), model_name=name, **build.options)


def timm_model_with(path: Path, state: State | None, **options: Any) -> Any:
    """Create a model of timm with weights, which timm adapts to the model's resolution and channels.

    Args:
        path: The file, for timm to read: it would ask the hub, which without a network takes 23 s to fail.
        state: The tensors to take instead of reading the file, except from a NumPy file.
    """
    overlay: dict[str, Any] = {"file": str(path), "custom_load": path.suffix == ".npz"}
    if state is not None and path.suffix != ".npz":
        # With another number of classes than in its configuration, timm leaves out the head and takes no
        # offence at names that the model lacks.
        overlay = {"state_dict": dict(state), "num_classes": -1}
    try:
        model: Any = timm.create_model(pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except AttributeError as error:
        raise ValueError(f"timm reads no NumPy file into this model ({error})") from error
    model.pretrained_cfg.pop("state_dict", None)  # a second copy of all weights
    return model


def _takes(name: str, options: Options, option: str) -> bool:
    """Whether the model accepts `option`, one of `options`, as nearly all accept `drop_rate`."""
    try:
        with quietly_on("meta"):
            timm.create_model(name, **options)
    except TypeError as error:
        return f"'{option}'" not in str(error)
    except Exception:  # `Builder.build` reports why
        return True
    return True
