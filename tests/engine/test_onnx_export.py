"""An ONNX file answers as the model does, or is not written."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import jouletune
from search.cli import main
from tests.support.box_annotations import annotation, coco_file
from tests.support.trained_models import Trained, photo_folder, trained_model
from trainables.core.model_folder import ImageInput, ModelCard, UnusableModel
from trainables.detection.inference import AnchorDetector
from trainables.engine.inference import onnx_export
from trainables.engine.inference.model import LoadedModel
from trainables.engine.inference.onnx_export import MissingPackages, OnnxExport, export_onnx
from trainables.engine.inference.preprocess import Preprocess

MISSING = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: run make setup, whose lock has the extra onnx"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos") / "photos", per_class=20)


def classifier(photos: Path, folder: Path, model: str = "resnet20") -> Trained:
    hparams = {"model": model, "batch_size": 4}
    return trained_model(folder, "classification", hparams, {"imagefolder": photos}, resolution=32)


def answers_of(file: Path, images: torch.Tensor) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"images": images.numpy()}))


@needs_onnx
@pytest.mark.parametrize("model", ["resnet20", "test_vit"])
def test_a_classifier_answers_32_photographs_in_onnx_as_in_pytorch(
    model: str, photos: Path, tmp_path: Path
) -> None:
    done = classifier(photos, tmp_path, model)
    loaded = jouletune.load_model(done.model)
    written = jouletune.export_model(loaded, onnx=tmp_path / "m.onnx")
    assert written.difference <= 1e-4
    assert written.num_checked == 32
    assert written.num_bytes == (tmp_path / "m.onnx").stat().st_size
    paths = sorted(photos.rglob("*.*"))[:32]
    images = torch.stack([loaded.transform(path) for path in paths])
    (logits,) = answers_of(tmp_path / "m.onnx", images)
    with torch.inference_mode():
        expected = loaded.module(images)
    assert len(logits) == 32
    size = max(1.0, float(expected.abs().max()))
    assert torch.allclose(torch.from_numpy(logits) / size, expected / size, atol=1e-4)
    assert torch.allclose(torch.from_numpy(logits).softmax(1), expected.softmax(1), atol=1e-4)
    (one,) = answers_of(tmp_path / "m.onnx", images[:1])  # any number of images
    assert torch.allclose(torch.from_numpy(one) / size, expected[:1] / size, atol=1e-4)


@needs_onnx
@pytest.mark.parametrize(
    "model",
    [
        "detr_tiny",
        pytest.param("rt_detr_tiny", marks=pytest.mark.slow),
        pytest.param("d_fine_tiny", marks=pytest.mark.slow),
    ],
)
def test_a_detector_finds_the_same_boxes_in_32_images(model: str, tmp_path: Path) -> None:
    boxes = [annotation(10 + number, 3, (10 + number, 5, 40, 30)) for number in range(32)]
    file = coco_file(tmp_path / "data" / "boxes.json", boxes, num_images=32)
    hparams = {"model": model, "batch_size": 4, "lr": 1e-3}
    done = trained_model(tmp_path, "detection", hparams, {"coco": file}, resolution=64)
    loaded = jouletune.load_model(done.model)
    images = torch.stack([loaded.transform(path) for path in sorted(file.parent.glob("*.png"))])
    written = export_onnx(loaded, tmp_path / "m.onnx", images=images)
    assert written.num_checked == 32
    assert written.difference <= 1e-4
    found = answers_of(tmp_path / "m.onnx", images[:3])
    assert [each.shape for each in found] == [(3, 20, 4), (3, 20, 3)]


def test_detectors_without_a_way_to_onnx_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither packages are asked for nor images drawn: the reason is known."""
    monkeypatch.setattr(onnx_export, "_PACKAGES", ("no_such_package",))
    images = ImageInput(
        channels=3, height=64, width=64, mean=(0.0,) * 3, std=(1.0,) * 3, decoded_px=64, is_squashed=True
    )
    kept = replace(images, keeps_aspect=True)
    for module, given, reason in (
        (AnchorDetector(nn.Identity(), 2), images, "choose their boxes image by image"),
        (nn.Identity(), kept, "its images keep their proportions"),
    ):
        card = ModelCard(trainable="detection", kind="detection", model="odd", build={}, images=given)
        model = LoadedModel(module, Preprocess(given), card, tmp_path)
        with pytest.raises(UnusableModel, match=f"odd cannot be written as ONNX: .*{reason}"):
            export_onnx(model, tmp_path / "odd.onnx")
    assert not (tmp_path / "odd.onnx").exists()


@needs_onnx
@pytest.mark.slow
def test_qualities_and_features_are_exported_too(tmp_path: Path) -> None:
    quality = {"model": "test_resnet", "width": 56, "train_patches": 1, "score_grid": 2, "batch_size": 16}
    done = trained_model(tmp_path / "q", "image_quality", quality, "photographs", resolution=48)
    assert jouletune.export_model(done.model, onnx=tmp_path / "q.onnx").difference <= 1e-4
    done = trained_model(
        tmp_path / "p", "person_reid", {"model": "test_resnet", "batch_size": 16}, "persons", resolution=64
    )
    assert jouletune.export_model(done.model, onnx=tmp_path / "p.onnx").difference <= 1e-4


@needs_onnx
def test_an_answer_that_differs_is_not_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = trained_model(
        tmp_path, "classification", {"batch_size": 4}, {"imagefolder": photos}, resolution=32
    )
    loaded = jouletune.load_model(done.model)
    monkeypatch.setattr(onnx_export, "_compared", lambda *_: 2e-4)
    with pytest.raises(
        UnusableModel, match=r"differ from PyTorch's by 0.0002, more than 0.0001, over 32 images"
    ):
        export_onnx(loaded, tmp_path / "m.onnx")
    monkeypatch.setattr(onnx_export, "_exported", lambda *_: b"as before")
    monkeypatch.setattr(onnx_export, "_compared", lambda *_: float("nan"))
    with pytest.raises(UnusableModel, match=r"differ from PyTorch's by nan"):
        export_onnx(loaded, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


@needs_onnx
def test_what_the_exporter_cannot_write_is_said_in_a_line(tmp_path: Path, photos: Path) -> None:
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((1, 2, 3)) if images.sum() > 0 else images.amax((1, 2, 3))

    done = trained_model(
        tmp_path, "classification", {"batch_size": 4}, {"imagefolder": photos}, resolution=32
    )
    loaded = jouletune.load_model(done.model)
    odd = type(loaded)(Odd(), loaded.transform, loaded.card, loaded.folder)
    with pytest.raises(UnusableModel, match=r"resnet20 cannot be written as ONNX by torch") as caught:
        export_onnx(odd, tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


def test_without_the_extra_the_message_says_what_to_install(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = trained_model(
        tmp_path, "classification", {"batch_size": 4}, {"imagefolder": photos}, resolution=32
    )
    monkeypatch.setattr(onnx_export, "_PACKAGES", ("onnx_of_nobody",))
    with pytest.raises(
        MissingPackages, match=r"needs onnx_of_nobody: install the extra, `pip install -e '.\[onnx\]'`"
    ):
        jouletune.export_model(done.model, onnx=tmp_path / "m.onnx")
    assert main(["export-model", str(done.model), "--onnx", str(tmp_path / "m.onnx")]) == 2
    assert capsys.readouterr().err.startswith(
        "jouletune export-model: error: export-model needs onnx_of_nobody"
    )
    assert not (tmp_path / "m.onnx").exists()


def test_the_command_prints_what_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = OnnxExport(path=tmp_path / "m.onnx", difference=3e-6, num_checked=32, num_bytes=1_234_567)
    monkeypatch.setattr("trainables.engine.inference.export_model", lambda *_, **__: written)
    assert main(["export-model", "model", "--onnx", "m.onnx"]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path}/m.onnx: 1.23 MB; ONNX Runtime differs from PyTorch by 3.0e-06 at most over 32 images\n"
    )
