"""Detectors learn boxes, keep their recipe in any library, and are scored as COCO scores."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForObjectDetection

from tests.support.box_annotations import annotation, coco_file, voc_folder
from trainables.core.contract import Budget, DataError, TrainingContext, WeightsError
from trainables.core.optional import images_of_test, tables_of_test
from trainables.detection import TRAINABLE, Hparams
from trainables.detection.annotations import Objects, objects_of
from trainables.detection.batches import DetectionBatch
from trainables.detection.configs import config_of
from trainables.detection.metrics import DetectionMetrics, compared
from trainables.detection.models import build_detector
from trainables.detection.networks import detected

FAMILIES = ["rt_detr_tiny", "d_fine_tiny", "detr_tiny"]
SMALL = dict(TRAINABLE.example.hparams)
TINY = Budget(epochs=1, subset=16)


def context(folder: Path, data: str = "shapes", **settings) -> TrainingContext:
    return TrainingContext(data=data, data_seed=0, seed=0, cache_dir=folder / "cache", **settings)


def batch_of(*boxes: list[tuple[float, ...]], side: int = 64) -> DetectionBatch:
    """Noise with boxes of class 0, as centre, width and height in shares."""
    targets = [
        {
            "boxes": torch.tensor(item).reshape(-1, 4),
            "class_labels": torch.zeros(len(item), dtype=torch.int64),
        }
        for item in boxes
    ]
    objects = [objects_of("a", (side, side), [], []) for _ in boxes]
    images = torch.rand(len(boxes), 3, side, side, generator=torch.Generator().manual_seed(0))
    return DetectionBatch(images, targets, objects)


TWO = batch_of([(0.5, 0.5, 0.2, 0.2), (0.3, 0.3, 0.4, 0.2)], [])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_decoder_layer_has_its_loss(name: str) -> None:
    model = build_detector(name, num_classes=3).model
    losses = model.detector(TWO.images, labels=list(TWO.targets)).loss_dict
    assert sum("bbox" in key for key in losses) >= model.detector.config.decoder_layers


@pytest.mark.parametrize("name", FAMILIES)
def test_all_of_a_random_model_learns_and_its_norms_see_the_data(name: str) -> None:
    model = build_detector(name, num_classes=3).model
    assert all(parameter.requires_grad for parameter in model.detector.model.backbone.parameters())
    assert not [module for module in model.modules() if "Frozen" in type(module).__name__]


@pytest.mark.parametrize("name", FAMILIES)
def test_matching_and_losses_are_in_fp32_under_autocast(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_detector(name, num_classes=3).model
    seen = []
    whole = model.detector.loss_function.args[0]

    def loss(logits, labels, device, boxes, *others, **named):
        seen.extend([logits.dtype, boxes.dtype, torch.is_autocast_enabled("cpu")])
        return whole(logits, labels, device, boxes, *others, **named)

    made = type(model.detector.loss_function)(model.detector.loss_function.func, loss)
    model.detector.loss_function = made
    with torch.autocast("cpu", torch.bfloat16):
        value = detected(model, TWO)["loss"]
    assert seen == [torch.float32, torch.float32, False]
    assert value.isfinite()


@pytest.mark.parametrize("name", FAMILIES)
def test_detections_are_shares_with_scores_and_labels(name: str) -> None:
    model = build_detector(name, num_classes=3).model.eval()
    with torch.no_grad():
        found = detected(model, TWO)["detections"]
    assert len(found) == 2
    assert all(item["boxes"].shape == (len(item["scores"]), 4) for item in found)
    assert all(0 <= int(item["labels"].min()) <= int(item["labels"].max()) <= 2 for item in found)
    assert all(item["boxes"].abs().max() < 2 for item in found)


def test_a_side_that_does_not_fit_the_feature_maps_is_refused() -> None:
    model = build_detector("rt_detr_tiny", num_classes=3).model
    with pytest.raises(ValueError, match="must be a multiple of 32 px here, got 48"):
        detected(model, batch_of([], side=48))


@pytest.mark.parametrize(("side", "num_places"), [(32, 21), (64, 84)])
def test_images_with_fewer_places_than_queries_are_refused(side: int, num_places: int) -> None:
    model = build_detector("rt_detr_tiny", num_classes=3).model
    model.detector.config.num_queries = 85  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=f"{num_places} places for the model's 85 queries; give the lowest"):
        detected(model, batch_of([], side=side))


def test_backbone_and_the_rest_have_rates_of_their_own(tmp_path: Path) -> None:
    training = TRAINABLE.start(
        Hparams(**{**SMALL, "lr": 1.0, "backbone_lr_ratio": 0.1}), TINY, context(tmp_path)
    )
    rates = {
        id(parameter): group["base_lr"]
        for group in training.optimizer.param_groups
        for parameter in group["params"]
    }
    found = {(".backbone." in name, rates[id(p)]) for name, p in training.model.named_parameters()}
    assert found == {(True, 0.1), (False, 1.0)}


def test_published_models_have_their_published_sizes() -> None:
    """Millions of parameters, as Zhao et al. 2024, Peng et al. 2024 and Carion et al. 2020 have them."""
    names = ["rt_detr_r18", "rt_detr_r50", "d_fine_l", "detr_r50"]
    sizes = []
    for name in names:
        config = config_of(name)
        config.num_labels = 80
        with torch.device("meta"), contextlib.suppress(NotImplementedError):
            model = AutoModelForObjectDetection.from_config(config)
            sizes.append(round(sum(p.numel() for p in model.parameters()) / 1e6))
    assert sizes == [20, 43, 31, 42]


def drawn(seed: int, *, num_images: int = 12) -> tuple[list[Objects], list[dict[str, torch.Tensor]]]:
    """Images of 640 x 480 px: objects of all sizes, crowds among them, and detections near and off them."""
    random = torch.Generator().manual_seed(seed)
    truths, found = [], []
    for number in range(num_images):
        corner = torch.rand(number % 5, 2, generator=random) * torch.tensor([400.0, 300.0])
        sides = torch.rand(number % 5, 2, generator=random) * 200 + 5
        boxes = torch.cat([corner, corner + sides], 1).double()
        labels = torch.randint(3, (len(boxes),), generator=random)
        crowds = torch.rand(len(boxes), generator=random) < 0.2
        truths.append(
            objects_of(
                str(number),
                (640, 480),
                boxes.tolist(),
                labels.tolist(),
                is_crowd=crowds.tolist(),
                area_px=(sides.prod(1) * 0.7).tolist(),
            )
        )
        near = boxes + torch.randn(boxes.shape, generator=random, dtype=torch.float64) * 2
        off = torch.rand(8, 2, generator=random).double() * 300
        both = torch.cat([near, torch.cat([off, off + 40], 1)]) / truths[-1].scale_px
        predicted = torch.cat([labels, torch.randint(3, (8,), generator=random)])
        found.append({"boxes": both, "labels": predicted, "scores": torch.rand(len(both), generator=random)})
    return truths, found


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_those_of_pycocotools(seed: int) -> None:
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    truths, found = drawn(seed)
    metrics = DetectionMetrics()
    images = torch.zeros(len(truths), 3, 1, 1)
    batch = DetectionBatch(images, [{}] * len(truths), truths)
    metrics.update({"detections": found, "loss": torch.tensor(2.0)}, batch)
    scores = metrics.compute()

    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = as_coco(truths)
        reference.createIndex()
        detections = reference.loadRes(listed(*compared(found, truths)[:1]))
        evaluation_of_coco = evaluation.COCOeval(reference, detections, "bbox")
        evaluation_of_coco.evaluate()
        evaluation_of_coco.accumulate()
        evaluation_of_coco.summarize()
    names = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
    expected = dict(zip(names, evaluation_of_coco.stats[:6].tolist(), strict=True)) | {
        "mar_100": float(evaluation_of_coco.stats[8])
    }
    known = {name: value for name, value in expected.items() if value >= 0}  # -1: no object of that size
    assert scores == pytest.approx(known | {"loss": 2.0, "num_examples": len(truths)}, abs=1e-6)
    assert 0.1 < scores["map"] < 0.9


def as_coco(truths: list[Objects]) -> dict[str, object]:
    annotations = [
        {
            "id": 100 * number + index,
            "image_id": number,
            "category_id": int(label),
            "bbox": [left, top, right - left, bottom - top],
            "area": float(area),
            "iscrowd": int(crowd),
        }
        for number, item in enumerate(truths)
        for index, ((left, top, right, bottom), label, area, crowd) in enumerate(
            zip(item.boxes_px.tolist(), item.labels, item.area_px, item.is_crowd, strict=True), start=1
        )
    ]
    images = [{"id": number} for number in range(len(truths))]
    return {"images": images, "annotations": annotations, "categories": [{"id": n} for n in range(3)]}


def listed(found: list[dict[str, torch.Tensor]]) -> list[dict[str, object]]:
    return [
        {"image_id": number, "category_id": int(label), "bbox": box.tolist(), "score": float(score)}
        for number, item in enumerate(found)
        for box, label, score in zip(item["boxes"], item["labels"], item["scores"], strict=True)
    ]


def test_a_size_that_no_object_has_gets_no_score() -> None:
    truth = objects_of("a", (64, 64), [(0, 0, 20, 20)], [0])
    found = {"boxes": truth.boxes_px / 64, "labels": truth.labels, "scores": torch.tensor([0.9])}
    metrics = DetectionMetrics()
    batch = DetectionBatch(torch.zeros(1, 3, 1, 1), [{}], [truth])
    for _ in range(2):  # what was fed is forgotten
        metrics.update({"detections": [found], "loss": torch.tensor(1.0)}, batch)
        assert metrics.compute() == {
            "map": 1.0,
            "map_50": 1.0,
            "map_75": 1.0,
            "map_small": 1.0,
            "mar_100": 1.0,
            "loss": 1.0,
            "num_examples": 1.0,
        }


def test_at_most_100_detections_of_an_image_count_the_surest() -> None:
    truth = objects_of("a", (100, 50), [], [])
    scores = torch.arange(150) / 150
    found = {"boxes": torch.rand(150, 4), "labels": torch.arange(150), "scores": scores}
    item = compared([found], [truth])[0][0]
    assert item["labels"].tolist() == list(range(149, 49, -1))


def test_test_tables_have_the_datas_own_category_ids(tmp_path: Path) -> None:
    boxes = [annotation(10 + n, (3, 90)[n % 2], (5, 5, 50, 25)) for n in range(20)]
    data = f"coco:{coco_file(tmp_path / 'boxes.json', boxes, num_images=20)}"
    training = TRAINABLE.start(Hparams(**SMALL), TINY, context(tmp_path, data, resolution=32))
    training.test()
    tables = tables_of_test(training)
    rows = tables["average_precision"].rows
    assert [row[:3] for row in rows] == [("dog", 3, 1), ("cat", 7, 0), ("cow", 90, 2)]
    assert rows[1][3:] == (None, None)
    found = tables["detections"]
    assert {row[found.columns.index("category_id")] for row in found.rows} <= {3, 7, 90}
    assert {row[0] for row in tables["mistakes"].rows} <= {f"{n}.png" for n in range(10, 30)}
    assert len(images_of_test(training)) == len(tables["mistakes"].rows)
    assert training.notes()["categories"] == "3 classes; ids 3 to 90 in the data"


def test_voc_images_are_trained_on(tmp_path: Path) -> None:
    images = {f"{n:02d}": [("cell", (5, 5, 60, 40), n % 2)] for n in range(20)}
    data = f"voc:{voc_folder(tmp_path / 'voc', images)}"
    training = TRAINABLE.start(
        Hparams(**{**SMALL, "augment": "light"}), TINY, context(tmp_path, data, resolution=32)
    )
    values = training.run_epoch(Budget(epochs=1, resolution=32))
    assert values["num_examples"] == 14
    assert 0 <= values["val_map"] <= 1


def saved(folder: Path, name: str = "rt_detr_tiny", num_classes: int = 5) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(5)
    config = config_of(name)
    config.num_labels = num_classes
    model = AutoModelForObjectDetection.from_config(config)
    model.save_pretrained(folder)
    return folder / "model.safetensors", model


def test_weights_of_a_file_are_taken_but_for_the_classes(tmp_path: Path) -> None:
    path, trained = saved(tmp_path)
    detector = build_detector("rt_detr_tiny", num_classes=3, weights=f"file:{path}").model.detector
    theirs, ours = trained.state_dict(), detector.state_dict()
    apart = {name for name, value in ours.items() if theirs[name].shape != value.shape}
    assert apart
    assert all("class_embed" in name or "enc_score_head" in name for name in apart)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() - apart)


def test_weights_of_a_hub_are_found_beside_their_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    snapshot = hub / "models--someone--small" / "snapshots" / "c0ffee"
    (hub / "models--someone--small" / "refs").mkdir(parents=True)
    (hub / "models--someone--small" / "refs" / "main").write_text("c0ffee")
    _, trained = saved(snapshot, "d_fine_tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    hparams = Hparams(model="hub/someone/small", weights="hub")
    files = [file.location for file in TRAINABLE.weights(hparams)]
    assert files == ["someone/small/config.json", "someone/small/model.safetensors"]
    model = build_detector(hparams.model, num_classes=3, weights="hub").model
    name = "model.decoder.layers.0.fc1.weight"
    name = name if name in trained.state_dict() else next(iter(trained.state_dict()))
    assert torch.equal(model.detector.state_dict()[name], trained.state_dict()[name])


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "detr_tiny")
    (tmp_path / "config.json").write_text(config_of("rt_detr_tiny").to_json_string())
    with pytest.raises(WeightsError, match="cannot be read as weights of rt_detr_tiny"):
        build_detector("rt_detr_tiny", num_classes=3, weights=f"file:{path}")


def test_a_config_of_ones_own_is_built(tmp_path: Path) -> None:
    content = json.loads(config_of("rt_detr_tiny").to_json_string()) | {"num_queries": 7}
    (tmp_path / "config.json").write_text(json.dumps(content))
    model = build_detector(f"file:{tmp_path}/config.json", num_classes=3).model.eval()
    with torch.no_grad():
        assert [len(item["scores"]) for item in detected(model, TWO)["detections"]] == [7, 7]


def test_a_second_version_is_built_from_its_config_and_another_kind_is_refused(tmp_path: Path) -> None:
    content = json.loads(config_of("rt_detr_tiny").to_json_string()) | {"num_queries": 7}
    (tmp_path / "config.json").write_text(json.dumps(content | {"model_type": "rt_detr_v2"}))
    model = build_detector(f"file:{tmp_path}/config.json", num_classes=3).model
    assert type(model.detector).__name__ == "RTDetrV2ForObjectDetection"
    assert detected(model, TWO)["loss"].isfinite()
    (tmp_path / "config.json").write_text('{"model_type": "yolos"}')
    with pytest.raises(
        ValueError, match="is of the kind yolos; supported are rt_detr, rt_detr_v2, d_fine, detr"
    ):
        build_detector(f"file:{tmp_path}/config.json", num_classes=3)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"model": "rt_detr"}, "no detector is named 'rt_detr'; near are rt_detr_"),
        (
            {"weights": "file:here.pt"},
            "weights must be none, hub, backbone or file:PATH with an absolute path",
        ),
        ({"augment": "much"}, "augment must be one of none, light, strong"),
        ({"layer_decay": 0.5}, "layer_decay below 1 needs a classifier of timm"),
    ],
)
def test_values_that_make_no_sense_are_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Hparams(**settings)


@pytest.mark.parametrize("name", ["rt_detr_tiny", "file:/no/config.json"])
def test_a_model_that_no_hub_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no hub has weights for"):
        TRAINABLE.weights(Hparams(model=name, weights="hub"))


def test_torchvision_says_which_detectors_it_has() -> None:
    with pytest.raises(
        ValueError, match=r"torchvision has no detector 'yolo'; there are .*fcos_resnet50_fpn"
    ):
        build_detector("torchvision/yolo", num_classes=3)


def test_more_images_than_there_are_cannot_be_asked_for(tmp_path: Path) -> None:
    training = TRAINABLE.start(Hparams(**SMALL), TINY, context(tmp_path))
    with pytest.raises(DataError, match="a subset of 2 examples was asked for"):
        training.run_epoch(replace(TINY, subset=2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "fp32"),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "bf16"),
        ("ssdlite320_mobilenet_v3_large", "fp32"),
        ("ssdlite320_mobilenet_v3_large", "bf16"),
        # Not bf16: on a CPU torch gives fpn.extra_blocks.p7 a gradient of NaN where its map is one pixel.
        ("retinanet_resnet50_fpn", "fp32"),
    ],
)
def test_detectors_of_torchvision_train_and_are_scored(tmp_path: Path, name: str, precision: str) -> None:
    hparams = Hparams(model=f"torchvision/{name}", batch_size=4, ema_decay=None, lr=3e-4)
    training = TRAINABLE.start(hparams, TINY, context(tmp_path, is_overfit=True, precision=precision))
    rows = [training.run_epoch(replace(TINY, epochs=4, subset=8)) for _ in range(4)]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["val_loss"] > 0
    assert rows[-1]["val_map"] >= 0
