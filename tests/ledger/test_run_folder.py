"""Where a run keeps its files, and how it is opened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from search.ledger import Ledger, LedgerError, RunFolder, fresh_folder
from search.ledger.run_folder import runs_in
from search.space import SpaceError
from search.trial.trial_folder import TrialFolder
from tests.support.toy_runs import as_searched, executed, fateful_space, listed, made_space


def test_a_run_is_opened_with_its_space_and_its_history(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.limits.trials=3"])
    run, _ = executed(space, tmp_path)
    as_searched(space, run.ledger)
    opened = RunFolder.open(tmp_path / "run")
    assert opened.read_space().limits.trials == 3
    assert opened.read_space(["search.limits.trials=7"]).limits.trials == 7
    assert list(opened.read_history().trials) == ["trial-0000", "trial-0001", "trial-0002"]
    assert opened.trial("trial-0001").checkpoint.is_file()
    assert opened.trial("trial-0001").log.is_file()


def test_reading_a_run_never_imports_its_trainable_and_training_from_it_does(tmp_path: Path) -> None:
    space = fateful_space(tmp_path)
    run, _ = executed(space, tmp_path, listed({"fate": "fine"}))
    as_searched(space, run.ledger)
    (tmp_path / "fateful.py").write_text("raise RuntimeError('imported')")
    opened = RunFolder.open(tmp_path / "run")
    assert set(opened.read_space().parameters) == {"fate", "score"}
    with pytest.raises(SpaceError, match="imported"):
        opened.read_space(is_of_run=False)


@pytest.mark.parametrize("make", [lambda folder: None, Path.mkdir, Path.touch])
def test_a_folder_without_a_journal_is_no_run(make, tmp_path: Path) -> None:
    make(tmp_path / "empty")
    with pytest.raises(LedgerError, match=r"holds no run \(no journal\.jsonl in it\)"):
        RunFolder.open(tmp_path / "empty")
    assert not RunFolder(tmp_path / "empty").has_run


def test_the_run_that_was_written_to_last_comes_first(tmp_path: Path) -> None:
    for seconds, name in enumerate(["b", "c", "a"]):
        os.utime(Ledger.create(tmp_path / name).journal_file, (seconds, seconds))
    (tmp_path / "no-run").mkdir()
    assert [run.name for run in runs_in(tmp_path)] == ["a", "c", "b"]
    assert fresh_folder(tmp_path / "a") == tmp_path / "a-2"
    assert fresh_folder(tmp_path / "no-run") == tmp_path / "no-run"


def test_parts_of_a_run_are_its_promotions_and_baselines(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "run")
    for name in ("promotion", "promotion-2", "baseline-knn"):
        Ledger.create(ledger.folder / name)
    (ledger.folder / "promotion-3").mkdir()
    assert [part.folder.name for part in ledger.parts()] == ["promotion", "promotion-2", "baseline-knn"]


def test_the_states_of_a_training_are_those_that_are_there(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    assert folder.states() == []
    for path in (folder.kept(20), folder.kept(3), folder.final, folder.checkpoint, folder.log):
        path.touch()
    (tmp_path / "best.pt").symlink_to("nowhere")
    names = [path.name for path in folder.states()]
    assert names == ["checkpoint.pt", "best.pt", "final.pt", "epoch-0003.pt", "epoch-0020.pt"]
    shutil.rmtree(tmp_path)
    assert folder.states() == []
