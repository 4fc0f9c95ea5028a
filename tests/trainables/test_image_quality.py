"""A network that judges images: its layers are made for each image, its scores are of fixed patches."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from tests.support import weight_files
from trainables.core.contract import Budget, Diverged, TrainingContext, WeightsError
from trainables.engine.optimizer import check_groups
from trainables.image_quality import TRAINABLE, Hparams
from trainables.image_quality.backbone import build_backbone
from trainables.image_quality.hyper_iqa import HyperHead, HyperIQA
from trainables.image_quality.metrics import L1, PredictedScores, QualityMetrics
from trainables.image_quality.patches import PatchBatch
from trainables.image_quality.training import start

SMALL = dict(TRAINABLE.example.hparams)


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="photographs", data_seed=0, seed=0, cache_dir=tmp_path, resolution=48)


def rated(*scores: float) -> PatchBatch:
    return PatchBatch(torch.zeros(len(scores), 3, 2, 2), torch.tensor(scores))


def test_both_rates_follow_the_schedule_and_become_one_and_moments_survive(context: TrainingContext) -> None:
    """Adam's moments and its count of steps resume where the rates change: it is built once."""
    budget = Budget(epochs=4, subset=32, resolution=32)
    changes = {"lr": 1e-3, "backbone_lr_ratio": 0.1, "decay_milestones": "0.5, 0.75", "unified_lr_epoch": 2}
    hparams = Hparams(**{**SMALL, **changes})
    training = start(hparams, budget, context)
    check_groups(training.model, training.optimizer)
    head = {id(parameter) for parameter in training.model.head.parameters()}
    rates, counts = [], []
    for _ in range(4):
        training.run_epoch(budget)
        groups = training.optimizer.param_groups
        by_part = {id(group["params"][0]) in head: group["lr"] for group in groups}
        rates.append([by_part[True], by_part[False]])
        counts.append({int(state["step"]) for state in training.optimizer.state.values()})
    assert rates == [
        pytest.approx(expected) for expected in ([1e-3, 1e-4], [1e-3, 1e-4], [1e-4] * 2, [1e-5] * 2)
    ]
    assert counts == [{2}, {4}, {6}, {8}]


def test_second_moments_outlive_the_epoch_in_which_the_rates_become_one(context: TrainingContext) -> None:
    """A planted moment of 1 is 0.999 ** 2 of itself after two steps; a new optimiser's would be near 0."""
    budget = Budget(epochs=2, subset=32, resolution=32)
    training = start(Hparams(**{**SMALL, "backbone_lr_ratio": 0.1, "unified_lr_epoch": 1}), budget, context)
    training.run_epoch(budget)
    moments = [state["exp_avg_sq"] for state in training.optimizer.state.values()]
    for moment in moments:
        moment.fill_(1.0)
    training.run_epoch(budget)
    assert min(float(state["exp_avg_sq"].min()) for state in training.optimizer.state.values()) > 0.998


def test_layers_are_made_for_each_image() -> None:
    torch.manual_seed(0)
    head = HyperHead((8, 16, 32, 64), width=112)
    maps = [torch.rand(2, channels, side, side) for channels, side in ((8, 16), (16, 8), (32, 4), (64, 2))]
    layers = head.rules(maps[-1])
    assert [(tuple(weight.shape), tuple(bias.shape)) for weight, bias in layers] == [
        ((2, 112, 224), (2, 112)),
        ((2, 56, 112), (2, 56)),
        ((2, 28, 56), (2, 28)),
        ((2, 14, 28), (2, 14)),
        ((2, 1, 14), (2, 1)),
    ]
    assert not torch.equal(layers[0][0][0], layers[0][0][1])
    assert head(maps).shape == (2,)


def test_an_image_is_judged_alone() -> None:
    """The same score whatever else is in its batch."""
    torch.manual_seed(0)
    head = HyperHead((8, 64), width=56).eval()
    maps = [torch.rand(3, 8, 8, 8), torch.rand(3, 64, 4, 4)]
    alone = torch.cat([head([each[n : n + 1] for each in maps]) for n in range(3)])
    assert head(maps).tolist() == pytest.approx(alone.tolist(), abs=1e-6)


def test_made_layers_have_the_variance_of_ordinary_ones() -> None:
    torch.manual_seed(0)
    head = HyperHead((64, 512), width=112)
    weight, bias = head.rules(torch.rand(16, 512, 7, 7) * 2)[0]
    assert 0.2 < float(weight.detach().var()) * 224 < 5
    assert float(bias.detach().abs().mean()) < 1


def test_scores_are_in_the_units_of_the_data() -> None:
    """The head answers in standard deviations, and the loss is counted in them."""
    backbone = build_backbone("test_resnet", weights="none", resolution=32)
    model = HyperIQA(backbone, width=56, mean=70.0, spread=20.0)
    model.head.forward = lambda maps: torch.tensor([0.0, 1.0])
    outputs = model(torch.zeros(2, 3, 32, 32))
    assert outputs.tolist() == [70.0, 90.0]
    assert float(L1(20.0)(outputs[:, None], rated(90.0, 60.0))) == pytest.approx((20 + 30) / 2 / 20)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet10t", (64, 128, 256, 512)),
        ("test_convnext", (24, 32, 48, 64)),
        ("test_vit", (64, 64, 64)),
        ("mixer_s32_224", (512, 512, 512)),  # built for one side
    ],
)
def test_any_network_of_timm_gives_maps(name: str, channels: tuple[int, ...]) -> None:
    backbone = build_backbone(name, weights="none", resolution=64)
    assert backbone.channels == channels
    maps = backbone(torch.zeros(1, 3, 64, 64))
    assert tuple(each.shape[1] for each in maps) == channels


def test_scores_agree_with_those_of_scipy() -> None:
    torch.manual_seed(0)
    given = torch.randint(1, 6, (40,)).float()
    outputs = given[:, None] + torch.randn(40, 3)
    metrics = QualityMetrics(spread=2.0)
    metrics.update(outputs[:15], rated(*given[:15].tolist()))
    metrics.update(outputs[15:], rated(*given[15:].tolist()))
    predicted = outputs.mean(1)
    error = predicted - given
    assert metrics.compute() == pytest.approx(
        {
            "srcc": stats.spearmanr(predicted, given).statistic,
            "plcc": stats.pearsonr(predicted, given).statistic,
            "krcc": stats.kendalltau(predicted, given).statistic,
            "rmse": float(error.square().mean().sqrt()),
            "loss": float(error.abs().mean()) / 2,
            "num_examples": 40,
        },
        abs=1e-5,
    )


def test_one_score_for_all_images_is_reported_and_is_not_0() -> None:
    metrics = QualityMetrics(spread=1.0)
    metrics.update(torch.full((3, 2), 2.5), rated(1.0, 2.0, 3.0))
    with pytest.raises(Diverged, match=r"all 3 images got one score, 2\.5, which has no rank correlation"):
        metrics.compute()


def test_a_score_that_is_no_number_is_left_to_the_loss() -> None:
    metrics = QualityMetrics(spread=1.0)
    metrics.update(torch.tensor([[1.0], [math.nan]]), rated(1.0, 2.0))
    assert math.isnan(metrics.compute()["loss"])


def test_the_largest_error_comes_first_in_the_table() -> None:
    details = PredictedScores(lambda place: f"image {place}")
    details.update(torch.tensor([[1.0, 2.0], [5.0, 5.0]]), rated(1.0, 3.0))
    details.update(torch.tensor([[4.0, 4.0]]), rated(4.0))
    table = details.tables()["predicted_scores"]
    assert table.columns == ("image", "score", "predicted")
    assert table.rows == [("image 1", 3.0, 5.0), ("image 0", 1.0, 1.5), ("image 2", 4.0, 4.0)]
    assert details.tables() == {}


def test_the_backbone_starts_from_weights_of_a_file(tmp_path: Path) -> None:
    model = weight_files.timm_model()
    torch.save(model.state_dict(), tmp_path / "mine.pt")
    hparams = Hparams(model=weight_files.TIMM, weights=f"file:{tmp_path}/mine.pt")
    assert [file.location for file in TRAINABLE.weights(hparams)] == [f"{tmp_path}/mine.pt"]
    backbone = build_backbone(hparams.model, weights=hparams.weights, resolution=64)
    assert torch.equal(backbone.network.conv1[0].weight, model.conv1[0].weight)
    assert torch.equal(backbone.network.layer4[0].conv2.weight, model.layer4[0].conv2.weight)
    assert backbone.statistics is not None
    with pytest.raises(
        WeightsError, match=r"mine\.pt cannot be read as weights of test_resnet: .*size mismatch"
    ):
        build_backbone("test_resnet", weights=hparams.weights, resolution=64)


def test_a_network_without_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pooled(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [images.mean((2, 3))]

    monkeypatch.setattr("timm.create_model", lambda name, **options: Pooled())
    with pytest.raises(ValueError, match="test_efficientnet_ln returns no maps of its stages"):
        build_backbone("test_efficientnet_ln", weights="none", resolution=64)


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(ValueError, match="width must be") as caught:
        Hparams(
            width=100, train_patches=0, score_grid=0, model="resnet20", layer_decay=0.5, weights="imagenet"
        )
    assert str(caught.value).split("; ") == [
        "layer_decay below 1 needs a classifier of timm",
        "set it to 1, got 0.5",
        "weights must be none, hub or file:PATH with an absolute path, got 'imagenet'",
        "width must be a multiple of 56, above 0, got 100",
        "train_patches must be 1 or more, got 0",
        "score_grid must be 1 or more, got 0",
        "model must be one of timm, got resnet20",
    ]
