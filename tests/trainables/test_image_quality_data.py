"""Scores come from a table as they are meant, and no reference is in two parts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from trainables.core.contract import Budget, DataError, DataSpec, TrainingContext
from trainables.engine.images.data import Statistics
from trainables.image_quality.patches import PatchBatch, PatchBatches, cut_patches, places
from trainables.image_quality.photographs import photographs
from trainables.image_quality.ratings import Ratings, read_ratings
from trainables.image_quality.sources import check_quality_data, load_quality_data

UNSCALED = Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Row = dict[str, object]


def context(data: DataSpec, folder: Path, **settings) -> TrainingContext:
    return TrainingContext(data=data, data_seed=0, seed=0, cache_dir=folder / "cache", **settings)


def table(folder: Path, rows: list[Row], *, images: str = ".") -> Path:
    """A CSV file of `rows`, and grey images of 40 x 20 px whose value is the row's number."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        name = str(row.get("image", row.get("image_name")))
        Image.new("L", (40, 20), number).save(folder / images / name)
    path = folder / "scores.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def of_references(num_references: int, num_images: int) -> list[Row]:
    return [
        {"image": f"{reference}-{number}.png", "score": number, "reference": f"r{reference}"}
        for reference in range(num_references)
        for number in range(num_images)
    ]


def test_no_reference_is_in_two_parts(tmp_path: Path) -> None:
    path = table(tmp_path, of_references(20, 5))
    data = load_quality_data(context({"quality": str(path), "side": 16}, tmp_path))
    parts = [data.splits.train, data.splits.val, data.splits.test]
    found = [{data.ratings.references[row] for row in part.rows.tolist()} for part in parts]
    assert [len(each) for each in found] == [14, 3, 3]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
    assert data.notes()["references"] == ("14 of training, 3 of validation, 3 of test; none is in two parts")


def test_a_table_without_references_is_split_by_image_and_balanced_by_score(tmp_path: Path) -> None:
    path = table(tmp_path, [{"image_name": f"{n}.png", "MOS": n, "SD": 1} for n in range(100)])
    data = load_quality_data(context({"quality": str(path), "side": 16}, tmp_path))
    assert [len(getattr(data.splits, part)) for part in ("train", "val", "test")] == [70, 15, 15]
    levels = data.splits.test.labels.bincount().tolist()
    assert levels == [3, 3, 3, 3, 3]


def test_scores_belong_to_their_images(tmp_path: Path) -> None:
    """Each image is as bright as its score."""
    path = table(tmp_path, [{"image": f"{n}.png", "score": n} for n in range(40)], images="images")
    data = load_quality_data(
        context({"quality": str(path), "images": str(tmp_path / "images"), "side": 16}, tmp_path)
    )
    for part in (data.splits.train, data.splits.val, data.splits.test):
        numbers = torch.arange(len(part))
        pixels = part.images(numbers, 8)
        assert pixels.shape == (len(part), 3, 16, 16)
        assert pixels.float().mean((1, 2, 3)).tolist() == data.scores_of(part, numbers).tolist()
        assert part.name(0) == f"{int(data.scores_of(part, numbers)[0])}.png"


def test_parts_that_a_table_brings_are_kept(tmp_path: Path) -> None:
    parts = ["training"] * 6 + ["validation"] * 3 + ["test"] * 3
    rows: list[Row] = [{"image": f"{n}.png", "score": n % 3, "set": part} for n, part in enumerate(parts)]
    found = read_ratings(table(tmp_path, rows), tmp_path)
    assert found.split(seed=5).tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    without = Ratings(found.images, found.scores, found.references, ("train",) * 9 + ("test",) * 3)
    kept = without.split(seed=5).tolist()
    assert (kept[9:], kept[:9].count("val")) == (["test"] * 3, 1)


def test_of_several_columns_of_images_the_first_usual_name_counts_and_split_is_one_of_parts(
    tmp_path: Path,
) -> None:
    rows = [
        {"id": n, "image": f"{n}.png", "score": n, "split": "test" if n > 4 else "train"} for n in range(6)
    ]
    found = read_ratings(table(tmp_path, rows), tmp_path)
    assert (found.images[5], found.parts) == ("5.png", (*("train",) * 5, "test"))


def test_names_of_another_machine_are_found_and_parts_have_any_usual_name(tmp_path: Path) -> None:
    rows: list[Row] = [{"image": f"{n}.png", "score": n, "set": ("Train", "dev")[n % 2]} for n in range(4)]
    path = table(tmp_path, rows)
    path.write_text(path.read_text().replace("0.png", "C:\\photos\\0.PNG"))
    found = read_ratings(path, tmp_path)
    assert (found.images, found.parts) == (("0.png", "1.png", "2.png", "3.png"), ("train", "val") * 2)


def test_all_problems_of_a_table_come_at_once(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"image": "a.png", "score": 1, "reference": "x", "part": "train"},
        {"image": "b.png", "score": "good", "reference": "x", "part": "test"},
        {"image": "a.png", "score": 2, "reference": "y", "part": "fold 1"},
    ]
    path = table(tmp_path, rows)
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError) as raised:
        read_ratings(path, tmp_path)
    assert str(raised.value) == (
        f"{path} has 5 problems: "
        f"line 3: there is no image {tmp_path / 'b.png'} (images: FOLDER says where they are); "
        "line 3: score is good, not a number; line 3: reference x is in test and in train; "
        "line 4: a.png is listed twice; line 4: part is fold 1; it may be train, val or test"
    )


def test_a_table_without_the_columns_says_which_it_has(tmp_path: Path) -> None:
    path = table(tmp_path, [{"image": "a.png", "quality": 1}])
    with pytest.raises(
        DataError, match=r"has no column score, only image, quality; it needs image and score"
    ):
        read_ratings(path, tmp_path)


def test_too_few_references_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, of_references(2, 5))
    with pytest.raises(DataError, match=r"2 references are too few .* give at least 3, or a column part"):
        load_quality_data(context({"quality": str(path), "side": 16}, tmp_path))


def test_a_part_of_one_score_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, [{"image": f"{n}.png", "score": 3} for n in range(20)])
    with pytest.raises(DataError, match=r"all 14 images of train are scored 3"):
        load_quality_data(context({"quality": str(path), "side": 16}, tmp_path))


def test_a_patch_larger_than_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"patches of 97 px cannot be cut from images of 96 px; give"):
        check_quality_data(context("photographs", tmp_path, resolution=97))


def test_preflight_counts_and_finds_what_cannot_be_read(tmp_path: Path) -> None:
    path = table(tmp_path, of_references(4, 5))
    assert check_quality_data(context(f"quality:{path}", tmp_path)) == [
        "20 images of 4 references, scores 0 to 4, the middle square of each at 384 px",
        "20 of the images checked are smaller and are enlarged, which blurs them; side may be less",
    ]
    assert len(check_quality_data(context({"quality": str(path), "side": 20}, tmp_path))) == 1
    (tmp_path / "0-0.png").write_text("no image")
    with pytest.raises(DataError, match=r"1 problems: cannot identify image file .*0-0\.png"):
        check_quality_data(context(f"quality:{path}", tmp_path))


@pytest.mark.parametrize("data", ["digits", "quality:", "photograph"])
def test_an_unknown_source_is_refused_with_those_there_are(tmp_path: Path, data: str) -> None:
    with pytest.raises(DataError, match=r"no data source is named .*; there are photographs, "):
        check_quality_data(context(data, tmp_path))


@pytest.mark.parametrize("option", [{"side": 0}, {"side": "big"}, {"size": 3}, {"images": 3}])
def test_an_option_of_a_source_that_makes_no_sense_is_refused(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^(side must be a|quality has no option size|images must be text)"):
        load_quality_data(context({"quality": f"{tmp_path}/a.csv", **option}, tmp_path))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv cannot be read: No such file or directory"):
        check_quality_data(context(f"quality:{tmp_path}/none.csv", tmp_path))


def test_photographs_are_the_same_ones_whenever_they_are_made() -> None:
    images, ratings = photographs()
    assert images.shape == (440, 3, 96, 96)
    assert ratings.num_references == 11
    assert ratings.levels().bincount().tolist() == [132, 132, 0, 132, 44]  # four scores fill four of the five
    again, _ = photographs.__wrapped__()
    assert torch.equal(images, again)


def test_distortions_rise() -> None:
    """The further from the window as it is, the lower the score, for each kind."""
    images, ratings = photographs()
    window = ratings.images.index("camera-0-original-0")
    for kind in ("blur", "noise", "jpeg"):
        rows = [ratings.images.index(f"camera-0-{kind}-{level}") for level in range(1, 4)]
        distances = [(images[row].float() - images[window].float()).square().mean() for row in rows]
        assert distances == sorted(distances)
        assert [ratings.scores[row] for row in rows] == [3.0, 2.0, 1.0]


def test_places_reach_from_edge_to_edge() -> None:
    assert places(96, 48, 3).tolist() == [0, 24, 48]
    assert places(96, 95, 5).tolist() == [0, 1]
    assert places(96, 96, 5).tolist() == [0]
    assert places(96, 48, 1).tolist() == [24]


def test_patches_are_cut_where_they_should_be() -> None:
    images = torch.arange(2 * 4 * 5).view(2, 1, 4, 5)
    tops, lefts = torch.tensor([[0, 2], [1, 0]]), torch.tensor([[3, 0], [1, 2]])
    mirrored = torch.tensor([[False, True], [False, False]])
    found = cut_patches(images, tops, lefts, mirrored, side=2)
    assert found[:, 0].tolist() == [
        [[3, 4], [8, 9]],
        [[11, 10], [16, 15]],
        [[26, 27], [31, 32]],
        [[22, 23], [27, 28]],
    ]


def batches(folder: Path, *, num_patches: int = 1, seed: int = 0, **settings) -> PatchBatches:
    whole = TrainingContext(
        data="photographs", data_seed=0, seed=seed, cache_dir=folder, resolution=48, **settings
    )
    return PatchBatches(
        load_quality_data(whole), whole, statistics=UNSCALED, num_patches=num_patches, grid=2, flip=True
    )


def epoch_of(made: PatchBatches, epoch: int, subset: int = 8) -> tuple[list[int], PatchBatch]:
    examples = made.epoch(Budget(epochs=2, subset=subset, resolution=32), epoch)
    (indices,) = examples.steps(10_000, drop_single=False)
    return indices.tolist(), examples.batch(indices.sort().values)


def test_scored_patches_are_the_same_in_every_trial_and_epoch(tmp_path: Path) -> None:
    budget = Budget(epochs=2, resolution=32)
    one, other = (list(batches(tmp_path, seed=seed).validation(budget)) for seed in (0, 1))
    assert [len(batch) for batch in one] == [64, 16]
    assert one[0].patches.shape == (256, 3, 48, 48)  # four of each image, at the top resolution
    assert all(torch.equal(a.patches, b.patches) for a, b in zip(one, other, strict=True))
    val = load_quality_data(context("photographs", tmp_path, resolution=48)).splits.val
    corner = val.images(val.subset(None)[:1], 48)[0, :, :48, :48] / 255
    assert torch.allclose(one[0].patches[0], corner, atol=1e-6)


def test_training_patches_are_drawn_anew_each_epoch_and_the_same_for_one_seed(tmp_path: Path) -> None:
    made = batches(tmp_path)
    (_, first), (_, again), (_, later) = (epoch_of(made, epoch) for epoch in (0, 0, 1))
    assert first.patches.shape == (8, 3, 32, 32)
    assert torch.equal(first.patches, again.patches)
    assert torch.equal(first.scores, later.scores)
    assert not torch.equal(first.patches, later.patches)


def test_several_patches_of_an_image_are_examples_of_their_own(tmp_path: Path) -> None:
    numbers, batch = epoch_of(batches(tmp_path, num_patches=3), 0)
    assert len(numbers) == 24
    assert numbers != sorted(numbers)
    by_image = batch.scores.view(8, 3)
    assert torch.equal(by_image[:, 0], by_image[:, 2])
    assert len({patch.numpy().tobytes() for patch in batch.patches}) == 24


def test_the_scored_patches_are_what_is_overfit(tmp_path: Path) -> None:
    made = batches(tmp_path, is_overfit=True)
    budget = Budget(epochs=2, subset=8, resolution=32)
    examples = made.epoch(budget, 1)
    (indices,) = examples.steps(8, drop_single=False)
    (scored,) = made.validation(budget)
    assert torch.equal(examples.batch(indices).patches, scored.patches)


def test_pieces_hold_whole_images() -> None:
    batch = PatchBatch(torch.arange(12.0).view(6, 2, 1, 1), torch.tensor([1.0, 2.0, 3.0]))
    pieces = batch.split(2)
    assert [piece.scores.tolist() for piece in pieces] == [[1.0, 2.0], [3.0]]
    assert [piece.patches[:, 0, 0, 0].tolist() for piece in pieces] == [[0, 2, 4, 6], [8, 10]]
