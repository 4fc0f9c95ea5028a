"""Models by name."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from trainables.core.contract import WeightFile
from trainables.engine.choices import OWN_MODELS
from trainables.engine.classifiers.building import Build, Resolutions
from trainables.engine.classifiers.models import build_classifier, check_model_name, weight_files
from trainables.engine.classifiers.small_networks import MnistCNN, ResNet20
from trainables.engine.classifiers.torchvision_models import from_torchvision, torchvision_build
from trainables.engine.freezing import freeze


def test_resnet20_has_the_parameters_of_the_paper():
    model = ResNet20(num_classes=10, in_channels=3)
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722


def test_resnet20_has_twenty_layers_with_weights():
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in ResNet20(10).modules()) == 20


def test_mnist_cnn_is_the_network_of_the_example():
    model = MnistCNN(10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_199_882
    features = model.stem[:4](torch.randn(1, 1, 28, 28))
    assert torch.equal(model.stem[4](features), nn.functional.max_pool2d(features, 2))


@pytest.mark.parametrize("side", [5, 14, 28, 64])
def test_mnist_cnn_takes_any_side_with_the_same_weights(side):
    assert MnistCNN(3, 3).eval()(torch.zeros(2, 3, side, side)).shape == (2, 3)


def test_the_models_of_our_own_are_those_that_spaces_are_checked_for():
    for name in OWN_MODELS:
        assert build_classifier(name, num_classes=2, in_channels=1, resolution=8).statistics is None
        with pytest.raises(ValueError, match=f"no library has weights for {name}"):
            weight_files(name, "hub")


@pytest.mark.parametrize(
    "name", ["resnet20", "mnist_cnn", "resnet10t", "vit_tiny_patch16_224", "torchvision/mobilenet_v3_small"]
)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_model_of_each_library_scores_grey_and_colour_images(name, in_channels):
    torch.manual_seed(0)
    built = build_classifier(name, num_classes=7, in_channels=in_channels, resolution=32)
    logits = built.model.eval()(torch.zeros(2, in_channels, 32, 32))
    assert logits.shape == (2, 7)
    assert built.statistics is None
    in_head = {id(parameter) for parameter in built.head.parameters()}
    assert in_head < {id(parameter) for parameter in built.model.parameters()}


def test_a_model_with_position_embeddings_takes_other_resolutions():
    built = build_classifier("vit_tiny_patch16_224", num_classes=3, in_channels=3, resolution=64)
    assert built.model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("wrong", "right"), [("resnet_18", "resnet18"), ("torchvision/resnet_18", "torchvision/resnet18")]
)
def test_an_unknown_model_is_refused_with_the_nearest(wrong, right):
    with pytest.raises(ValueError, match=f"no model is named '{wrong}'; near are .*{right}"):
        build_classifier(wrong, num_classes=2, in_channels=3, resolution=32)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("ResNet18", "near are .*resnet18"),
        ("timm/resnet18.a1_in1k", "if timm's is meant, write resnet18.a1_in1k"),
        ("swin_t", "if torchvision's is meant, write torchvision/swin_t"),
        ("hf-hub:timm/resnet18.a1_in1k", "if timm's is meant, write resnet18.a1_in1k"),
        (
            "hf-hub:somebody/pets",
            "write timm's name of its architecture, and its file as weights: file:/PATH",
        ),
        ("resnet18.a9_in1k", "timm's resnet18 has no weights with the tag 'a9_in1k'; it has .*a1_in1k"),
        ("tf_efficientnet_b0_ns", "renamed tf_efficientnet_b0_ns to tf_efficientnet_b0.ns_jft_in1k"),
    ],
)
def test_a_name_of_another_place_or_time_is_answered_with_the_one_to_write(wrong, words):
    with pytest.raises(ValueError, match=words):
        check_model_name(wrong)


@pytest.mark.parametrize(("name", "side"), [("vit_b_16", 224), ("vit_h_14", 518)])
def test_a_vit_of_torchvision_is_built_for_the_resolution_of_its_weights(name, side):
    build = torchvision_build(name, 3, 3, 64, 0.0, True)
    assert (build.options, build.resolutions.nearest(64)) == ({"image_size": side}, side)


@pytest.mark.parametrize("has_bias", [False, True])
def test_new_classes_get_a_bias_where_the_old_ones_had_one(has_bias, monkeypatch):
    """Else MaxViT's head could not be rebuilt, which has none."""
    published = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 1000, bias=has_bias))
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, **_: published)
    build = Build(options={}, resolutions=Resolutions(), head=("2",), has_dropout=False)
    about = {"num_classes": 3, "in_channels": 3, "drop_rate": 0.0, "state": None, "is_of_hub": True}
    head = from_torchvision("maxvit_t", build, **about)[2]
    assert (head.out_features, head.bias is not None) == (3, has_bias)


def test_preflight_learns_which_files_of_weights_a_model_wants():
    repository = "timm/resnet18.a1_in1k"
    assert weight_files("resnet18", "hub") == (
        WeightFile(
            source="hub",
            location=f"{repository}/model.safetensors",
            alternatives=(f"{repository}/pytorch_model.bin",),
        ),
    )
    (file,) = weight_files("torchvision/resnet18", "hub")
    assert (file.source, file.size_mib) == ("torchvision", 44.661)
    assert file.location.endswith("/models/resnet18-f37072fd.pth")
    assert weight_files("gcvit_base", "hub")[0].source == "url"
    assert weight_files("torchvision/resnet18", "none") == ()


def test_a_model_without_weights_says_so():
    with pytest.raises(
        ValueError, match="no library has weights for resnet20; set weights to none or file:PATH"
    ):
        weight_files("resnet20", "hub")


def test_freezing_takes_the_input_side_and_never_the_head():
    built = build_classifier("resnet20", num_classes=2, in_channels=1, resolution=8)
    frozen = freeze(built.model, built.head, 0.5)  # 38 modules with parameters: 19 convolutions, 19 norms
    assert len(frozen) == 19
    assert not built.model.stem[0].weight.requires_grad
    assert built.model.stages[-1].conv2.weight.requires_grad
    assert len(freeze(built.model, built.head, 1.0)) == 38
    assert [name for name, p in built.model.named_parameters() if p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
