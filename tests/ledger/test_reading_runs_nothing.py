"""Whatever a run's folder names: commands that read it run nothing of it. Each is a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.foreign_runs import (
    MARK,
    STRANGERS,
    UNREADABLE,
    beside,
    evil,
    renamed,
    strangers_runs,
    whole_run,
)
from tests.support.processes import ROOT, ran
from tests.support.toy_runs import toy_file

# Many command lines in one process, each in the folder that it names, for the time that imports take.
_MANY = """
import json, os, runpy, sys
scripts, lines = sys.argv[1], json.loads(sys.argv[2])
codes = []
for folder, script, *arguments in lines:
    os.chdir(folder)
    sys.argv = [os.path.join(scripts, script), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code)
print("codes:", json.dumps(codes))
"""


_FEW = ("beside", "package", "shadows", "parts", "chained", "bare")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return strangers_runs(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(params=["few", pytest.param("all", marks=pytest.mark.slow)])
def names(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Which runs are read: one of each family, or every one."""
    return _FEW if request.param == "few" else tuple(STRANGERS)


def codes_of(lines: list[list[str]], folder: Path) -> list[int]:
    """The exit statuses of command lines `[folder, script, argument...]`, after the search for the mark."""
    done = ran(sys.executable, "-c", _MANY, str(ROOT / "scripts"), json.dumps(lines), folder=folder)
    assert not (folder / MARK).exists(), (folder / MARK).read_text()
    (codes_line,) = [line for line in done.stdout.splitlines() if line.startswith("codes:")]
    codes: list[int] = json.loads(codes_line.removeprefix("codes:"))
    return codes


def of_each(results: Path, script: str, *arguments: str, names: Iterable[str]) -> dict[str, int]:
    """The script's exit status for each run; RUN among the arguments is the run's folder."""
    lines = [
        [str(results / name), script, *(each.replace("RUN", str(results / name)) for each in arguments)]
        for name in names
    ]
    return dict(zip(names, codes_of(lines, results.parent), strict=True))


def expected(names: Iterable[str]) -> dict[str, int]:
    return {name: 2 if name in UNREADABLE else 0 for name in names}


def test_the_mark_is_left_where_such_code_does_run(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(evil(tmp_path))
    ran(sys.executable, tmp_path / "evil.py", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert (tmp_path / MARK).read_text() == str(tmp_path / "evil.py")


@pytest.mark.slow  # 11 s
def test_reports_run_nothing(results: Path, names: tuple[str, ...]) -> None:
    assert of_each(results, "report.py", "RUN", names=names) == expected(names)


def test_comparisons_run_nothing(results: Path, names: tuple[str, ...]) -> None:
    good = str(results / "beside")
    flags = ("--compare", "RUN", good, "--out", "RUN/c.html")
    assert of_each(results, "report.py", *flags, names=names) == expected(names)


def test_exports_run_nothing(results: Path, names: tuple[str, ...]) -> None:
    flags = ("--optuna", "RUN/study.db", "--sweep", "RUN/sweep.yaml", "--tensorboard", "RUN/events")
    assert of_each(results, "export.py", "RUN", *flags, names=names) == expected(names)


def test_the_check_of_joules_runs_nothing(results: Path, names: tuple[str, ...]) -> None:
    assert set(of_each(results, "check_energy.py", "RUN", names=names).values()) <= {0, 1, 2}


def test_the_check_of_records_runs_nothing(results: Path, names: tuple[str, ...]) -> None:
    assert set(of_each(results, "check.py", "RUN", names=names).values()) <= {0, 1}


@pytest.mark.slow  # 21 s
def test_warm_starts_run_nothing(results: Path, names: tuple[str, ...]) -> None:
    space = str(toy_file(results.parent))
    codes = of_each(results, "search.py", "--space", space, "--warm-start", "RUN", "--dry-run", names=names)
    assert codes["shadows"] == codes["parts"] == codes["chained"] == 0
    assert codes["beside"] == codes["package"] == 2  # of another trainable


def test_portfolios_run_nothing(results: Path, names: tuple[str, ...]) -> None:
    space = str(toy_file(results.parent))
    codes = of_each(results, "search.py", "--space", space, "--portfolio", "RUN", "--dry-run", names=names)
    assert set(codes.values()) == {2}  # read, and refused: four trials are too few, or of another trainable


@pytest.mark.slow  # 9 s
def test_the_forecast_of_an_unrelated_space_runs_nothing_of_the_runs_beside_it(results: Path) -> None:
    space = str(toy_file(results.parent))
    assert codes_of([[str(results.parent), "search.py", "--space", space, "--dry-run"]], results.parent) == [
        0
    ]


def test_opening_runs_from_python_runs_nothing(results: Path) -> None:
    code = (
        "import sys, jouletune\n"
        "for folder in sys.argv[1:]:\n"
        "    try: print(len(jouletune.open(folder).ranked), jouletune.open(folder).best.value)\n"
        "    except ValueError as error: print('refused', error)\n"
    )
    folders = [str(results / name) for name in STRANGERS]
    done = ran(sys.executable, "-c", code, *folders, folder=results.parent, PYTHONPATH=str(ROOT))
    assert not (results.parent / MARK).exists()
    assert [line.split()[0] for line in done.stdout.splitlines()].count("refused") == len(UNREADABLE)
    assert len(done.stdout.splitlines()) == len(STRANGERS)


_TRAINING = {  # what takes a run's own space to train
    "search.py": ("--space", "RUN/space.yaml", "--name", "new"),
    "promote.py": ("RUN",),
    "train.py": ("--space", "RUN/space.yaml", "--trial", "RUN:trial-0000"),
    "preflight.py": ("--space", "RUN/space.yaml"),
}
_NAMING_CODE = ("beside", "absolute", "above", "deep", "linked", "package", "unrecorded", "scripted")


@pytest.mark.parametrize("script", _TRAINING)
def test_what_trains_refuses_code_that_came_with_a_run(script: str, results: Path) -> None:
    codes = of_each(results, script, *_TRAINING[script], names=_NAMING_CODE)
    assert codes == dict.fromkeys(_NAMING_CODE, 2)


def test_trying_failed_trials_again_refuses_code_that_came_with_the_run(results: Path) -> None:
    codes = of_each(results, "search.py", "--rerun-failed", "RUN", "--dry-run", names=_NAMING_CODE)
    assert codes == dict.fromkeys(_NAMING_CODE, 2)


def test_a_background_refuses_code_that_came_with_a_run(results: Path) -> None:
    space = str(toy_file(results.parent))
    flags = ("--space", space, "--background", "RUN/space.yaml", "--dry-run")
    codes = of_each(results, "search.py", *flags, names=_NAMING_CODE)
    assert codes == dict.fromkeys(_NAMING_CODE, 2)


def test_the_refusal_names_the_file_the_run_and_the_way_on(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "made")
    beside(run, tmp_path)
    done = ran(sys.executable, ROOT / "scripts/promote.py", run, folder=tmp_path)
    assert done.returncode == 2
    assert f"{run}/evil.py is in the folder of the run {run}" in done.stderr
    assert "--set search.trainable=PATH" in done.stderr


def test_code_that_a_command_names_is_run(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "made")
    beside(run, tmp_path)
    line = ("--space", run / "space.yaml", "--set", "search.trainable=made/run/evil.py", "--dry-run")
    done = ran(sys.executable, ROOT / "scripts/search.py", *line, folder=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / MARK).read_text() == os.fspath(run / "evil.py")


def test_a_run_without_a_record_says_what_is_not_known(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "made")
    beside(run, tmp_path)
    (run / "trainable.json").unlink()
    done = ran(sys.executable, ROOT / "scripts/report.py", run, folder=tmp_path)
    assert done.returncode == 0
    assert "trainable.json is missing, and reading a run never imports its trainable" in done.stderr
    assert "what lies beyond a range count as unknown" in (run / "report.html").read_text()


def test_a_record_of_another_trainable_is_named(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "made")
    record = (run / "trainable.json").read_text()
    renamed(run, str(tmp_path / "mine.py"))
    (run / "trainable.json").write_text(record)
    done = ran(sys.executable, ROOT / "scripts/report.py", run, folder=tmp_path)
    assert done.returncode == 2
    assert "trainable.json describes toy, but the run's space.yaml names" in done.stderr
