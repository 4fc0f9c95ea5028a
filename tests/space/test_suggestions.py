"""Mistypes of each kind: one line that names the mend, exit status 2, and nothing is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search import cli
from search.run_names import run_folder
from search.space import SPACES

Says = Callable[..., list[str]]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """What a command says on stderr in a folder with photographs and two runs, of which it made nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    for name in ("mine", "night"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "journal.jsonl").write_text("{}\n")
    before = sorted(tmp_path.rglob("*"))

    def lines(command: str, *words: str) -> list[str]:
        try:
            status = cli.run(command, words)
        except SystemExit as ended:
            status = int(str(ended.code))
        assert status == 2
        assert sorted(tmp_path.rglob("*")) == before
        return capsys.readouterr().err.splitlines()

    return lines


def test_a_space_is_looked_for_among_those_there_are(says: Says) -> None:
    for typed in ("lr_b.yaml", "lrbs", "lr_bs.yml"):
        name = typed if "." in typed else f"{typed}.yaml"
        line = f"{SPACES}/{name}: there is no such file; did you mean lr_bs.yaml?"
        assert says("search", "--space", typed) == [line]


def test_a_space_of_the_program_is_not_looked_for_in_this_folder(says: Says) -> None:
    assert says("search", "--space", "./lr_bs.yaml") == [
        "lr_bs.yaml: there is no such file; for the program's own write lr_bs.yaml"
    ]


@pytest.mark.parametrize("key", ["value=0.1", "max=0.1"])
def test_a_parameter_is_looked_for_among_the_hyperparameters(says: Says, key: str) -> None:
    assert says("search", "--space", "lr_bs.yaml", "--set", f"parameters.batchsize.{key}") == [
        f"{SPACES}/lr_bs.yaml: parameters.batchsize: classification has no such hyperparameter; "
        "did you mean batch_size?"
    ]


def test_a_hyperparameter_of_one_training_is_too(says: Says) -> None:
    assert says("train", "--space", "lr_bs.yaml", "--hparam", "lrr=0.1") == [
        f"{SPACES}/lr_bs.yaml: parameters.lrr: classification has no such hyperparameter; did you mean lr?"
    ]


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        ("lr_bs", "imagefolder"),
        ("detection", "coco"),
        ("detection", "voc"),
        ("person_reid", "market"),
        ("code_vulnerability", "jsonl"),
        ("code_clones", "pairs"),
        ("image_quality", "quality"),
        ("curves", "curves"),
    ],
)
def test_a_data_path_is_looked_for_beside_it(says: Says, tmp_path: Path, space: str, kind: str) -> None:
    assert says("search", "--space", f"{space}.yaml", "--set", f"search.data={kind}:photo") == [
        f"{SPACES}/{space}.yaml: search.data: {tmp_path}/photo does not exist; "
        f"did you mean {tmp_path}/photos?"
    ]


def test_the_second_path_of_a_source_is_too(says: Says, tmp_path: Path) -> None:
    data = "{coco: photos, images: photo}"
    (line,) = says("search", "--space", "detection.yaml", "--set", f"search.data={data}")
    assert line.endswith(f"{tmp_path}/photo does not exist; did you mean {tmp_path}/photos?")


def test_a_data_source_is_looked_for_among_those_of_the_trainable(says: Says) -> None:
    known = (
        "mnist5k, digits, imagefolder:FOLDER, labels:FILE, {labels: FILE, images: FOLDER}, torchvision:NAME, "
    )
    known += "{torchvision: NAME, download: true, "
    known += "val_examples: N}, npz:FILE, shards:PATH, {shards: PATH, image: COLUMN, label: COLUMN}"
    for typed, meant in {"mnist5": "mnist5k", "imagefoldr:photos": "imagefolder:photos"}.items():
        assert says("train", "--space", "lr_bs.yaml", "--set", f"search.data={typed}") == [
            f"{SPACES}/lr_bs.yaml: search.data: no data source is named {typed!r}; there are {known}; "
            f"did you mean {meant}?"
        ]


def test_a_model_is_looked_for_among_all_there_are(says: Says) -> None:
    (line,) = says("train", "--space", "lr_bs.yaml", "--hparam", "model=resnet_18")
    assert line.startswith("lr_bs.yaml: parameters.model: no model is named 'resnet_18'; near are ")
    assert " resnet18" in line


def test_a_dry_run_refuses_what_no_trial_could_start_with(says: Says) -> None:
    for key, start in (
        ("parameters.model.value", "preflight: model: no model is"),
        ("search.data", f"{SPACES}/lr_bs.yaml: search.data: no data source is"),
    ):
        (line,) = says("search", "--space", "lr_bs.yaml", "--set", f"{key}=resnet_18", "--dry-run")
        assert line.startswith(f"{start} named 'resnet_18'; ")


def test_a_detector_is_too(says: Says) -> None:
    (line,) = says("search", "--space", "detection.yaml", "--set", "parameters.model.value=rt_detr_r81")
    assert "no detector is named 'rt_detr_r81'; near are rt_detr_r18" in line


def test_a_trainable_is_looked_for_among_those_there_are(says: Says, tmp_path: Path) -> None:
    (line,) = says("search", "--space", "lr_bs.yaml", "--set", "search.trainable=clasification")
    start = "search.trainable: no trainable is named 'clasification'; did you mean classification?"
    assert line.startswith(f"{SPACES}/lr_bs.yaml: {start}")
    (line,) = says("search", "--space", "lr_bs.yaml", "--set", f"search.trainable={tmp_path}/photo.py")
    assert line.endswith(
        f"trainable file {tmp_path}/photo.py does not exist; did you mean {tmp_path}/photos?"
    )


def test_a_flag_is_looked_for_among_those_of_the_command(says: Says) -> None:
    for command, typed, meant in (
        ("search", "--trails=3", "--trials"),
        ("promote", "--tops=3", "--top"),
        ("report", "--wach", "--watch"),
        ("export", "--optunna=x", "--optuna"),
        ("check_energy", "--reslts=x", "--results"),
        ("train", "--smoek", "--smoke"),
        ("preflight", "--downlaod", "--download"),
    ):
        run = ("--space", "lr_bs") if command in ("search", "train", "preflight") else ("mine",)
        flag = typed.partition("=")[0]
        assert says(command, *run, typed) == [
            f"{command}.py: error: there is no flag {flag}; did you mean {meant}? (--help lists them)"
        ]


def test_a_word_that_no_flag_takes_is_named(says: Says) -> None:
    assert says("promote", "mine", "night") == [
        "promote.py: error: unexpected argument: night; a flag that takes several values is repeated for each"
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("promote", "mien"),
        ("report", "mien"),
        ("check_energy", "mien"),
        ("export", "mien", "--optuna", "study.db"),
        ("search", "--rerun-failed", "mien"),
        ("train", "--space", "lr_bs", "--trial", "mien:trial-0000"),
        ("search", "--space", "lr_bs", "--warm-start", "mien"),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_run_is_looked_for_among_those_there_are(says: Says, command: tuple[str, ...]) -> None:
    (line,) = says(*command)
    assert "results/mien holds no run (no journal.jsonl in it); did you mean " in line
    assert line.endswith("results/mine?")


def test_a_folder_of_runs_names_those_in_it(says: Says) -> None:
    (line,) = says("promote", "results")
    assert line.startswith("results holds no run (no journal.jsonl in it); it contains the runs results/")
    assert {*line.split("the runs ")[1].split(", ")} == {"results/mine", "results/night"}


def test_a_folder_that_is_no_run_names_the_runs_beside_it(says: Says) -> None:
    (line,) = says("promote", "photos")
    assert line.startswith("photos holds no run (no journal.jsonl in it); there are results/")


def test_a_run_that_nothing_is_near_to_gets_the_newest_named(says: Says) -> None:
    (line,) = says("promote", "20261121")
    assert line.startswith("results/20261121 holds no run (no journal.jsonl in it); there are results/")


def test_a_run_may_have_the_name_of_a_folder_beside_it(says: Says) -> None:
    results = Path("results")
    assert run_folder("photos", results) == Path("photos")
    Path("results/mine").rename("results/photos")
    assert run_folder("photos", results) == Path("results/photos")
    assert run_folder("results/photos", results) == Path("results/photos")
    assert run_folder("nothing", results) == Path("results/nothing")
