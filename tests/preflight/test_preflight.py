"""What is known to fail is said before the first trial, with what to do about it."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search.energy.gpus import VisibleGpus
from search.output import Output
from search.preflight import PreflightRequest, Problem, Report, WeightRow, request_for
from search.preflight.checks import disk_findings, memory_findings, sensor_findings
from search.preflight.local import await_report, examining, now_and_then
from search.preflight.machine import free_memory_gib, unwritable_reason
from search.preflight.node_checks import examine
from search.preflight.points import points_of
from search.preflight.request import problems_of
from search.preflight.versions import requirements, unmet
from search.report.preflight import print_reports
from search.space import Space
from tests.support import weight_files
from tests.support.command_spaces import SCRIPT
from tests.support.processes import wait_for
from tests.support.toy_runs import defaults_of, made_space
from tests.support.weight_files import TIMM, TIMM_FILE, TORCHVISION, TORCHVISION_FILE

ROOT = Path(__file__).parents[2]

MODELS = f"""
parameters:
  model: {{values: [resnet20, {TIMM}, {TORCHVISION}]}}
  weights: {{values: [none, hub]}}
  lr: {{min: 0.01, max: 0.1}}
search: {{data: digits, ladder: {{epochs: [1]}}, limits: {{trials: 4}}, when: {{weights: {{model: [{TIMM}, {TORCHVISION}]}}}}}}
"""  # noqa: E501


def ordered(space: Space, folder: Path) -> PreflightRequest:
    return request_for(space, source="models.yaml", folder=folder / "results" / "run")


def command(name: str, *arguments: object, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TORCH_HOME"))}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)],
        cwd=folder,
        env={**clean, "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_model_that_a_space_can_ask_for_is_a_point(tmp_path: Path) -> None:
    space = made_space(tmp_path, MODELS)
    points = points_of(space, defaults_of(space))
    assert [(point["model"], point["weights"]) for point in points] == [
        ("resnet20", "none"),
        (TIMM, "none"),
        (TIMM, "hub"),
        (TORCHVISION, "none"),
        (TORCHVISION, "hub"),
    ]


def test_the_points_of_a_list_are_its_own(tmp_path: Path) -> None:
    listed = "search: {data: digits, ladder: {epochs: [1]}, trials: [{model: resnet18, weights: hub}]}"
    space = made_space(tmp_path, listed)
    points = points_of(space, defaults_of(space))
    assert [(point["model"], point["weights"]) for point in points] == [
        ("resnet20", "none"),
        ("resnet18", "hub"),
    ]


def test_too_many_combinations_are_taken_in_pairs(tmp_path: Path) -> None:
    letters = ", ".join(f"x{number}" for number in range(20))
    (tmp_path / "wide.py").write_text(
        "from dataclasses import dataclass\nfrom trainables.core.contract import Trainable\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Hparams:\n"
        "    a: str = 'x0'\n    b: str = 'x0'\n    c: str = 'x0'\n"
        "TRAINABLE = Trainable(hparams=Hparams, metric='m', mode='max', start=print)\n"
    )
    parameters = "\n".join(f"  {name}: {{values: [{letters}]}}" for name in "abc")
    space = made_space(tmp_path, f"parameters:\n{parameters}\nsearch: {{trainable: ./wide.py, data: none}}\n")
    points = points_of(space, defaults_of(space))
    # 20 ** 3 are more than 5,000. Three pairs of 400 share the axes: 1 + 3 x 19 + 3 x 19 x 19.
    assert len(points) == 1141


@pytest.mark.slow  # 16 s
def test_missing_weights_are_found_before_any_trial(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(MODELS)
    caches = {"HF_HOME": str(tmp_path / "hf"), "TORCH_HOME": str(tmp_path / "torch")}
    done = command("preflight", "--space", "./models.yaml", folder=tmp_path, **caches)
    assert done.returncode == 2
    fetch = "fetch it: jouletune preflight --space ./models.yaml --download"
    head, timms, torchvisions = done.stderr.splitlines()
    assert head == "preflight found 2 problems:"
    assert timms == f"  weights: {TIMM_FILE} is not in {tmp_path}/hf/hub; {fetch}"
    missing = f"/models/{TORCHVISION_FILE} is not in {tmp_path}/torch/hub/checkpoints; {fetch}"
    assert torchvisions.startswith("  weights: https://")
    assert torchvisions.endswith(missing)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow  # trains both libraries' models for a few steps
def test_the_table_says_where_the_weights_of_each_model_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight_files.fill_hub_cache(tmp_path / "hf")
    weight_files.fill_torch_cache(tmp_path / "torch")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with examining(ordered(made_space(tmp_path, MODELS), tmp_path)) as check:
        report = await_report(check)
    assert report.problems == ()
    assert [(row.model, row.source, row.is_there) for row in report.weights] == [
        ("resnet20", "none", True),
        (TIMM, "none", True),
        (TIMM, "hub", True),
        (TORCHVISION, "none", True),
        (TORCHVISION, "torchvision", True),
    ]
    sizes_mib = [row.size_mib for row in report.weights if row.size_mib]
    assert sizes_mib == pytest.approx([20.8, 9.8], abs=0.1)


def test_the_process_of_a_check_is_gone_while_the_search_continues(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    with examining(ordered(made_space(tmp_path), tmp_path)) as check:
        assert set(multiprocessing.active_children()) - before
        await_report(check)
        wait_for(lambda: not set(multiprocessing.active_children()) - before)


@pytest.mark.slow  # 10 s
def test_a_file_of_weights_must_be_there(tmp_path: Path) -> None:
    text = MODELS.replace("[none, hub]", f"[none, 'file:{tmp_path}/mine.pt']")
    report = examine(ordered(made_space(tmp_path, text), tmp_path))
    assert report.problems == (
        Problem(
            what=f"weights: {tmp_path}/mine.pt is not in {tmp_path}",
            remedy="give the absolute path of a file after file:",
        ),
    )
    (tmp_path / "mine.pt").write_bytes(b"")
    report = examine(ordered(made_space(tmp_path, text), tmp_path))
    assert list(map(str, report.problems)) == [
        f"weights: {tmp_path}/mine.pt: it is empty; give an intact file"
    ]


def test_an_unknown_model_is_found_although_it_needs_no_weights(tmp_path: Path) -> None:
    report = examine(ordered(made_space(tmp_path, MODELS.replace("resnet20,", "resnet_18,")), tmp_path))
    assert "model: no model is named 'resnet_18'; near are" in str(report.problems[0])


def test_images_that_cannot_be_read_are_found_by_reading_some(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "photos" / name / f"{number}.jpg").write_bytes(b"no image")
    text = MODELS.replace("digits", f"imagefolder:{tmp_path}/photos").replace("[1]", "[1], resolution: [8]")
    order = replace(ordered(made_space(tmp_path, text), tmp_path), points=(), rehearsed=())
    (problem,) = examine(order).problems
    assert "data: 40 of 40 images checked cannot be read, as " in problem.what
    assert "over 1 % of 40: fix or remove them" in problem.what


def test_data_that_is_not_there_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULETUNE_DATA", str(tmp_path))
    text = MODELS.replace("digits", "torchvision:CIFAR10")
    order = replace(ordered(made_space(tmp_path, text), tmp_path), points=(), rehearsed=())
    assert "is not in" in str(examine(order).problems[0])


def test_a_trainable_that_ends_its_process_does_not_end_the_search(tmp_path: Path) -> None:
    (tmp_path / "leaver.py").write_text(
        "import os\nif os.environ.get('LEAVE'):\n    os._exit(3)\nfrom trainables.toy import TRAINABLE\n"
    )
    (tmp_path / "leaver.yaml").write_text(
        "parameters: {lr: {min: 0.1, max: 0.2}}\nsearch: {trainable: ./leaver.py, data: none}\n"
    )
    order = ordered(made_space(tmp_path, (tmp_path / "leaver.yaml").read_text()), tmp_path)
    os.environ["LEAVE"] = "1"
    try:
        with examining(order) as check, pytest.raises(RuntimeError, match="the check itself was killed"):
            await_report(check)
    finally:
        del os.environ["LEAVE"]


def test_a_gpu_that_torch_does_not_see_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    text = MODELS.replace("digits,", "digits, resources: {gpus_per_trial: 1},")
    order = ordered(made_space(tmp_path, text), tmp_path)
    (problem,) = examine(replace(order, points=(), rehearsed=())).problems
    assert problem.what.startswith("gpu: torch ")
    assert problem.what.endswith(("sees no GPU", "was built without CUDA"))


def test_trials_that_need_no_gpu_train_on_the_cpu_where_torch_can_use_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("search.preflight.node_checks.visible_gpus", lambda environ: VisibleGpus(("GPU-a",)))
    order = replace(ordered(made_space(tmp_path, MODELS), tmp_path), points=(), rehearsed=())
    assert [problem.what.split(":")[0] for problem in examine(order).problems] == ["gpu"]
    report = examine(replace(order, may_use_cpu=True))
    assert report.problems == ()
    assert "the trials train on the CPU; for the GPU, install a torch" in report.no_gpu_reason
    assert f"device: {report.no_gpu_reason}" in report.notes  # which a search prints


def test_an_epoch_of_each_model_finds_what_only_training_can(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from dataclasses import replace\nfrom trainables.toy import TRAINABLE, ToyTraining\n"
        "class Ill(ToyTraining):\n    def run_epoch(self, budget):\n        raise OverflowError('too far')\n"
        "TRAINABLE = replace(TRAINABLE, start=lambda hparams, budget, env: Ill(hparams, env))\n"
    )
    own = "parameters: {lr: {min: 0.1, max: 0.2}}\nsearch: {trainable: ./own.py, data: none}\n"
    order = replace(ordered(made_space(tmp_path, own), tmp_path), is_trying=True)
    (problem,) = examine(order).problems
    assert problem.what.endswith("own.py: crash: OverflowError: too far")
    text = "parameters: {lr: {min: 0.1, max: 0.2}, optimizer: {value: sgd}}\nsearch: {data: digits}\n"
    good = made_space(tmp_path, text)
    report = examine(replace(ordered(good, tmp_path), is_trying=True))
    assert report.problems == ()
    assert report.notes[-1].startswith("trial of resnet20 none: 64 examples in ")


def test_a_script_is_tried_as_its_lowest_rung_trains_it(tmp_path: Path) -> None:
    text = """
parameters: {lr: {min: 0.1, max: 1.0}}
search:
  trainable: command
  command: {run: "{python} script.py --subset {subset}", metric: val_acc, mode: max, defaults: {lr: 0.5}}
  ladder: {epochs: [1], subset: 0.5}
"""
    (tmp_path / "script.py").write_text(SCRIPT)
    report = examine(replace(ordered(made_space(tmp_path, text), tmp_path), is_trying=True))
    assert report.problems == ()
    assert [row.model for row in report.weights] == ["python script"]
    [note] = [note for note in report.notes if note.startswith("trial of python script.py: an epoch in")]
    assert note.endswith(", val_acc 0.234")


@pytest.mark.slow
def test_findings_are_there_for_scripts_too(tmp_path: Path) -> None:
    done = command(
        "preflight", "--space", "curves", "lr_bs", "--set", "search.precision=fp32", "--json", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert list(found["spaces"]) == ["curves", "lr_bs"]
    assert found["spaces"]["lr_bs"][0]["weights"][0]["model"] == "resnet20"
    assert list(tmp_path.iterdir()) == []


def test_a_problem_of_some_nodes_names_them() -> None:
    full, slow = Problem(what="disk: full", remedy="make room"), Problem(what="gpu: none", remedy="mend it")
    reports = [Report(node="a", problems=(full, slow)), Report(node="b", problems=(full,))]
    assert problems_of(reports) == ["disk: full; make room", "gpu: none; mend it (on a)"]


def test_each_node_has_a_line_with_its_seconds_and_one_without_an_answer_has_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports = [Report(node="10.0.0.1/0f3a", seconds=1.24), Report(node="10.0.0.2/77c0", seconds=61.0)]
    print_reports([*reports, Report(node="9b21")], Output())
    assert capsys.readouterr().out.splitlines() == [
        "checked in 1.2 s on 10.0.0.1/0f3a",
        "checked in 61.0 s on 10.0.0.2/77c0",
        "not checked: 9b21",
    ]
    print_reports(reports[:1], Output())
    assert capsys.readouterr().out == "checked in 1.2 s on 10.0.0.1/0f3a\n"


def rows(size_mib: float) -> list[WeightRow]:
    return [WeightRow(model="m", source="hub", size_mib=size_mib)]


def test_a_disk_must_hold_the_running_trials_and_should_hold_the_paused() -> None:
    # 1,024 MiB of weights are checkpoints of 3 GiB: two each for two trials at a time are 12, 60 for twenty.
    about = {"folder": "/r", "workers": 2, "num_trials": 20, "limit_gib": None}
    (problem,), _ = disk_findings(11.9, rows(1024), **about)
    assert problem.what == (
        "disk: /r has 11.9 GiB free, and the checkpoints of 2 trials at a time take about 12.0"
    )
    none, (note,) = disk_findings(12.0, rows(1024), **about)
    assert none == []
    assert note.endswith("paused trials may keep 60 GiB of checkpoints; set search.limits.disk_gib")
    assert disk_findings(60.0, rows(1024), **about) == ([], [])
    assert disk_findings(12.0, rows(1024), **{**about, "limit_gib": 9.0}) == ([], [])


def test_memory_must_hold_one_worker_and_should_hold_all() -> None:
    assert memory_findings(None, workers=4) == ([], [])
    assert memory_findings(3.2, workers=4) == ([], [])
    _, (note,) = memory_findings(2.0, workers=4)
    assert note.endswith("but 4 are to run; --workers 2 fits")
    (problem,), _ = memory_findings(0.5, workers=4)
    assert problem.what == "memory: 0.5 GiB free, and a worker takes at least 0.8 GiB"


def test_free_memory_is_that_of_the_container(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  8388608 kB\n")
    assert free_memory_gib(meminfo=tmp_path / "meminfo", cgroup=tmp_path) == 8.0
    for name, text in (
        ("memory.max", "4294967296"),
        ("memory.current", "3221225472"),
        ("memory.stat", "anon 1\ninactive_file 1073741824"),
    ):
        (tmp_path / name).write_text(text)
    assert free_memory_gib(meminfo=tmp_path / "meminfo", cgroup=tmp_path) == 2.0
    assert free_memory_gib(meminfo=tmp_path / "none", cgroup=tmp_path / "none") is None


@pytest.mark.parametrize(
    ("measures", "has_other_limit", "num_problems"),
    [
        ((), True, 0),
        (("search.limits.kwh",), True, 0),
        (("search.limits.kwh",), False, 1),
        (("search.objective",), True, 1),
    ],
)
def test_a_run_that_cannot_do_without_joules_needs_a_sensor(
    measures: tuple[str, ...], has_other_limit: bool, num_problems: int
) -> None:
    about = {"measures": measures, "has_other_limit": has_other_limit}
    problems, _ = sensor_findings("", "no RAPL", cpu_power_key="", **about)
    assert len(problems) == num_problems
    assert sensor_findings("", "no RAPL", cpu_power_key="search.metering.cpu_tdp_w", **about)[0] == []
    assert sensor_findings("gpu", "", cpu_power_key="", **about) == ([], ["energy: gpu is measured"])


def test_versions_are_those_of_pyproject() -> None:
    assert unmet(requirements()) == []
    assert any(line.startswith("torch>=") for line in requirements())
    lacks = unmet(("numpy>=999", "no-such-package>=1", "numpy<1; python_version < '3'"))
    assert [text.split(" ")[0] for text in lacks] == ["numpy", "no-such-package"]
    assert lacks[1] == "no-such-package is not installed, the program needs >=1"


def test_a_folder_that_takes_no_files_is_found() -> None:
    assert unwritable_reason(Path("/proc/results")) is not None


def test_a_long_preflight_is_named_in_a_log_after_a_second_half_a_minute_and_every_ten() -> None:
    first: list[str] = []
    printed: list[str] = []
    now = [0.0]
    tell = now_and_then(
        printed.append,
        clock=lambda: now[0],
        first=first.append,
        instead="; --skip-preflight starts without it",
    )
    tell("preflight: starting")
    assert first == []
    for now[0] in (1.0, 29.0, 31.0, 600.0, 632.0):
        tell("preflight: reading data")
    assert first == ["preflight: reading data"]
    waits = [
        "31 s so far; --skip-preflight starts without it",
        "632 s so far; --skip-preflight starts without it",
    ]
    assert printed == [f"preflight: reading data ({wait})" for wait in waits]
