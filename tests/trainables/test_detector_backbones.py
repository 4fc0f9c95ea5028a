"""A detector starts from its backbone's weights as a classifier's file has them, and says what is new."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants, try_to_load_from_cache
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, ResNetConfig

from tests.support.weight_files import fill_hub_cache
from trainables.core.contract import WeightFile, WeightsError
from trainables.detection.backbones import load_backbone_weights
from trainables.detection.configs import config_of
from trainables.detection.models import Detector, build_detector
from trainables.detection.names import BACKBONES, weight_files
from trainables.engine.state_files import largest_state


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
    ("detector", "model", "num_taken", "same"),
    [
        (
            "rt_detr_r18",
            "resnet18d",
            110,
            "; as in that model encoder.stages.0.layers.0.shortcut is the identity",
        ),
        ("rt_detr_r50", "resnet50d", 275, ""),
        ("d_fine_l", "hgnetv2_b4", 400, ""),
    ],
)
def test_rt_detr_and_d_fine_take_the_models_of_timm_that_they_are_built_on(
    tmp_path: Path, detector: str, model: str, num_taken: int, same: str
) -> None:
    path = saved(tmp_path, of_timm(model))
    built = build_detector(detector, num_classes=3, weights=f"file:{path}")
    assert built.notes["weights"] == (
        f"{num_taken} tensors of the backbone are from backbone.safetensors{same}; new, with random values, "
        "are all layers after the backbone"
    )
    means = [value for name, value in backbone(built).state_dict().items() if name.endswith("running_mean")]
    assert sum(bool((mean == 0.25).all()) for mean in means) == num_taken // 5


@pytest.mark.parametrize(
    ("detector", "model"),
    [
        ("rt_detr_r18", "resnet18d"),
        pytest.param("rt_detr_r50", "resnet50d", marks=pytest.mark.slow),
        pytest.param("detr_r50", "resnet50", marks=pytest.mark.slow),
        pytest.param("d_fine_l", "hgnetv2_b4", marks=pytest.mark.slow),
    ],
)
def test_a_loaded_backbone_computes_what_the_classifier_does(
    tmp_path: Path, detector: str, model: str
) -> None:
    classifier = of_timm(model).eval()
    path = saved(tmp_path, classifier)
    built = build_detector(detector, num_classes=3, weights=f"file:{path}")
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        outputs = backbone(built).eval()(images)
        features = outputs[-1] if isinstance(outputs, list) else outputs.feature_maps[-1]
        theirs = classifier.forward_features(images)  # type: ignore[operator]
    assert features.shape == theirs.shape
    assert torch.allclose(features, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("model", BACKBONES)
def test_a_backbones_weights_come_from_a_hub_and_say_their_size(model: str) -> None:
    repository, size_mib = BACKBONES[model]
    name = repository.removeprefix("timm/")
    config = timm.get_pretrained_cfg(name)
    assert (config.hf_hub_id, config.num_classes) == (repository, 1000)
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    assert size_mib == pytest.approx(sum(4 * tensor.numel() for tensor in state.values()) / 2**20, abs=0.3)
    (file,) = weight_files(model, "backbone")
    assert file == WeightFile(source="hub", location=f"{repository}/model.safetensors", size_mib=size_mib)


def test_a_detector_begins_from_its_backbone_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = fill_hub_cache(tmp_path / "hf", "resnet18d.ra2_in1k")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        functools.partial(try_to_load_from_cache, cache_dir=tmp_path / "hf" / "hub"),
    )
    built = build_detector("rt_detr_r18", num_classes=2, weights="backbone")
    theirs = classifier.state_dict()["layer4.1.conv2.weight"]
    own = backbone(built).state_dict()["encoder.stages.3.layers.1.layer.1.convolution.weight"]
    assert torch.equal(own, theirs)
    assert built.notes["weights"].startswith("110 tensors of the backbone are from model.safetensors; as in")
    with pytest.raises(WeightsError, match=r"timm/resnet50\.tv_in1k/model\.safetensors is not in .*fetch it"):
        build_detector("detr_r50", num_classes=2, weights="backbone")


@pytest.mark.parametrize(
    ("detector", "classifier", "url"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "mobilenet_v3_large", "mobilenet_v3_large-8738ca79.pth"),
        pytest.param(
            "ssd300_vgg16", "vgg16", "vgg16_features-amdegroot-88682ab5.pth", marks=pytest.mark.slow
        ),
        pytest.param("retinanet_resnet50_fpn", "resnet50", "resnet50-0676ba61.pth", marks=pytest.mark.slow),
    ],
)
def test_torchvisions_detectors_begin_from_the_backbones_that_torchvision_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str, classifier: str, url: str
) -> None:
    (file,) = weight_files(f"torchvision/{detector}", "backbone")
    assert (file.source, file.location.rpartition("/")[2]) == ("torchvision", url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(3)
    model = torchvision.models.get_model(classifier)
    path = tmp_path / "hub" / "checkpoints" / url
    path.parent.mkdir(parents=True)
    torch.save(model.state_dict(), path)
    built = build_detector(f"torchvision/{detector}", num_classes=2, weights="backbone")
    matrices = {fingerprint(tensor) for tensor in model.state_dict().values() if tensor.ndim == 4}
    body: nn.Module = built.model.detector.backbone  # type: ignore[union-attr, assignment]
    own = {fingerprint(tensor) for tensor in body.state_dict().values() if tensor.ndim == 4}
    assert len(own & matrices) >= 10
    assert built.notes["weights"].endswith("are all layers after the backbone")


def fingerprint(tensor: Tensor) -> tuple[torch.Size, float]:
    return tensor.shape, float(tensor.double().sum())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            "rt_detr_tiny",
            "no hub has weights for the backbone of rt_detr_tiny, but for those of rt_detr_r18, ",
        ),
        ("hub/PekingU/rtdetr_r18vd", "no hub has weights for the backbone of hub/PekingU/rtdetr_r18vd"),
        (
            "torchvision/retinanet_resnet50_fpn_v2",
            "torchvision has no weights for the backbone of retinanet",
        ),
    ],
)
def test_a_backbone_without_weights_of_its_own_is_refused(model: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        weight_files(model, "backbone")


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


def test_a_whole_detector_without_its_configuration_has_that_of_its_name(tmp_path: Path) -> None:
    trained = build_detector("detr_tiny", num_classes=2).model
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "last.ckpt")
    built = build_detector("detr_tiny", num_classes=2, weights=f"file:{tmp_path / 'last.ckpt'}")
    found = built.model.state_dict()
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in found.items())
    assert built.notes["weights"] == "the file has the model's names after the prefix detector."


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
    loaded = load_backbone_weights(plain, largest_state(tmp_path / "wrapped.safetensors"))
    assert loaded.num_taken == 100
    assert loaded.random == []


def contiguous(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
