"""`search.data`: however a source is written it is the same one, and what is wrong with it is said."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from search.ledger import LedgerError
from search.run.resume import check_resumable
from search.space import SpaceError, dump_space, load_space
from search.space.load import SPACES
from tests.support.space_files import load as load_toy

# What messages list for the spaces lr_bs and detection.
IMAGES = (
    "there are mnist5k, digits, imagefolder:FOLDER, labels:FILE, {labels: FILE, images: FOLDER}, "
    "torchvision:NAME, {torchvision: NAME, download: true, "
    "val_examples: N}, npz:FILE, shards:PATH, {shards: PATH, image: COLUMN, label: COLUMN}"
)
SCORES = "there are photographs, quality:FILE, {quality: FILE, images: FOLDER, side: 384}"
BOXES = "there are shapes, coco:PATH, {coco: PATH, images: FOLDER}, voc:FOLDER, yolo:PATH"

WRONG = """
lr_bs            | mnist5                                 | no data source is named 'mnist5'; IMAGES; did you mean mnist5k?
detection        | coc:boxes.json                         | no data source is named 'coc:boxes.json'; BOXES; did you mean coco:boxes.json?
detection        | {coc: a}                               | no data source has the keys coc; BOXES; did you mean coco?
detection        | {coco: boxes.json, voc: pics}          | coco and voc are two data sources; give one of them
detection        | {coco: boxes.json, image: pics}        | coco has no option image; it takes images; did you mean images?
detection        | {voc: pics, images: pics}              | voc has no option images; it takes no options
detection        | {coco: 5}                              | coco must be text, got 5
detection        | {coco: box.json, images: pic}          | @/box.json does not exist; did you mean @/boxes.json? | @/pic does not exist; did you mean @/pics?
detection        | {coco: boxes.json, images: boxes.json} | @/boxes.json is a file; images must be a folder
lr_bs            | photos.zip                             | @/photos.zip is a file that none of the sources reads; unpack it, and give its folder; IMAGES
lr_bs            | ./photo                                | @/photo does not exist; did you mean @/photos?; IMAGES
image_quality    | pics                                   | @/pics is a folder that none of the sources reads; SCORES
detection        | photos                                 | @/photos is a folder that none of the sources reads; BOXES
detection        | hub                                    | @/hub is a folder that none of the sources reads; BOXES
detection        | both                                   | both may be read in 2 ways; write coco:both or yolo:both
lr_bs            | imagefolder:scores.csv                 | @/scores.csv is a file; imagefolder must be a folder
image_quality    | quality:pics                           | @/pics is a folder; quality must be a file
image_quality    | {quality: scores.csv, side: 0}         | side must be a whole number of 1 or more, got 0
image_quality    | {quality: scores.csv, side: true, image: x} | quality has no option image; it takes images, side; did you mean images? | side must be a whole number of 1 or more, got True
lr_bs            | {torchvision: CIFAR10, download: 1}    | download must be true or false, got 1
bug_localization | reports:bugs.tsv                       | reports needs tree too: {reports: bugs.tsv, tree: FOLDER}
bug_localization | {name: python-stdlib, split: month}    | split must be time or report, got 'month'
"""  # noqa: E501
OLD = """
detection | coco:boxes.json?images=pics | {coco: boxes.json, images: pics}
image_quality | quality:scores.csv?images=my pics&side=96 | {quality: scores.csv, images: my pics, side: 96}
lr_bs | torchvision:CIFAR10?download=1 | {torchvision: CIFAR10, download: true}
bug_localization | reports:bugs.tsv?tree=tree&split=report | {reports: bugs.tsv, tree: tree, split: report}
bug_localization | python-stdlib?split=report | {name: python-stdlib, split: report}
"""


IN_FOLDERS = """
hub/dataset_info.json hub/data/train-00000-of-00001.parquet both/data.yaml both/annotations/train.json
roboflow/train/_annotations.coco.json voc/Annotations/a.xml yolo/classes.txt yolo/labels/a.txt yolo/notes.json
"""


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(" | ")] for line in table.strip().splitlines()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with files and folders of data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("photos", "pics", "tree", "home/p", "elsewhere/photos"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("hub/data", "both/annotations", "roboflow/train", "voc/Annotations", "yolo/labels"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("boxes.json", "scores.csv", "bugs.tsv", "photos.zip", *IN_FOLDERS.split()):
        (tmp_path / file).touch()
    return tmp_path


def data_of(space: str, data: str) -> Any:
    return load_space(space, overrides=[f"search.data={data}"], spaces_dir=SPACES).data


def problems_of(space: str, data: str) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        data_of(space, data)
    return [problem.removeprefix("search.data: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("space", "written", "canonical"),
    [
        ("lr_bs", ["digits", "{name: digits}"], "digits"),
        (
            "lr_bs",
            ["imagefolder:photos", "{imagefolder: photos}", "{imagefolder: ./photos/}"],
            {"imagefolder": "@/photos"},
        ),
        ("lr_bs", ["imagefolder:~/p"], {"imagefolder": "@/home/p"}),
        (
            "lr_bs",
            ["torchvision:CIFAR10", "{torchvision: CIFAR10, download: false}"],
            {"torchvision": "CIFAR10"},
        ),
        ("lr_bs", ["{download: true, torchvision: CIFAR10}"], {"torchvision": "CIFAR10", "download": True}),
        ("detection", ["coco:boxes.json", "{coco: boxes.json, images: null}"], {"coco": "@/boxes.json"}),
        ("detection", ["coco:roboflow", "roboflow"], {"coco": "@/roboflow"}),
        ("detection", ["voc:voc", "voc"], {"voc": "@/voc"}),
        ("detection", ["yolo:yolo", "yolo"], {"yolo": "@/yolo"}),
        (
            "detection",
            ["{coco: boxes.json, images: pics}", "{images: ./pics, coco: '@/boxes.json'}"],
            {"coco": "@/boxes.json", "images": "@/pics"},
        ),
        (
            "image_quality",
            ["quality:scores.csv", "{quality: scores.csv, side: 384}"],
            {"quality": "@/scores.csv"},
        ),
        ("image_quality", ["{quality: scores.csv, side: 96}"], {"quality": "@/scores.csv", "side": 96}),
        ("bug_localization", ["python-stdlib", "{name: python-stdlib, split: time}"], "python-stdlib"),
        (
            "bug_localization",
            ["{name: python-stdlib, split: report}"],
            {"name": "python-stdlib", "split": "report"},
        ),
        (
            "bug_localization",
            ["{reports: bugs.tsv, tree: tree}", "{tree: tree, reports: bugs.tsv, split: time}"],
            {"reports": "@/bugs.tsv", "tree": "@/tree"},
        ),
    ],
)
def test_a_source_is_the_same_in_whichever_form_it_is_written(
    space: str, written: list[str], canonical: Any, here: Path
) -> None:
    if isinstance(canonical, dict):
        canonical = {
            key: value.replace("@", str(here)) if isinstance(value, str) else value
            for key, value in canonical.items()
        }
    assert [data_of(space, each.replace("@", str(here))) for each in written] == [canonical] * len(written)


def test_the_canonical_form_is_read_back_from_a_runs_folder_and_from_its_line_of_text(here: Path) -> None:
    space = load_space(
        "detection", overrides=["search.data={coco: boxes.json, images: pics}"], spaces_dir=SPACES
    )
    assert space.title == f"detection on {{coco: {here}/boxes.json, images: {here}/pics}}"
    assert data_of("detection", space.title.removeprefix("detection on ")) == space.data
    dump_space(space, here / "space.yaml")
    again = load_space(str(here / "space.yaml"), spaces_dir=SPACES)
    assert again == replace(space, notices=again.notices)


def test_a_resumed_run_sees_the_same_data_as_unchanged_and_other_data_as_a_change(here: Path) -> None:
    spaces = [
        load_space("detection", overrides=[f"search.data={data}"], spaces_dir=SPACES)
        for data in (
            "coco:boxes.json",
            "{coco: ./boxes.json, images: null}",
            "{coco: boxes.json, images: pics}",
        )
    ]
    check_resumable(here, spaces[0], spaces[1])
    change = f"data: was coco:{here}/boxes.json, now {{coco: {here}/boxes.json, images: {here}/pics}}\n"
    with pytest.raises(LedgerError, match=re.escape(change)):
        check_resumable(here, spaces[0], spaces[2])


def test_paths_of_a_file_start_beside_it_and_those_of_a_command_line_where_it_is_typed(here: Path) -> None:
    text = (SPACES / "lr_bs.yaml").read_text().replace("data: mnist5k", "data: imagefolder:photos")
    assert "imagefolder" in text
    path = here / "elsewhere" / "mine.yaml"
    path.write_text(text)
    found = [
        load_space(str(path), overrides=overrides, spaces_dir=SPACES).data
        for overrides in ([], ["search.data=imagefolder:photos"])
    ]
    assert found == [{"imagefolder": f"{here}/elsewhere/photos"}, {"imagefolder": f"{here}/photos"}]


def test_an_override_of_one_option_leaves_the_others_of_the_file(here: Path) -> None:
    content = YAML(typ="safe").load((SPACES / "detection.yaml").read_text())
    content["search"]["data"] = {"coco": "boxes.json", "images": "pics"}
    assert load_space(content, overrides=["search.data.images=photos"]).data == {
        "coco": f"{here}/boxes.json",
        "images": f"{here}/photos",
    }


@pytest.mark.parametrize("row", rows(WRONG), ids=lambda row: row[1])
def test_a_wrong_source_is_refused_with_what_there_is(row: list[str], here: Path) -> None:
    space, data, *problems = row
    known = {"@": str(here), "IMAGES": IMAGES, "BOXES": BOXES, "SCORES": SCORES}
    for mark, text in known.items():
        problems = [problem.replace(mark, text) for problem in problems]
    assert problems_of(space, data) == problems


def test_a_name_that_no_file_can_have_is_no_source_and_a_closed_folder_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"https://bucket.example/photos.zip?signature={'a' * 300}"
    assert problems_of("lr_bs", address) == [f"no data source is named {address!r}; {IMAGES}"]
    long = f"{here}/{'a' * 300}"
    for data in (long, f"imagefolder:{long}"):
        (problem,) = problems_of("lr_bs", data)
        assert problem.startswith(f"{long} cannot be read: File name too long")
    (here / "loop").symlink_to(here / "loop")
    for data in ("./loop", "imagefolder:loop"):
        (problem,) = problems_of("lr_bs", data)
        assert problem.startswith(f"{here}/loop cannot be read: Too many levels of symbolic links")
    stat = os.stat

    def closed(path: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{here}/photos"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", closed)
    assert problems_of("lr_bs", "imagefolder:photos/a") == [
        f"{here}/photos/a cannot be read: Permission denied"
    ]


@pytest.mark.parametrize(("space", "old", "mapping"), rows(OLD))
def test_options_after_a_question_mark_are_shown_as_a_mapping_that_works(
    space: str, old: str, mapping: str, here: Path
) -> None:
    (here / "my pics").mkdir()
    assert problems_of(space, old) == [f"options are not written after a ?; write data: {mapping}"]
    data_of(space, mapping)


def test_a_path_may_have_a_question_mark_or_a_word_of_yamls_in_a_mapping(here: Path) -> None:
    for name in ("what?side=1", "a: b", "x, y", "true", "12", " lead"):
        (here / name).mkdir()
        space = load_space(
            "lr_bs", overrides=[f'search.data={{imagefolder: "{here}/{name}"}}'], spaces_dir=SPACES
        )
        assert space.data == {"imagefolder": f"{here}/{name}"}
        assert data_of("lr_bs", space.title.removeprefix("classification on ")) == space.data


@pytest.mark.parametrize(
    "data", ["s3://bucket/x?version=2", "{train: a.csv, rows: 5, test: null}", "coco:gone.json"]
)
def test_data_of_a_trainable_that_declares_no_sources_is_handed_over_as_it_is(
    data: str, tmp_path: Path
) -> None:
    space = f"parameters: {{lr: {{min: 0.01, max: 0.5}}}}\nsearch: {{trainable: ./model.py, data: '{data}'}}"
    assert load_toy(tmp_path, space).data == data
    assert load_toy(tmp_path, space, f"search.data={data}").data == YAML(typ="safe").load(data)


def test_data_that_is_no_plain_mapping_is_refused() -> None:
    for data in ("[a]", "{}", "{coco: {path: a}}", "''", "true"):
        (problem,) = problems_of("detection", data)
        assert problem.startswith("must be a name or a mapping of names to plain values, got ")


OWN_SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
from trainables.core.contract import Trainable
from trainables.core.data_source import DataSource, FilePath, FolderPath
from trainables.toy import Hparams, start

@dataclass(frozen=True, kw_only=True)
class Sounds(DataSource):
    "Recordings."
    sounds: FolderPath
    labels: FilePath | None = None

TRAINABLE = Trainable(
    hparams=Hparams, metric="val_accuracy", mode="max", start=start, data_sources=(Sounds,)
)
"""


def test_a_trainable_of_ones_own_declares_sources_in_its_file(here: Path) -> None:
    (here / "model.py").write_text(OWN_SOURCE)
    text = "parameters: {{lr: {{min: 0.01, max: 0.5}}}}\nsearch: {{trainable: ./model.py, data: {data}}}"
    (here / "own.yaml").write_text(text.format(data="{sounds: pics, labels: scores.csv}"))
    space = load_space(str(here / "own.yaml"), spaces_dir=SPACES)
    assert space.data == {"sounds": f"{here}/pics", "labels": f"{here}/scores.csv"}
    (here / "own.yaml").write_text(text.format(data="{sounds: pic, label: scores.csv}"))
    with pytest.raises(
        SpaceError, match=r"sounds has no option label; it takes labels; did you mean labels\?"
    ):
        load_space(str(here / "own.yaml"), spaces_dir=SPACES)


@pytest.mark.parametrize(
    ("space", "overrides", "data"),
    [
        ("bug_localization", ["split=report"], {"name": "python-stdlib", "split": "report"}),
        ("bug_localization", ["split=time"], "python-stdlib"),
        ("lr_bs", ["=torchvision:CIFAR10", "download=true"], {"torchvision": "CIFAR10", "download": True}),
        ("detection", ["=coco:boxes.json", "images=pics"], {"coco": "boxes.json", "images": "pics"}),
        ("detection", ["=voc:tree", "voc=pics"], {"voc": "pics"}),
    ],
)
def test_an_option_is_added_to_data_in_its_short_form(
    space: str, overrides: list[str], data: Any, here: Path
) -> None:
    given = [f"search.data{'' if each[0] == '=' else '.'}{each}" for each in overrides]
    found = load_space(space, overrides=given, spaces_dir=SPACES).data
    if isinstance(data, dict):
        data = {
            key: str(here / value) if (here / str(value)).exists() else value for key, value in data.items()
        }
    assert found == data


@pytest.mark.parametrize(
    ("space", "override", "problem"),
    [
        ("lr_bs", "split=report", "mnist5k has no option split; it takes no options"),
        (
            "bug_localization",
            "spilt=report",
            "python-stdlib has no option spilt; it takes split; did you mean split?",
        ),
        ("detection", "coco=boxes.json", "shapes and coco are two data sources; give one of them"),
    ],
)
def test_an_option_that_data_in_its_short_form_does_not_take_is_named(
    space: str, override: str, problem: str, here: Path
) -> None:
    with pytest.raises(SpaceError) as caught:
        load_space(space, overrides=[f"search.data.{override}"], spaces_dir=SPACES)
    assert caught.value.problems == (f"search.data: {problem}",)
