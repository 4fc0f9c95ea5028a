"""Trained models without their training: loading them, predicting on images, exporting to other runtimes.

    model = load_model("results/lr_bs/promotion/trials/trial-0000/model")
    logits = model.module(model.transform("photo.jpg")[None])
    predict(model, ["photos/*.jpg"]).rows

Nothing of the search is imported here, and nothing in a model's folder is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainables.engine.inference import onnx_export
from trainables.engine.inference import predict as predicting
from trainables.engine.inference.model import LoadedModel, load_model
from trainables.engine.inference.onnx_export import OnnxExport
from trainables.engine.inference.predict import Predictions

__all__ = ["LoadedModel", "OnnxExport", "Predictions", "export_model", "load_model", "predict"]


def predict(
    model: LoadedModel | str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    device: str = "cpu",
    batch_size: int | None = None,
    threshold: float = 0.5,
    precision: str | None = None,
    trainable: str | Path | None = None,
) -> Predictions:
    """Predict on images: files, folders with everything below them, and patterns such as "photos/*.jpg".

    Args:
        model: A loaded model, or its folder; `trainable` is then as in `load_model`.
        batch_size: Images at a time; None means as many as the test scored at once.
        threshold: A detector's boxes with a lower score are left out.
        precision: "fp32", "bf16" or "fp16"; None means that of the test.

    Raises:
        ValueError: The model or the images cannot be used; the message says why.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model, trainable=trainable)
    named = [images] if isinstance(images, str | Path) else images
    return predicting.predict(
        loaded, named, device=device, batch_size=batch_size, threshold=threshold, precision=precision
    )


def export_model(
    model: LoadedModel | str | Path, *, onnx: str | Path, trainable: str | Path | None = None
) -> OnnxExport:
    """Write a model as an ONNX file if ONNX Runtime's outputs match PyTorch's to 1e-4 on 32 images.

    Raises:
        ValueError: The model cannot be used or exported; nothing is written then.
        ImportError: The extra `onnx` is not installed.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model, trainable=trainable)
    return onnx_export.export_onnx(loaded, Path(onnx).expanduser())
