"""Writing weights to a safetensors file, and loading them into a module."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from trainables.core.files import GIT_LFS_POINTER
from trainables.core.model_folder import UnusableModel, WeightsFormat

_LISTED = 5


def write_weights(
    path: Path, weights: Mapping[str, Tensor], weights_format: WeightsFormat
) -> tuple[str, int]:
    """Write `weights`; return the file's SHA-256 and the number of values in it.

    In fp16 a tensor with a value out of range (over 65,504: some running variances of BatchNorm) stays fp32.
    Tensors that share memory are each written in full: safetensors does not support sharing, and a head that
    is tied in four places is small beside its backbone.
    """
    kept = {name: _stored(value, weights_format) for name, value in weights.items()}
    content = save(kept, metadata={"format": "pt"})
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest(), sum(value.numel() for value in kept.values())


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a file whose digest is `sha256`, floats as fp32, on the CPU.

    Raises:
        UnusableModel: The file is missing, damaged or another model's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableModel(f"{path} cannot be read: {error.strerror}") from error
    if content.startswith(GIT_LFS_POINTER):
        raise UnusableModel(f"{path} is a pointer of Git LFS; fetch the weights with `git lfs pull`")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UnusableModel(
            f"{path} is not the file that model.json was written for (SHA-256): it is damaged, or another "
            "model's; copy both files again"
        )
    try:
        weights = load(content)
    except SafetensorError as error:
        raise UnusableModel(f"{path} is not a safetensors file: {error}") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def load_exactly(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load `weights` into `module`, in place.

    Raises:
        UnusableModel: A tensor is missing, left over or of another shape: the folder is from another version
            of the model.
    """
    own = module.state_dict()
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{name} is not in the model" for name in weights if name not in own]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the model has {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        listed = "; ".join(problems[:_LISTED])
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise UnusableModel(f"the weights do not fit the model that model.json describes: {listed}{more}")
    module.load_state_dict(weights)


def in_format(weights: Mapping[str, Any], weights_format: WeightsFormat) -> dict[str, Any]:
    """The same mapping with its tensors, at any depth, as a file of `weights_format` has them."""
    return {
        name: in_format(value, weights_format)
        if isinstance(value, Mapping)
        else _stored(value, weights_format)
        for name, value in weights.items()
    }


def _stored(value: Tensor, weights_format: WeightsFormat) -> Tensor:
    """A tensor as its file has it: on the CPU, contiguous, in memory of its own."""
    value = value.detach().cpu()
    if weights_format == "fp16" and value.dtype == torch.float32:
        half = value.half()
        if bool((half.isfinite() | ~value.isfinite()).all()):
            value = half
    return value.contiguous().clone()
