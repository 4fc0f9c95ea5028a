"""Names of parts, and of what is never data."""

from __future__ import annotations

import pytest

from trainables.engine.images.folder_names import is_never_data, part_and_rest, part_in, part_of


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("train", "train Train TRAINING trainval training_set train-set TrainSet train2017 train_images"),
        ("val", "val Valid VALIDATION dev validation_set val2017 dev-set ValSplit"),
        ("test", "test Testing TEST test_set testing-set test2017 test_data"),
    ],
)
def test_a_part_is_known_by_any_usual_name_and_case(part: str, names: str) -> None:
    assert {name: part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)


@pytest.mark.parametrize("name", ["cat", "trains", "trainer", "latest", "testament", "devil", "train2", ""])
def test_other_names_are_no_part(name: str) -> None:
    assert part_of(name) is None


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("instances_train2017", "train"),
        ("person_keypoints_val2017", "val"),
        ("image_info_test-dev2017", "test"),
        ("train_val2014", "train"),
        ("_annotations.coco", None),
        ("contest_results", None),
    ],
)
def test_a_part_is_found_as_a_word_of_a_longer_name(name: str, part: str | None) -> None:
    assert part_in(name) == part


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("seg_train", ("train", "seg_")),
        ("asl_alphabet_test", ("test", "asl_alphabet_")),
        ("Validation2 images", ("val", "2 images")),
        ("train_val2014", None),
        ("contest_trainer", None),
    ],
)
def test_a_longer_name_is_a_part_and_a_rest(name: str, found: tuple[str, str] | None) -> None:
    assert part_and_rest(name) == found


@pytest.mark.parametrize(
    "name", [".git", ".ipynb_checkpoints", "._a.jpg", "__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"]
)
def test_what_is_hidden_or_a_systems_own_is_never_data(name: str) -> None:
    assert is_never_data(name)


@pytest.mark.parametrize("name", ["cat", "_cat", "thumbs", "a.jpg", "macosx"])
def test_other_names_may_be_data(name: str) -> None:
    assert not is_never_data(name)
