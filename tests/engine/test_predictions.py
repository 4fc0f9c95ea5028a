"""Tables of a classifier's predictions for each image."""

from __future__ import annotations

import math
from io import BytesIO

import pytest
import torch
from PIL import Image

from trainables.core.optional import Table
from trainables.engine.classifiers.predictions import Predictions, confusion_tables
from trainables.engine.images.batches import Batch

NAMES = ("ant", "bee", "cat", "dog")
# Three ants, of which one was taken for a bee; four bees, of which two for cats and one for an ant; one
# cat, taken for an ant. There is no dog, and nothing was taken for one.
MATRIX = torch.tensor([[2, 1, 0, 0], [1, 1, 2, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


def labelled(*labels: int) -> Batch:
    return Batch(torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels))


def logits(*shares: tuple[float, ...]) -> torch.Tensor:
    """Logits whose softmax is `shares`."""
    return torch.tensor(shares).log()


@pytest.fixture
def tables() -> dict[str, Table]:
    return confusion_tables(NAMES, MATRIX)


def test_the_confusion_has_a_row_for_each_label_and_a_column_for_each_prediction(tables):
    assert tables["confusion"].columns == ("label", "ant", "bee", "cat", "dog")
    assert tables["confusion"].rows == [
        ("ant", 2, 1, 0, 0),
        ("bee", 1, 1, 2, 0),
        ("cat", 1, 0, 0, 0),
        ("dog", 0, 0, 0, 0),
    ]


def test_normalised_it_holds_shares_of_each_label_and_nothing_for_a_label_without_images(tables):
    assert tables["confusion_normalised"].rows == [
        ("ant", 2 / 3, 1 / 3, 0, 0),
        ("bee", 0.25, 0.25, 0.5, 0),
        ("cat", 1, 0, 0, 0),
        ("dog", None, None, None, None),
    ]


def test_scores_of_a_class_are_left_empty_where_they_are_not_defined(tables):
    assert tables["per_class"].columns == ("label", "num_images", "accuracy", "precision", "f1")
    assert tables["per_class"].rows == [
        ("ant", 3, 2 / 3, 2 / 4, 4 / 7),
        ("bee", 4, 1 / 4, 1 / 2, 2 / 6),
        ("cat", 1, 0, 0, 0),
        ("dog", 0, None, None, None),
    ]


def test_confused_pairs_come_by_number_then_by_share_of_the_label(tables):
    assert tables["confused_pairs"].rows == [
        ("bee", "cat", 2, 0.5),
        ("cat", "ant", 1, 1.0),
        ("ant", "bee", 1, 1 / 3),
        ("bee", "ant", 1, 0.25),
    ]


def test_mistakes_name_the_image_and_come_with_the_surest_first():
    predictions = Predictions(NAMES[:2], ("70", "80", "90").__getitem__)
    predictions.update(logits((0.6, 0.4), (0.8, 0.2)), labelled(1, 0))
    predictions.update(logits((0.1, 0.9)), labelled(0))
    table = predictions.tables()["mistakes"]
    assert table.columns == ("image", "label", "predicted", "score", "label_score")
    assert [row[:3] for row in table.rows] == [("90", "ant", "bee"), ("70", "bee", "ant")]
    assert [share for row in table.rows for share in row[3:]] == pytest.approx([0.9, 0.1, 0.6, 0.4])


def test_batches_come_together_in_one_confusion_which_is_then_forgotten():
    predictions = Predictions(NAMES[:2], str)
    predictions.update(logits((0.6, 0.4), (0.8, 0.2)), labelled(1, 0))
    predictions.update(logits((0.1, 0.9)), labelled(0))
    assert predictions.tables()["confusion"].rows == [("ant", 1, 1), ("bee", 1, 0)]
    assert predictions.tables() == {}


def opened(png: bytes) -> Image.Image:
    return Image.open(BytesIO(png))


def grey(index: int, longest_px: int) -> Image.Image:
    """An image of 4 x 4 px as bright as its number."""
    return Image.new("L", (4, 4), index)


def test_images_are_of_the_surest_mistakes_in_their_order():
    predictions = Predictions(NAMES[:2], str, grey)
    predictions.update(logits((0.6, 0.4), (0.8, 0.2), (0.1, 0.9)), labelled(1, 0, 0))
    predictions.tables()
    images = {name: opened(png) for name, png in predictions.images().items()}
    assert {name: (image.size, image.getpixel((0, 0))) for name, image in images.items()} == {
        "01": ((4, 4), 2),
        "02": ((4, 4), 0),
    }


def test_of_many_mistakes_the_first_24_have_images_of_160_px_at_most():
    asked = []

    def picture(index: int, longest_px: int) -> Image.Image:
        asked.append(longest_px)
        return Image.new("RGB", (80, longest_px))

    predictions = Predictions(NAMES[:2], str, picture)
    predictions.update(logits(*[(0.6, 0.4)] * 30), labelled(*[1] * 30))
    predictions.tables()
    images = predictions.images()
    assert list(images) == [f"{number:02}" for number in range(1, 25)]
    first = opened(images["01"])
    assert (first.mode, first.size) == ("RGB", (80, 160))
    assert asked == [160] * 24


@pytest.mark.parametrize("lost", [None, OSError("gone")])
def test_where_one_image_cannot_be_shown_there_are_none(lost: OSError | None) -> None:
    """Their order is what names them."""

    def picture(index: int, longest_px: int) -> Image.Image | None:
        if index and lost:
            raise lost
        return None if index else grey(index, longest_px)

    predictions = Predictions(NAMES[:2], str, picture)
    predictions.update(logits((0.6, 0.4), (0.8, 0.2)), labelled(1, 1))
    predictions.tables()
    assert predictions.images() == {}


def test_without_a_mistake_or_without_pixels_there_are_no_images():
    right, unseen = Predictions(NAMES[:2], str, grey), Predictions(NAMES[:2], str)
    for predictions, label in ((right, 0), (unseen, 1)):
        predictions.update(logits((0.6, 0.4)), labelled(label))
        predictions.tables()
        assert predictions.images() == {}


def test_a_thousand_classes_are_a_table_of_a_million_cells():
    tables = confusion_tables([str(number) for number in range(1000)], 50 * torch.eye(1000, dtype=torch.long))
    assert sum(len(row) for row in tables["confusion"].rows) == 1000 * 1001
    assert tables["confused_pairs"].rows == []
    assert math.fsum(row[2] for row in tables["per_class"].rows) == 1000


def test_a_row_that_does_not_fit_its_columns_is_refused():
    with pytest.raises(ValueError, match=r"1 rows do not have 2 cells; the first: \('ant',\)"):
        Table(columns=("label", "f1"), rows=[("ant",), ("bee", 0.5)])


def test_each_image_brings_1_or_0_to_the_accuracy() -> None:
    predictions = Predictions(NAMES[:2], ("70", "80", "90").__getitem__)
    predictions.update(
        torch.tensor([[1.0, 0], [1, 0], [0, 1]]), Batch(torch.zeros(3, 1, 1, 1), torch.tensor([0, 1, 1]))
    )
    table = predictions.tables()["examples"]
    assert (table.columns, table.rows) == (("example", "accuracy"), [("70", 1.0), ("80", 0.0), ("90", 1.0)])
