"""`jouletune new trainable NAME`: what it writes works as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from search.cli import run
from search.new_trainable import NewTrainableError, write_trainable
from search.space import SPACES
from search.space.paths import find_file

REPOSITORY = Path(__file__).parents[2]
SMALL = ["--backend", "local", "--trials", "2", "--name", "two", "--skip-preflight"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with a new trainable `glyphs` in it."""
    root = tmp_path_factory.mktemp("copy") / "repository"
    without = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("search", "trainables", "tests", "scripts", "spaces"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=without)
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    (root / "results").mkdir()
    say = "import sys; from search.cli import run; sys.exit(run('new', ['trainable', 'glyphs']))"
    assert "wrote trainables/glyphs/__init__.py" in done(root, "-c", say)
    return root


def done(folder: Path, *words: str, path: Path | None = None) -> str:
    """What a Python process prints that must end well."""
    environment = {**os.environ, "PYTHONPATH": str(path or folder), "JOULETUNE_CACHE": str(folder / "cache")}
    command = [sys.executable, *words]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout + found.stderr


@pytest.mark.slow
def test_the_contract_tests_find_the_generated_trainable_and_pass(repository: Path) -> None:
    contract = "tests/trainables/test_trainable_contract.py"
    output = done(repository, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", contract, "-k", "glyphs")
    assert " passed" in output
    assert "failed" not in output


@pytest.mark.slow
def test_the_generated_trainable_passes_a_smoke_run(repository: Path) -> None:
    assert "smoke" in done(repository, "scripts/train.py", "--space", "glyphs.yaml", "--smoke")


@pytest.mark.slow
def test_the_generated_test_passes_and_the_space_is_searched_without_ray(repository: Path) -> None:
    test = "tests/trainables/test_glyphs.py"
    assert " passed" in done(repository, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", test)
    done(repository, "scripts/search.py", "--space", "glyphs.yaml", *SMALL)
    assert len((repository / "results/two/trials.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_files_of_ones_own_work_in_any_folder(tmp_path: Path) -> None:
    assert run("new", ["trainable", "glyphs", "--folder", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *("glyphs.py", "glyphs.yaml", "glyphs_training.py", "test_glyphs.py")
    }
    output = done(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "test_glyphs.py", path=REPOSITORY)
    assert " passed" in output
    search, results = str(REPOSITORY / "scripts/search.py"), str(tmp_path / "results")
    done(tmp_path, search, "--space", "./glyphs.yaml", *SMALL, "--results", results, path=REPOSITORY)
    assert len((tmp_path / "results/two/trials.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("folder", [".", "models"])
def test_the_command_that_comes_next_finds_the_space(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("new", ["trainable", "glyphs", "--folder", folder]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    place = "./" if folder == "." else "models/"
    smoke = f"jouletune train --space {place}glyphs.yaml --smoke"
    assert line == f"next: {smoke}, and python -m pytest {place}test_glyphs.py"
    assert find_file(f"{place}glyphs.yaml", SPACES).samefile(tmp_path / place / "glyphs.yaml")


@pytest.mark.parametrize("name", ["toy", "detection", "engine", "template", "command"])
def test_a_name_that_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(NewTrainableError, match=f"'{name}' is taken by a trainable or a folder"):
        write_trainable(name, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my-model", "3d", "class", "Net", "", "a/b", "../up", "ünder"])
def test_a_name_that_is_no_identifier_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(NewTrainableError, match="a trainable's name has lower case letters"):
        write_trainable(name, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_an_installed_module_is_refused_for_files_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(NewTrainableError, match="'json' is the name of an installed module"):
        write_trainable("json", folder=tmp_path)


def test_nothing_is_overwritten_and_every_file_in_the_way_is_named(tmp_path: Path) -> None:
    files = ("spaces/glyphs.yaml", "tests/trainables/test_glyphs.py")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("mine")
    with pytest.raises(NewTrainableError) as caught:
        write_trainable("glyphs", root=tmp_path)
    assert str(caught.value) == "; ".join(
        f"{tmp_path}/{file} exists already"
        for file in ("spaces/glyphs.yaml", "tests/trainables/test_glyphs.py")
    )
    assert not (tmp_path / "trainables").exists()
    assert (tmp_path / "spaces/glyphs.yaml").read_text() == "mine"


def test_outside_the_repository_a_folder_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("new", ["trainable", "glyphs"]) == 2
    assert capsys.readouterr().err.endswith("give --folder DIR\n")
