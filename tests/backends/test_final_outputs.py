"""What a full training leaves beside its checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from search.trial.final_outputs import FinalOutputs, table_text
from trainables.core.optional import Table


class Scored:
    """A training with a table and an image of its test."""

    def test_images(self) -> dict[str, bytes]:
        return {"01": b"an image"}

    def test_tables(self) -> dict[str, Table]:
        return {"per_class": Table(columns=("label", "f1"), rows=[("a, b", 0.5), ("c", None)])}


def finals(folder: Path, *, mode: str = "max", best: list[float] | None = None) -> FinalOutputs:
    return FinalOutputs(folder / "final.pt", metric="val_loss", mode=mode, best=best)  # type: ignore[arg-type]


def best_epochs(kept: FinalOutputs, *scores: tuple[int, dict[str, float]]) -> list[int]:
    """The best epoch so far after each score at a rung."""
    found: list[int] = []
    for epoch, (rung, metrics) in enumerate(scores, start=1):
        found.append(epoch if kept.is_best(rung, metrics) else found[-1])
    return found


@pytest.mark.parametrize(("mode", "epochs"), [("max", [1, 2, 2, 2]), ("min", [1, 1, 3, 3])])
def test_the_best_epoch_is_known_and_of_equals_the_first(
    tmp_path: Path, mode: str, epochs: list[int]
) -> None:
    scores = [(0, {"val_loss": loss}) for loss in (0.5, 0.6, 0.4, 0.4)]
    assert best_epochs(finals(tmp_path, mode=mode), *scores) == epochs


def test_an_epoch_that_is_not_scored_or_not_a_number_is_never_best(tmp_path: Path) -> None:
    scores = [(0, {"val_loss": 0.5}), (0, {}), (0, {"val_loss": math.nan})]
    assert best_epochs(finals(tmp_path), *scores) == [1, 1, 1]


def test_a_higher_rung_is_better_whatever_its_score(tmp_path: Path) -> None:
    scores = [(0, {"val_loss": 0.9}), (1, {"val_loss": 0.5}), (1, {"val_loss": 0.4})]
    assert best_epochs(finals(tmp_path), *scores) == [1, 2, 2]


def test_a_training_that_continues_knows_its_best(tmp_path: Path) -> None:
    kept = finals(tmp_path, best=[0, 0.5])
    assert not kept.is_best(0, {"val_loss": 0.4})
    assert kept.is_best(0, {"val_loss": 0.6})
    assert (kept.best, kept.best_path) == ([0, 0.6], tmp_path / "best.pt")


def test_the_end_leaves_all_scores_and_the_tables(tmp_path: Path) -> None:
    scores = {"val_loss": 0.5, "test_loss": math.inf}
    assert finals(tmp_path).keep_test(7, scores, Scored()) == {}  # type: ignore[arg-type]
    assert json.loads((tmp_path / "test.json").read_text()) == {
        "epoch": 7,
        "val_loss": 0.5,
        "test_loss": "inf",
    }
    assert (tmp_path / "per_class.csv").read_text() == 'label,f1\n"a, b",0.5\nc,\n'


def test_what_the_disk_does_not_take_is_a_note_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test.json").mkdir()
    notes = finals(tmp_path).keep_test(7, {"test_loss": 0.5}, Scored())  # type: ignore[arg-type]
    assert notes == {"test": f"{tmp_path / 'test.json'} not written (Is a directory)"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "mistakes",
        "per_class.csv",
        "test.json",
    }


def test_numbers_have_full_precision_in_a_table() -> None:
    assert table_text(Table(columns=("f1",), rows=[(2 / 3,)])) == "f1\n0.6666666666666666\n"


def test_images_of_mistakes_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    training = Scored()
    assert finals(tmp_path).keep_test(3, {"val_loss": 0.5}, training) == {}  # type: ignore[arg-type]
    assert (tmp_path / "mistakes" / "01.png").read_bytes() == b"an image"
    assert {path.name for path in tmp_path.iterdir()} == {
        "mistakes",
        "per_class.csv",
        "test.json",
    }


@pytest.mark.parametrize("name", ["../outside", "/abs", "..", ".hidden", "a/b", "a\x1b[2J", "", "-flag"])
def test_a_name_that_would_leave_the_folder_is_not_written_and_reported(tmp_path: Path, name: str) -> None:
    class Hostile(Scored):
        def test_tables(self) -> dict[str, Table]:
            return {name: Table(columns=("label",), rows=[])} if name else {}

        def test_images(self) -> dict[str, bytes]:
            return {name: b"png"} if name else {"/": b"png"}

    (tmp_path / "run").mkdir()
    notes = finals(tmp_path / "run").keep_test(1, {"test_loss": 0.5}, Hostile())  # type: ignore[arg-type]
    assert "not written: it cannot be the name of a file in " in notes["test"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["run", "test.json"]
