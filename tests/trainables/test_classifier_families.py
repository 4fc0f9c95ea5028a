"""Any classifier of timm and torchvision is built for sides that it takes, found on the meta device."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.engine.classifiers.building import Builder, Resolutions, resolutions_near
from trainables.engine.classifiers.models import Classifier, build_classifier
from trainables.engine.freezing import freeze
from trainables.engine.optimizer import build_optimizer

_MOST_S = 60.0
_FAMILIES_THAT_MAY_FAIL = 0.05


def built(name: str, side: int, *, in_channels: int = 3, drop_rate: float = 0.0) -> Classifier:
    return build_classifier(
        name, num_classes=3, in_channels=in_channels, resolution=side, drop_rate=drop_rate
    )


def trained_one_step(classifier: Classifier, side: int, in_channels: int = 3) -> None:
    """One step of SGD on two images, and a score of three, as the engine does it."""
    model = classifier.model
    optimizer = build_optimizer(
        model,
        classifier.head,
        name="sgd",
        lr=1e-3,
        weight_decay=1e-4,
        momentum=0.9,
        backbone_lr_ratio=0.1,
    )
    images = torch.randn(2, in_channels, side, side).contiguous(memory_format=torch.channels_last)
    loss = cross_entropy(model.train()(images), torch.tensor([0, 1]))
    loss.backward()
    assert bool(torch.isfinite(loss))
    optimizer.step()
    with torch.inference_mode():
        assert model.eval()(torch.randn(3, in_channels, side, side)).shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [
        ("test_vit", (100, 48, 8), (96, 48, 16)),  # patches of 16
        ("test_vit_relpos", (64, 32, 100), (64, 64, 64)),  # built for one side
        ("hrnet_w18_small", (100, 48, 20), (96, 32, 32)),  # a stride of 32
        ("resnet10t", (100, 33, 8), (100, 33, 8)),  # any
        ("pit_ti_224", (64, 16, 128), (64, 64, 64)),  # 16 px make one patch, which would broadcast
        ("torchvision/squeezenet1_1", (64, 33, 17), (64, 33, 17)),  # a convolution is its last layer
        ("torchvision/googlenet", (64, 33, 32), (64, 33, 32)),  # with auxiliary outputs
    ],
)
def test_a_model_is_given_the_nearest_resolution_that_it_takes(
    name: str, asked: tuple[int, ...], given: tuple[int, ...]
) -> None:
    classifier = built(name, asked[0])
    assert tuple(classifier.resolutions.nearest(side) for side in asked) == given
    trained_one_step(classifier, given[0])


@pytest.mark.parametrize(
    ("name", "num_heads"),
    [("deit_tiny_distilled_patch16_224", 2), ("levit_128s", 2), ("test_convnext", 1), ("test_resnet", 1)],
)
def test_all_layers_of_the_classes_are_the_head(name: str, num_heads: int) -> None:
    head = built(name, 64).head
    layers = list(head.children()) if isinstance(head, nn.ModuleList) else [head]
    assert len([module for module in head.modules() if not list(module.children())]) == num_heads
    assert all(any(3 in each.shape for each in layer.parameters()) for layer in layers)


def test_the_distilled_head_is_never_frozen() -> None:
    classifier = built("deit_tiny_distilled_patch16_224", 32)
    freeze(classifier.model, classifier.head, 1.0)
    learns = {name for name, each in classifier.model.named_parameters() if each.requires_grad}
    heads = {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}
    assert heads <= learns
    assert not [name for name in learns - heads if "blocks" in name]


def test_a_model_that_takes_colours_alone_is_given_grey_images_three_times() -> None:
    classifier = built("csatv2", 64, in_channels=1)
    assert "only colour images" in classifier.notes["channels"]
    trained_one_step(classifier, classifier.resolutions.nearest(64), in_channels=1)


def test_a_rate_of_dropout_that_no_layer_has_is_noted() -> None:
    assert "no effect of drop_rate" in built("torchvision/resnet18", 32, drop_rate=0.2).notes
    assert built("torchvision/squeezenet1_1", 32, drop_rate=0.2).notes == {}
    assert built("test_resnet", 32, drop_rate=0.2).notes == {}
    assert built("torchvision/resnet18", 32).notes == {}


def test_what_does_not_classify_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"gemma4_vit_167m_enc of timm cannot classify images of 3 channels"):
        built("gemma4_vit_167m_enc", 48)


def test_layer_decay_is_refused_where_a_model_does_not_say_what_its_layers_are() -> None:
    classifier = built("poolformerv2_s12", 32)
    rates = {"lr": 0.1, "weight_decay": 0.0, "backbone_lr_ratio": 1.0, "layer_decay": 0.5}
    with pytest.raises(ValueError, match="MetaFormer does not; set layer_decay to 1"):
        build_optimizer(classifier.model, classifier.head, name="sgd", momentum=0.9, **rates)


def test_finding_out_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    first = built("test_vit", 32).model.state_dict()
    torch.manual_seed(3)
    again = built("test_vit", 32).model.state_dict()  # found before: nothing is tried this time
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_resolutions_near_begin_with_the_wanted_and_are_never_half_of_it() -> None:
    near = list(resolutions_near(100, own=224))
    assert near[:4] == [100, 99, 98, 96]
    assert min(near) > 50
    assert 224 in near
    assert list(resolutions_near(8, None))[:2] == [8, 7]


def test_any_side_is_taken_where_nothing_else_is_known() -> None:
    assert [Resolutions().nearest(side) for side in (1, 7, 224)] == [1, 7, 224]


class NeedsValues(nn.Module):
    """Computes with values when it is built, which the meta device has none of."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.width = int(torch.ones(3).sum().item())
        self.head = nn.Linear(3, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(images.mean((2, 3)))
        return logits


def test_a_model_that_needs_values_to_be_built_is_tried_on_the_cpu() -> None:
    builder = Builder(NeedsValues, size_options=lambda side: [{}], num_classes=2, in_channels=3, own=None)
    build = builder.build(20)
    assert (build.head, build.resolutions.nearest(20)) == (("head",), 20)


# Of each of timm's modules the model of fewest parameters; to count those of all 1,300 takes four minutes.
# Of byoanet the next one: halonet_h1 takes images of 256 px alone, and 18 s to find that out.
_SMALLEST = """
    beit_base_patch16_224 cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32 cpubone_nano
    crossvit_tiny_240 cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny deepseek_vit_412m
    deit_tiny_patch16_224 densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1
    efficientformerv2_s0 efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw
    fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m ghostnet_050 gmlp_ti16_224
    hardcorenas_b hgnetv2_b0 hiera_tiny_224 hrnet_w18_small iformer_t inception_next_atto
    inception_resnet_v2 inception_v3 inception_v4 lambda_resnet26t lcnetv2_small legacy_seresnet18
    legacy_xception levit_128s lowformer_b0 mobilenetv3_small_050 mobilenetv5_base mobilevit_xxs
    mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small pit_ti_224
    pnasnet5large poolformerv2_s12 pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050
    repvit_m1 res2next50 resnest14d resnetv2_18 rexnet_100 sam2_hiera_tiny samvit_base_patch16_224
    selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
    swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window16_256 test_byobnet test_coatnet
    test_convnext test_efficientnet test_mambaout test_nfnet test_resnet test_vit test_vit_relpos
    tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m twins_svt_small vgg11 visformer_tiny
    vit_tiny_patch16_dinov3_qkvb vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 xception41p
    xcit_nano_12_p8_224
"""


def small_models_of_each_family() -> list[str]:
    """One of each of timm's modules: that of the list, or in a module that it lacks the smallest."""
    listed = set(_SMALLEST.split())
    models = [timm.list_models(module=family) for family in timm.list_modules()]
    return [next(iter(listed.intersection(each)), None) or min(each, key=num_parameters) for each in models]


def num_parameters(name: str) -> int:
    """As counted without memory."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(each.numel() for each in timm.create_model(name).parameters())


def reasons_of_failure(names: Iterator[str] | list[str]) -> tuple[int, dict[str, str]]:
    """Each trained a step at 64 px and passed, where it can, at 48 px: how many, and what failed."""
    failed, num_tried = {}, 0
    for name in names:
        num_tried += 1
        started_s = time.process_time()
        try:
            classifier = built(name, 64, drop_rate=0.1)
            trained, other = map(classifier.resolutions.nearest, (64, 48))
            trained_one_step(classifier, trained)
            if other != trained:
                with torch.no_grad():
                    assert classifier.model.train()(torch.randn(2, 3, other, other)).shape == (2, 3)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
        if (taken_s := time.process_time() - started_s) > 2 * _MOST_S:  # of two cores
            failed[name] = f"it took {taken_s:.0f} s of two cores"
    return num_tried, failed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_small_model_of_every_family_of_timm_trains_and_takes_another_size() -> None:
    num_tried, failed = reasons_of_failure(small_models_of_each_family())
    assert num_tried == len(timm.list_modules())
    assert len(failed) <= _FAMILIES_THAT_MAY_FAIL * num_tried, failed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_small_model_of_every_kind_of_torchvision_trains_and_takes_another_size() -> None:
    smallest: dict[str, tuple[int, str]] = {}
    for name in torchvision.models.list_models(torchvision.models):
        size = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
        family = torchvision.models.get_model_builder(name).__module__
        smallest[family] = min(smallest.get(family, (size, name)), (size, name))
    num_tried, failed = reasons_of_failure([f"torchvision/{name}" for _, name in smallest.values()])
    assert num_tried >= 15
    assert failed == {}
