"""Persons are found again by the rules of Market-1501, and trained on in groups of images."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.retrieval import RetrievalMAP

from trainables.core.contract import Budget, DataError, TrainingContext
from trainables.engine.images.augment import Augment
from trainables.person_reid import TRAINABLE, Hparams, overfit_overrides
from trainables.person_reid.batches import PersonBatch, PersonBatches, grouped
from trainables.person_reid.metrics import Described, PersonDetails, PersonMetrics, found, means
from trainables.person_reid.models import PersonLoss, build_person_net
from trainables.person_reid.sightings import JUNK
from trainables.person_reid.training import start

NUM_PERSONS, NUM_CAMERAS, NUM_GALLERY, SIZE = 30, 6, 600, 16


def noisy_gallery(seed: int) -> tuple[Described, Described]:
    """60 queries in a gallery of 600: persons' features under much noise, junk, and distractors' features."""
    random = torch.Generator().manual_seed(seed)
    own = torch.randn(NUM_PERSONS + 1, SIZE, generator=random)

    def described(labels: Tensor) -> Described:
        noise = 1.6 * torch.randn(len(labels), SIZE, generator=random)
        cameras = torch.randint(NUM_CAMERAS, (len(labels),), generator=random)
        return Described(functional.normalize(own[labels] + noise, dim=1), labels, cameras)

    queries = described(torch.arange(NUM_PERSONS).repeat(2))
    return queries, described(torch.randint(JUNK, NUM_PERSONS + 1, (NUM_GALLERY,), generator=random))


def by_hand(queries: Described, gallery: Described) -> list[tuple[float, int]]:
    """Average precision and the first right place of each query: down the ranked list, image by image."""
    answers = []
    for feature, label, camera in zip(queries.features, queries.labels, queries.cameras, strict=True):
        likeness = [float(feature.double() @ other.double()) for other in gallery.features]
        ranking = sorted(range(len(likeness)), key=lambda place: -likeness[place])
        num_seen = num_right = 0
        old_recall, old_precision, area, first = 0.0, 1.0, 0.0, 0
        is_right = [bool(gallery.labels[n] == label and gallery.cameras[n] != camera) for n in ranking]
        for place, right in zip(ranking, is_right, strict=True):
            is_own_camera = gallery.labels[place] == label and gallery.cameras[place] == camera
            if gallery.labels[place] == JUNK or is_own_camera:
                continue
            num_seen += 1
            num_right += right
            if right and not first:
                first = num_seen
            recall, precision = num_right / sum(is_right), num_right / num_seen
            area += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
        answers.append((area, first))
    return answers


@pytest.mark.parametrize("seed", [0, 1])
def test_map_and_ranks_are_those_of_a_reference_computed_by_hand(seed: int) -> None:
    queries, gallery = noisy_gallery(seed)
    expected = by_hand(queries, gallery)
    scores = means(found(queries, gallery))
    assert scores["map"] == pytest.approx(sum(area for area, _ in expected) / 60, abs=1e-12)
    for rank in (1, 5, 10):
        assert scores[f"rank_{rank}"] == sum(first <= rank for _, first in expected) / 60
    assert 0.05 < scores["map"] < 0.5
    assert 0 < scores["rank_1"] < scores["rank_10"] < 1


def test_the_map_of_market_1501_is_not_that_of_torchmetrics() -> None:
    queries, gallery = noisy_gallery(0)
    rectangles = RetrievalMAP()
    for number in range(60):
        is_same = gallery.labels == queries.labels[number]
        is_junk = (gallery.labels == JUNK) | (is_same & (gallery.cameras == queries.cameras[number]))
        likeness = gallery.features[~is_junk] @ queries.features[number]
        rectangles.update(likeness, is_same[~is_junk], indexes=torch.full_like(likeness, number).long())
    assert means(found(queries, gallery))["map"] == pytest.approx(0.166, abs=5e-4)
    assert float(rectangles.compute()) == pytest.approx(0.190, abs=6e-4)


def test_a_ranking_of_two_right_ones_after_a_wrong_one_by_numbers() -> None:
    """Precision 1 (before), 0, 1/2, 2/3 after recall 0, 0, 1/2, 1: (0 + 1/2) / 4 + (1/2 + 2/3) / 4."""
    query = Described(torch.tensor([[1.0, 0.0]]), torch.tensor([7]), torch.tensor([1]))
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4])
    gallery = Described(
        torch.stack([angles.cos(), angles.sin()], dim=1),
        torch.tensor([7, JUNK, 3, 7, 7]),  # the first is by the query's own camera
        torch.tensor([1, 2, 2, 2, 3]),
    )
    answer = found(query, gallery)
    assert answer.average_precision.tolist() == pytest.approx([0.5 / 4 + (1 / 2 + 2 / 3) / 4])
    assert answer.first_rank.tolist() == [2.0]
    assert answer.nearest.tolist() == [2]
    shares = (16 * angles[2:].cos()).softmax(0)
    assert answer.loss.tolist() == pytest.approx([-float(shares[1:].sum().log())], abs=1e-5)


def batch_of(labels: list[int], cameras: list[int]) -> PersonBatch:
    yes = torch.ones(len(labels), dtype=torch.bool)
    return PersonBatch(
        torch.zeros(len(labels), 3, 2, 1), torch.tensor(labels), torch.tensor(cameras), yes, yes
    )


def test_queries_without_a_right_answer_do_not_count() -> None:
    metrics = PersonMetrics()
    features = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]])
    metrics.update({"features": features}, batch_of([4, 4, 5], [1, 2, 1]))
    assert metrics.compute()["map"] == 1.0


def test_if_none_has_a_right_answer_the_score_is_refused_with_the_remedy() -> None:
    metrics = PersonMetrics()
    metrics.update({"features": torch.eye(2)}, batch_of([4, 5], [1, 2]))
    with pytest.raises(DataError, match=r"none of 2 queries can be answered: .*; score more of them"):
        metrics.compute()


def test_the_table_of_queries_begins_with_the_worst() -> None:
    details = PersonDetails("image {}".format)
    assert details.tables() == {}
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [0.9, 0.1], [1.0, 1.0]])
    details.update({"features": features}, batch_of([4, 4, 5, 5, 6], [1, 2, 1, 2, 1]))
    tables = details.tables()
    table = tables["queries"]
    assert tables["examples"].columns == ("example", "map", "rank_1")
    assert tables["examples"].rows[1] == ("image 1", 1 / 8, 0.0)
    assert [row[0] for row in table.rows] == ["image 0", "image 1", "image 2", "image 3"]
    assert table.rows[1] == ("image 1", 1 / 8, 4, "image 2")  # precision 0 before, 1/4 at place 4
    assert table.rows[2] == ("image 2", pytest.approx(1 / 6), 3, "image 1")
    assert details.tables() == {}


def test_batches_have_as_many_images_of_each_person() -> None:
    labels = torch.tensor([0] * 12 + [1] * 9 + [2] * 3 + [3] * 8)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    found_order = grouped(order, labels, 4, torch.Generator().manual_seed(1))
    assert len(found_order) == 32
    for batch in found_order.split(16):
        assert Counter(labels[batch].tolist()) == {0: 4, 1: 4, 2: 4, 3: 4}
    own = [number for number in found_order.tolist() if labels[number] == 0]
    assert len(set(own)) == 8  # of 12, and none twice
    assert Counter(labels[found_order].tolist())[2] == 8  # of 3: they come again


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="persons", data_seed=0, seed=1, cache_dir=tmp_path)


def batches_of(context: TrainingContext, **changes: object) -> PersonBatches:
    return start(Hparams(**{**TRAINABLE.example.hparams, **changes}), Budget(epochs=2), context).batches


def test_images_are_twice_as_tall_as_wide_at_every_resolution(context: TrainingContext) -> None:
    batches = batches_of(context)
    for side in (64, 48, 32):
        epoch = batches.epoch(Budget(epochs=1, resolution=side), 0)
        assert epoch.batch(epoch.order[:2]).images.shape == (2, 3, side, side // 2)
    (scored,) = list(batches.validation(Budget(epochs=1, resolution=32)))
    assert scored.images.shape[2:] == (64, 32)


def test_groups_are_drawn_anew_each_epoch_and_the_same_for_one_seed(context: TrainingContext) -> None:
    budget = Budget(epochs=2)
    first, again = (batches_of(context).epoch(budget, 0).order for _ in range(2))
    later = batches_of(context).epoch(budget, 1).order
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_without_a_loss_between_images_each_is_seen_once(context: TrainingContext) -> None:
    order = batches_of(context, metric_loss="none").epoch(Budget(epochs=2), 0).order
    assert sorted(order.tolist()) == list(range(len(order)))


def test_a_loss_between_images_is_added_to_the_names() -> None:
    torch.manual_seed(0)
    outputs = {"features": torch.randn(4, 8), "logits": torch.randn(4, 2, 3)}
    batch = batch_of([0, 0, 1, 1], [1, 2, 1, 2])
    alone = PersonLoss("none", weight=1.0, label_smoothing=0.0)(outputs, batch)
    by_stripe = [functional.cross_entropy(outputs["logits"][:, n], batch.labels) for n in range(2)]
    assert float(alone) == pytest.approx(float(sum(by_stripe)))
    unit = functional.normalize(outputs["features"], dim=1)
    apart = torch.cdist(unit, unit)
    hardest = [(apart[n, n ^ 1] - apart[n, [2, 3] if n < 2 else [0, 1]].min() + 0.3).relu() for n in range(4)]
    above = [float(loss) for loss in hardest if loss > 0]
    triplet = PersonLoss("triplet", weight=0.5, label_smoothing=0.0)(outputs, batch)
    assert float(triplet - alone) == pytest.approx(0.5 * sum(above) / len(above), abs=1e-5)
    circle = PersonLoss("circle", weight=1.0, label_smoothing=0.0)(outputs, batch)
    assert float(circle) > float(alone)


@pytest.mark.parametrize(("name", "num_features"), [("pcb/resnet10t", 96), ("pcb/resnet18", 96)])
def test_six_stripes_have_their_own_features_and_twice_the_rows(name: str, num_features: int) -> None:
    model, _ = build_person_net(name, num_identities=5, weights="none", num_features=16, drop_rate=0.0)
    outputs = model.eval()(torch.zeros(2, 3, 192, 96))
    assert outputs["features"].shape == (2, num_features)
    assert outputs["logits"].shape == (2, 6, 5)
    assert model.backbone.forward_features(torch.zeros(1, 3, 192, 96)).shape[2:] == (12, 6)


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "pcb"])
def test_the_published_networks_are_built(name: str) -> None:
    model, _ = build_person_net(name, num_identities=5, weights="none", num_features=16, drop_rate=0.5)
    assert model.eval()(torch.zeros(1, 3, 64, 32))["logits"].shape == (1, 6 if name == "pcb" else 1, 5)


def test_a_network_that_makes_no_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="test_vit returns no feature maps; name a convolutional network"):
        build_person_net("test_vit", num_identities=5, weights="none", num_features=16, drop_rate=0.0)
    with pytest.raises(ValueError, match=r"pcb/densenet121 needs a ResNet of timm, such as pcb/resnet50"):
        build_person_net("pcb/densenet121", num_identities=5, weights="none", num_features=16, drop_rate=0.0)


def test_hyperparameters_that_make_no_sense_are_refused_together() -> None:
    wrong = {"model": "torchvision/resnet18", "metric_loss": "triplet", "batch_size": 30, "layer_decay": 0.5}
    with pytest.raises(ValueError, match=r"layer_decay below 1.*network of timm.*; batch_size must be a"):
        Hparams(**wrong)


def test_weights_are_those_of_the_backbone() -> None:
    assert TRAINABLE.weights(Hparams(model="pcb")) == ()
    (file,) = TRAINABLE.weights(Hparams(model="pcb", weights="hub"))
    assert file.location == "timm/resnet50.a1_in1k/model.safetensors"
    with pytest.raises(ValueError, match="no model is named 'resnet_18'"):
        TRAINABLE.weights(Hparams(model="pcb/resnet_18"))


def test_few_images_are_learnt_with_a_loss_between_them_where_batches_fit_it() -> None:
    assert overfit_overrides(Hparams()) == {
        "metric_loss": "triplet",
        "backbone_lr_ratio": 1.0,
        "drop_rate": 0.0,
    }
    assert overfit_overrides(Hparams(weights="hub")) == {"metric_loss": "triplet"}
    assert overfit_overrides(Hparams(weights="hub", batch_size=30)) == {}


def test_hyperparameters_of_a_loss_that_is_not_there_are_named(context: TrainingContext) -> None:
    hparams = {**TRAINABLE.example.hparams, "metric_loss": "none", "images_per_identity": 2}
    notes = start(Hparams(**hparams), Budget(epochs=1), context).notes()
    assert notes["no effect of images_per_identity"] == (
        "metric_loss is none: images come in any order, and are not compared"
    )
    assert notes["persons"] == (
        "12 persons are held out for validation and not trained on: 48 queries, one for each person and "
        "camera, in 144 images"
    )


@pytest.mark.parametrize("metric_loss", ["none", "triplet", "circle"])
def test_it_trains_in_bf16_with_every_loss(context: TrainingContext, metric_loss: str) -> None:
    budget = Budget(epochs=1, subset=64)
    hparams = Hparams(**{**TRAINABLE.example.hparams, "metric_loss": metric_loss})
    values = start(hparams, budget, replace(context, precision="bf16", validation_subset=48)).run_epoch(
        budget
    )
    assert values["train_loss"] > 0
    assert {"val_map", "val_rank_1", "val_rank_5", "val_rank_10", "val_loss"} <= values.keys()


def test_a_scored_image_is_described_with_its_mirror_image_and_by_stripes_of_one_length() -> None:
    torch.manual_seed(0)
    nets = [
        build_person_net(
            "pcb/resnet10t", num_identities=3, weights="none", drop_rate=0.5, flip_test=flip_test
        )[0]
        for flip_test in (False, True)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    images = torch.rand(2, 3, 96, 48)
    plain, both = (net.eval()(images)["features"] for net in nets)
    assert plain.shape == (2, 6 * 256)
    assert plain.unflatten(1, (6, -1)).norm(dim=2).flatten().tolist() == pytest.approx([1.0] * 12)
    mirrored = nets[1](images.flip(3))["features"]
    torch.testing.assert_close(both, mirrored, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, nets[0](images.flip(3))["features"], atol=1e-3)


@pytest.mark.parametrize(("name", "num"), [("resnet10t", 512), ("pcb/resnet10t", 256)])
def test_a_network_has_as_many_features_as_its_reference(name: str, num: int) -> None:
    net, _ = build_person_net(name, num_identities=3, weights="none", drop_rate=0.5, resolution=64)
    assert net.head.classifiers[0].in_features == num


def test_a_crop_moves_persons_by_10_pixels_of_256(context: TrainingContext) -> None:
    batches = batches_of(context)
    assert batches._batches._augment.padding == pytest.approx(10 / 256)
    assert TRAINABLE.hparams().augment == "crop"


def test_random_erasing_blanks_a_rectangle_of_some_images_and_the_same_for_one_seed() -> None:
    images = torch.ones(40, 3, 32, 16)
    augment = Augment(0.0, random_erasing=0.5)
    draws = augment.draws(40, seed=0, epoch=0)
    erased = augment.erased(images, draws)
    shares = (erased == 0).float().mean((1, 2, 3))
    assert 10 <= int((shares > 0).sum()) <= 30
    assert 0.01 < float(shares[shares > 0].min()) <= float(shares.max()) <= 0.42
    assert torch.equal(erased, augment.erased(images, draws))
    assert torch.equal(erased[7:8], augment.erased(images[7:8], draws[7:8]))
    assert torch.equal(Augment(0.0).erased(images, draws), images)


def test_hrnet_is_given_heights_whose_half_it_takes_too() -> None:
    """It takes multiples of 32 px: 96 px tall persons are 48 px wide, so they are made 64 px tall."""
    net, built = build_person_net(
        "hrnet_w18_small", num_identities=3, weights="none", drop_rate=0.5, resolution=128
    )
    assert [built.resolutions.nearest(height) for height in (128, 96, 64)] == [128, 64, 64]
    assert net.eval()(torch.zeros(1, 3, 64, 32))["features"].shape == (1, 512)
