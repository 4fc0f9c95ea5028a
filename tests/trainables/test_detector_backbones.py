"""A detector starts from its backbone's weights as a classifier's file has them, and says what is new."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, ResNetConfig

from trainables.core.contract import WeightsError
from trainables.detection.backbones import load_backbone_weights
from trainables.detection.configs import config_of
from trainables.detection.models import Detector, build_detector


def saved(folder: Path, model: nn.Module, name: str = "backbone.safetensors") -> Path:
    """A file of the model, with running statistics that are not those of a new one."""
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.fill_(0.25)
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / name)
    return folder / name


def backbone(detector: Detector) -> nn.Module:
    inner: nn.Module = detector.model.detector.model.backbone.model  # type: ignore[union-attr, assignment]
    return inner


def of_timm(name: str) -> nn.Module:
    torch.manual_seed(3)
    return timm.create_model(name, num_classes=5)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_detr_takes_a_resnet_50_of_either_library(tmp_path: Path, library: str) -> None:
    torch.manual_seed(3)
    model = of_timm("resnet50") if library == "timm" else torchvision.models.resnet50()
    path = saved(tmp_path, model)
    detector = build_detector("detr_r50", num_classes=3, weights=f"file:{path}")
    own = backbone(detector).state_dict()
    for name, tensor in model.state_dict().items():
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(own[name], tensor), name
    assert detector.notes["weights"] == (
        "265 tensors of the backbone are from backbone.safetensors; new, with random values, are all layers "
        "after the backbone"
    )
    is_frozen = {type(module).__name__ for module in backbone(detector).modules()}
    assert not any(name.endswith("BatchNorm2d") and "Frozen" not in name for name in is_frozen)


@pytest.mark.parametrize(
    ("detector", "model", "num_taken", "random"),
    [
        (
            "rt_detr_r18",
            "resnet18d",
            110,
            ", of the backbone encoder.stages.0.layers.0.shortcut.convolution.weight",
        ),
        ("rt_detr_r50", "resnet50d", 275, ""),
        ("d_fine_l", "hgnetv2_b4", 400, ""),
    ],
)
def test_rt_detr_and_d_fine_take_the_models_of_timm_that_they_are_built_on(
    tmp_path: Path, detector: str, model: str, num_taken: int, random: str
) -> None:
    path = saved(tmp_path, of_timm(model))
    built = build_detector(detector, num_classes=3, weights=f"file:{path}")
    note = built.notes["weights"]
    assert note.startswith(
        f"{num_taken} tensors of the backbone are from backbone.safetensors; new, with random"
    )
    assert note.partition("all layers after the backbone")[2].startswith(random)
    means = [value for name, value in backbone(built).state_dict().items() if name.endswith("running_mean")]
    assert sum(bool((mean == 0.25).all()) for mean in means) == num_taken // 5


def test_a_classifier_of_transformers_is_a_backbone_too(tmp_path: Path) -> None:
    config = config_of("detr_tiny").backbone_config
    whole = ResNetConfig(**{**config.to_dict(), "num_labels": 4})
    classifier = AutoModelForImageClassification.from_config(whole)
    classifier.save_pretrained(tmp_path)
    detector = build_detector("detr_tiny", num_classes=2, weights=f"file:{tmp_path / 'model.safetensors'}")
    theirs = classifier.state_dict()["resnet.embedder.embedder.convolution.weight"]
    assert torch.equal(backbone(detector).state_dict()["embedder.embedder.convolution.weight"], theirs)
    assert detector.notes["weights"].startswith("60 tensors of the backbone")


def test_torchvisions_detectors_take_backbones(tmp_path: Path) -> None:
    model = torchvision.models.resnet50()
    path = saved(tmp_path, model)
    built = build_detector("torchvision/fasterrcnn_resnet50_fpn", num_classes=2, weights=f"file:{path}")
    body: nn.Module = built.model.detector.backbone.body  # type: ignore[union-attr, assignment]
    assert torch.equal(
        body.state_dict()["layer4.2.conv3.weight"], model.state_dict()["layer4.2.conv3.weight"]
    )
    assert built.notes["weights"].startswith("265 tensors")


def test_another_models_file_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    path = saved(tmp_path, of_timm("resnet10t"))
    with pytest.raises(WeightsError, match=r"it holds \d+ of the 265 tensors of the detector's backbone"):
        build_detector("detr_r50", num_classes=2, weights=f"file:{path}")


def test_a_whole_detector_without_its_configuration_is_no_backbone(tmp_path: Path) -> None:
    detector = build_detector("detr_tiny", num_classes=2)
    save_file(contiguous(detector.model.detector), tmp_path / "model.safetensors")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        build_detector("detr_tiny", num_classes=2, weights=f"file:{tmp_path / 'model.safetensors'}")


def test_weights_of_other_classes_say_which_layers_are_new(tmp_path: Path) -> None:
    trained: nn.Module = build_detector("detr_tiny", num_classes=5).model.detector  # type: ignore[assignment]
    trained.save_pretrained(tmp_path)  # type: ignore[operator]
    built = build_detector("detr_tiny", num_classes=2, weights=f"file:{tmp_path / 'model.safetensors'}")
    assert built.notes["weights"] == "new, with random values, are class_labels_classifier"


def test_a_prefix_of_all_names_is_no_obstacle(tmp_path: Path) -> None:
    model = of_timm("resnet18")
    state = {f"module.encoder.{name}": tensor for name, tensor in contiguous(model).items()}
    save_file(state, tmp_path / "wrapped.safetensors")
    plain = timm.create_model("resnet18", num_classes=0)
    loaded = load_backbone_weights(plain, tmp_path / "wrapped.safetensors")
    assert loaded.num_taken == 100
    assert loaded.random == []


def contiguous(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
