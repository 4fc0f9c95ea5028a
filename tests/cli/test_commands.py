"""The commands as a person types them: in another folder, by path, with mistakes."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from search.cli import COMMANDS, main, preflight, search, train
from search.cli.parser import space_overrides
from search.cli.reference import PATH, reference
from search.ledger import Ledger
from search.space import dump_space
from tests.support.processes import ROOT, ran, typed
from tests.support.toy_runs import made_space, toy_file


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return toy_file(tmp_path)


@pytest.mark.parametrize("name", ["search", "promote", "train", "preflight", "export"])
def test_every_script_runs_by_path_from_another_folder(name: str, tmp_path: Path) -> None:
    done = typed(name, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "exit status:" in done.stdout


def test_the_package_runs_as_a_module_with_the_commands_in_its_help(tmp_path: Path) -> None:
    done = ran(sys.executable, "-m", "jouletune", "--help", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0
    lines = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert lines == list(COMMANDS)
    done = ran(sys.executable, "-m", "jouletune", "search", "--help", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert done.stdout.startswith("usage: jouletune search ")
    assert "\n  jouletune search --space lr_bs.yaml\n" in done.stdout


@pytest.mark.parametrize(
    ("command", "meant"),
    [("serch", "; did you mean search?"), ("check_energy", "; did you mean check-energy?"), ("xyzzy", "")],
)
def test_an_unknown_command_is_answered_with_the_nearest(
    command: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 2
    assert capsys.readouterr().err == (
        f"jouletune: error: there is no command {command}{meant} (--help lists them)\n"
    )


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jouletune {project['version']}\n"


def test_no_command_at_all_prints_them_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: jouletune COMMAND ...")


@pytest.mark.slow  # 10 s: two processes
def test_a_limit_of_energy_is_a_flag_checked_like_the_files(tmp_path: Path, space: Path) -> None:
    done = typed(
        "search", "--space", space, "--dry-run", "--skip-preflight", "--kwh", "0.25", folder=tmp_path
    )
    assert "0.25 kWh" in done.stdout, done.stderr
    done = typed("search", "--space", space, "--dry-run", "--kwh", "-1", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{space.name}: search.limits.kwh: must be above 0, got -1\n"


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        *(("--trials", "limits.trials"), ("--hours", "limits.hours"), ("--kwh", "limits.kwh")),
        *(("--co2e-kg", "limits.co2e_kg"), ("--cost", "limits.cost")),
        ("--early-stop-threshold", "early_stop_threshold"),
    ],
)
def test_what_ends_a_search_or_a_trial_is_a_flag(flag: str, key: str) -> None:
    options = search.parser().parse_args(["--space", "lr_bs", flag, "-0.3"])
    assert search.overrides(options) == [f"search.{key}=-0.3"]


@pytest.mark.parametrize("command", [search, train, preflight])
def test_data_and_budget_are_flags_wherever_a_space_is(command: ModuleType) -> None:
    words = ["--space", "lr_bs", "--data", "photos", "--budget-size", "32", "--set", "search.seed=1"]
    assert space_overrides(command.parser().parse_args(words)) == [
        "search.budget.resolution=32",
        ("search.data", "photos"),
        "search.seed=1",
    ]


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (["search", "--rerun-failed"], "--rerun-failed needs a run: write --rerun-failed RUN, or add --name"),
        (["search", "lr_bs"], "unexpected argument: lr_bs; a space is named by a flag: --space lr_bs"),
        (["report"], "give RUN, or --compare RUN1 RUN2"),
        (["promote", "mine", "--top", "-1"], "argument --top: must be a whole number above 0, got -1"),
        (["promote", "mine", "--seeds", "0"], "argument --seeds: must be a whole number above 0, got 0"),
        (["train", "--space", "lr_bs", "--overfit", "0"], "argument --overfit: must be a whole number above"),
        (
            ["train", "--space", "lr_bs", "--probe", "--test", "--resume", "x.pt"],
            "--resume and --test go with a training, not with --smoke, --probe, --overfit or --lr-range",
        ),
        (["export", "mine"], "give at least one of --optuna, --sweep, --tensorboard, --mlflow"),
    ],
)
def test_flags_are_refused_under_the_name_by_which_the_command_was_called(
    words: list[str], mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert capsys.readouterr().err.startswith(f"jouletune {words[0]}: error: {mistake}")


def test_every_command_has_a_section_in_the_documents() -> None:
    """`make docs` writes it again."""
    assert PATH.read_text(encoding="utf-8") == reference()


def test_a_dry_run_prints_the_plan_and_creates_nothing(tmp_path: Path, space: Path) -> None:
    done = typed("search", "--space", space, "--dry-run", "--budget-epochs", 18, folder=tmp_path)
    assert done.returncode == 0
    assert "18 epochs" in done.stdout
    assert "0.0001 to 1, log" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.yaml"]


def test_bad_flags_and_a_bad_space_give_one_message_and_create_nothing(tmp_path: Path, space: Path) -> None:
    done = typed(
        "search",
        *("--space", space, "--trials", "many", "--hours", "-1", "--budget-size", "big"),
        *("--set", "parameters.lrr.value=1"),
        folder=tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "toy.yaml has 4 problems:",
        "  search.budget.resolution: must be a whole number, got the text 'big'",
        "  search.limits.trials: must be a whole number, got the text 'many'",
        "  search.limits.hours: must be above 0, got -1",
        "  parameters.lrr: toy has no such hyperparameter; did you mean lr?",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.yaml"]


def test_a_run_with_other_settings_is_refused_before_anything_starts(tmp_path: Path, space: Path) -> None:
    folder = tmp_path / "results" / "run"
    Ledger.create(folder)
    dump_space(made_space(tmp_path, overrides=["name=toy", "search.seed=7"]), folder / "space.yaml")
    done = typed("search", "--space", space, "--name", "run", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{folder} holds a run with other settings:",
        "  seed: was 7, now 0",
        "give another --name, or --fresh for a new run",
    ]


def test_promoting_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = typed("promote", "nothing", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "results/nothing holds no run (no journal.jsonl in it)\n")


def test_an_image_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = typed(
        "search", "--space", "lr_bs", "--set", "search.data=imagefolder:/no/such/folder", folder=tmp_path
    )
    assert done.returncode == 2
    assert "search.data: /no/such/folder does not exist" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_configuration_trains_in_this_process(tmp_path: Path, space: Path) -> None:
    done = typed(
        "train",
        *("--space", space, "--hparam", "lr=0.1", "--hparam", "batch_size=32", "--out", "out", "--test"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("lr=0.1 batch_size=32")
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch")] == [
        f"epoch {epoch}" for epoch in range(1, 10)
    ]
    assert "test_accuracy" in lines[-2]
    ending = r"trained 9 epochs: val_accuracy 0\.\d+, on the test set 0\.\d+   files: out"
    assert re.fullmatch(ending, lines[-1])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "best.pt",
        "checkpoint.pt",
        "config.yaml",
        "curves.png",
        "final.pt",
        "history.csv",
        "test.json",
    ]


def test_states_on_the_way_are_kept_where_that_is_asked_for(tmp_path: Path, space: Path) -> None:
    arguments = ("--space", space, "--hparam", "lr=0.1", "--keep-every", 4)
    done = typed("train", *arguments, "--out", "out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.pt")) == [
        "checkpoint.pt",
        "epoch-0004.pt",
        "epoch-0008.pt",
    ]
    refused = typed("train", *arguments, folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == "train.py: error: --keep-every needs --out DIR, where the states are kept\n"


def test_a_trainable_that_cannot_say_what_memory_it_needs_is_reported(tmp_path: Path, space: Path) -> None:
    done = typed("train", "--space", space, "--probe", folder=tmp_path)
    assert done.returncode == 1
    assert "does not say how much memory it needs" in done.stdout


def test_a_python_without_the_packages_says_which_command_makes_the_environment(tmp_path: Path) -> None:
    done = ran(sys.executable, "-S", "-I", ROOT / "scripts" / "search.py", "--help", folder=tmp_path)
    assert done.returncode == 2
    assert "lacks pydantic" in done.stderr
    assert "make setup" in done.stderr
    assert len(done.stderr.splitlines()) == 1
