"""Exporting a model as an ONNX file, compared with PyTorch before it is written."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.core.files import replacing
from trainables.core.model_folder import ModelCard, UnusableModel
from trainables.engine.inference.model import LoadedModel

TOLERANCE = 1e-4
NUM_CHECKED = 32  # images on which PyTorch and ONNX Runtime are compared
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_SEED = 0
_OUTPUTS = {
    "classification": ("logits",),
    "detection": ("boxes", "scores"),
    "quality": ("quality",),
    "features": ("features",),
}


class MissingPackages(ImportError):
    """Packages that the export needs are not installed; the message says how to install them."""


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """An ONNX file that was written.

    Attributes:
        difference: The largest difference between PyTorch's and ONNX Runtime's numbers over `num_checked`
            images, relative to the largest number if that is above 1.
    """

    path: Path
    difference: float
    num_checked: int
    num_bytes: int


def export_onnx(model: LoadedModel, path: Path, *, images: Tensor | None = None) -> OnnxExport:
    """Write `model` as ONNX, for any number of images, if ONNX Runtime's outputs match PyTorch's.

    The file takes `images` (batch, channels, height, width), float, scaled as `model.transform` does, and
    outputs what the module does: logits, boxes with scores, qualities or features. Classes and scaling are
    in its metadata.

    A module that is known not to be exportable says why in an attribute `no_onnx_reason`.

    Args:
        images: Images to compare the two on; None draws 32 with the values of scaled images.

    Raises:
        MissingPackages: The extra `onnx` is not installed.
        UnusableModel: The model cannot be exported, or the two differ by more than 1e-4; nothing is written
            then.
        OSError: The file cannot be written.
    """
    reason: str = getattr(model.module, "no_onnx_reason", "")
    if model.card.images.keeps_aspect:
        reason = "its images keep their proportions, and an ONNX file takes images of one size"
    if reason:
        raise UnusableModel(f"{model.card.model} cannot be written as ONNX: {reason}; {path} is not written")
    if path.is_dir():
        raise UnusableModel(f"{path} is a folder: name a file in it, such as {path / 'model.onnx'}")
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise MissingPackages(
            f"export-model needs {', '.join(missing)}: install the extra, `pip install -e '.[onnx]'`, or "
            f"`pip install {' '.join(_PACKAGES)}`"
        )
    images = _drawn(model.card) if images is None else images
    module = _Answers(model.module.cpu(), _OUTPUTS[model.card.kind]).eval()
    content = _exported(module, images[:2], model.card)
    difference = _compared(module, content, images)
    if not difference <= TOLERANCE:
        raise UnusableModel(
            f"ONNX Runtime's answers differ from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}, "
            f"over {len(images)} images: {path} is not written"
        )
    with replacing(path) as scratch:
        scratch.write_bytes(content)
    return OnnxExport(path=path, difference=difference, num_checked=len(images), num_bytes=len(content))


class _Answers(nn.Module):
    """A module that returns a tuple of tensors, as ONNX needs."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names = module, tuple(names)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        answer: Any = self.module(images)
        return tuple(answer[name] for name in self.names) if isinstance(answer, Mapping) else (answer,)


def _drawn(card: ModelCard) -> Tensor:
    """Draw images like scaled ones: uniform pixel values, scaled; the same at every call."""
    random = torch.Generator().manual_seed(_SEED)
    given = card.images
    pixels = torch.rand(NUM_CHECKED, given.channels, given.height, given.width, generator=random)
    mean, std = (torch.tensor(values)[:, None, None] for values in (given.mean, given.std))
    return (pixels - mean) / std


def _exported(module: _Answers, images: Tensor, card: ModelCard) -> bytes:
    """Export to the content of a file, by torch's exporter through torch.export.

    Raises:
        UnusableModel: The exporter cannot write some part of the model.
    """
    try:
        with _any_length(module), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=list(module.names),
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                custom_translation_table=_translations(),
                external_data=False,
                verbose=False,
            )
        _describe(program.model, card)
        content: bytes = program.model_proto.SerializeToString()
    except Exception as error:  # torch.export and the converter raise anything
        reason = " ".join(str(error).split())[:300]
        raise UnusableModel(
            f"{card.model} cannot be written as ONNX by torch {torch.__version__}: {reason}"
        ) from error
    return content


@contextlib.contextmanager
def _any_length(module: nn.Module) -> Iterator[None]:
    """Let transformers' code take the `len` of a tensor without fixing the number of images.

    RT-DETR and D-FINE do. Python's own gives a plain number, on which torch's first way to export gives up;
    the second one, which reads bytecode, takes several times as long: 50 to 110 s in all instead of 20.
    """
    names = {type(each).__module__ for each in module.modules()}
    files = [sys.modules[name] for name in names if name.startswith("transformers.")]
    for each in files:
        vars(each)["len"] = _length
    try:
        yield
    finally:
        for each in files:
            del vars(each)["len"]


def _length(values: Any) -> Any:
    """The number of values; for a tensor under export it may be a symbol."""
    return values.shape[0] if isinstance(values, Tensor) else len(values)


def _translations() -> dict[Any, Any]:
    """ONNX for what torch's exporter cannot translate: `_is_all_true`, which D-FINE calls on its shapes."""
    import onnxscript  # an extra that predicting does not need

    opset18: Any = onnxscript.opset18  # whose types are those of ONNX's own schemas

    def all_true(values: Any) -> Any:
        return opset18.Cast(opset18.ReduceMin(opset18.Cast(values, to=6), keepdims=0), to=9)  # int32 and back

    return {torch.ops.aten._is_all_true.default: all_true}


def _describe(model: Any, card: ModelCard) -> None:
    """Describe the file's input and output in its metadata."""
    meaning = {
        "jouletune.trainable": card.trainable,
        "jouletune.model": card.model,
        "jouletune.classes": "\n".join(card.classes),
        "jouletune.mean": " ".join(map(repr, card.images.mean)),
        "jouletune.std": " ".join(map(repr, card.images.std)),
    }
    model.metadata_props.update(meaning)


def _compared(module: _Answers, content: bytes, images: Tensor) -> float:
    """The largest difference between PyTorch's and ONNX Runtime's outputs."""
    import onnxruntime  # an extra, too

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": images.contiguous().numpy()})
    with torch.inference_mode():
        expected = [each.float().numpy() for each in module(images)]
    if module.names == _OUTPUTS["detection"]:
        return _largest_unmatched(np.concatenate(expected, axis=2), np.concatenate(found, axis=2))
    return max(_difference(one, other) for one, other in zip(expected, found, strict=True))


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference; infinite if shapes differ or a value is not finite.

    If values are above 1 it is relative to the largest: fp32 has 7 digits, and the logits of an overconfident
    classifier are in the hundreds.
    """
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    size = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return float(np.abs(expected - found).max(initial=0.0)) / size


def _largest_unmatched(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference between a detection and the nearest one of the other runtime.

    A detector sorts its candidates by score before it refines them: two that are equal to the last digit may
    swap places, which does not change what was found.

    Args:
        expected: Boxes and scores of each candidate, (images, candidates, 4 + classes); `found` likewise.
    """
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    largest = 0.0
    for one, other in zip(expected, found, strict=True):
        apart = np.abs(one[:, None] - other[None]).max(axis=2)  # (candidates, candidates)
        largest = max(largest, float(apart.min(axis=0).max()), float(apart.min(axis=1).max()))
    return largest
