"""Charts of a training from its tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from search.report.charts.chart import shortened
from search.report.charts.training import draw_plots, training_curves
from search.trial.final_outputs import table_text
from trainables.engine.classifiers.predictions import confusion_tables

HISTORY = """epoch,rung,seconds,energy_j,lr,train_loss,val_accuracy,val_loss
1,0,3.0,120.0,0.1,2.0,,
2,0,3.0,121.0,0.05,1.5,0.6,1.7
3,0,3.0,122.0,0.0,1.2,0.7,1.5
"""
SIZES = {
    "curves": (1320, 792),
    "confusion": (1032, 912),
    "confusion_normalised": (1032, 912),
    "per_class": (960, 504),
    "confused_pairs": (960, 528),
}


def made(folder: Path, num_classes: int, names: list[str] | None = None) -> Path:
    """Tables of a classifier that takes two images of ten of every class for the next one's."""
    matrix = 8 * torch.eye(num_classes, dtype=torch.long)
    matrix += 2 * torch.eye(num_classes, dtype=torch.long).roll(1, dims=1)
    names = names or [f"class {number}" for number in range(num_classes)]
    for name, table in confusion_tables(names, matrix).items():
        (folder / f"{name}.csv").write_text(table_text(table))
    (folder / "history.csv").write_text(HISTORY)
    return folder


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.stem: Image.open(path).size for path in sorted(folder.glob("*.png"))}


def num_colours(path: Path) -> int:
    with Image.open(path) as image:
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
    assert colours
    return len(colours)


def test_each_table_has_its_chart_and_none_is_blank(tmp_path: Path) -> None:
    assert list(draw_plots(made(tmp_path, 10), "a training")) == []
    assert sizes(tmp_path) == SIZES
    assert all(num_colours(path) > 20 for path in tmp_path.glob("*.png"))


def test_a_constant_learning_rate_is_above_0_and_no_two_scores_look_alike() -> None:
    scores = [f"val_score_{number}" for number in range(7)]
    rows = [
        [str(epoch), "120", "0.0007", *["0.5", "0.6", "0.7", "0.8", "0.9", "1", str(epoch)]]
        for epoch in (1, 2)
    ]
    charts = {each.key: each for each in training_curves((["epoch", "energy_j", "lr", *scores], rows), "")}
    assert charts["learning rate after the epoch"].y.span == (0.0, pytest.approx(0.000875))
    assert charts["energy spent (J)"].y.span is None
    looks = [(each.colour, each.is_dashed) for each in charts["score on validation"].series]
    assert len(set(looks)) == 7


@pytest.mark.parametrize(("num_classes", "pixels"), [(2, 566), (20, 1344), (100, 1200), (400, 1560)])
def test_a_confusion_of_more_classes_is_larger_but_no_poster(
    tmp_path: Path, num_classes: int, pixels: int
) -> None:
    assert list(draw_plots(made(tmp_path, num_classes), "a training")) == []
    assert sizes(tmp_path)["confusion"][1] == pytest.approx(pixels, abs=1)
    assert num_colours(tmp_path / "confusion.png") > 20


def test_over_twenty_classes_all_are_one_line_and_only_the_best_and_worst_have_names(tmp_path: Path) -> None:
    assert list(draw_plots(made(tmp_path, 21), "a training")) == []
    assert sizes(tmp_path)["per_class"] == (1320, 900)


def test_a_table_that_cannot_be_drawn_is_reported_and_costs_no_other_chart(tmp_path: Path) -> None:
    (made(tmp_path, 3) / "confusion.csv").write_text("label,a\na,many\n")
    (line,) = draw_plots(tmp_path, "a training")
    assert line.startswith(f"{tmp_path / 'confusion.png'} not drawn (ValueError: ")
    assert line.endswith("its data is in confusion.csv")
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_only_what_there_is_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,rung,seconds,energy_j,val_accuracy\n1,0,3.0,,0.5\n")
    assert list(draw_plots(tmp_path, "a training")) == []
    assert sizes(tmp_path) == {"curves": (660, 432)}


def test_a_classifier_without_a_mistake_has_a_chart_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "confused_pairs.csv").write_text("label,predicted,num_images,share\n")
    assert list(draw_plots(tmp_path, "a training")) == []
    assert num_colours(tmp_path / "confused_pairs.png") > 20


def test_names_may_be_of_any_script_and_hold_what_other_programs_take_for_formulas(tmp_path: Path) -> None:
    assert list(draw_plots(made(tmp_path, 3, ["$5_{x}$", "\u732b", "a, b"]), "100 $ %")) == []


def test_a_long_name_is_cut_in_the_middle() -> None:
    assert shortened("a" * 24) == "a" * 24
    assert (
        shortened("the first of " + "x" * 30 + " the last")
        == "the first of\N{HORIZONTAL ELLIPSIS}xx the last"
    )
