"""A run that knows what earlier runs found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.ledger import Ledger, LedgerError
from search.run import Run
from search.sampling.sampler import OptunaSampler
from search.sampling.warm_start import earlier_trials, make_sampler
from search.space import Space, dump_space
from tests.support.toy_runs import defaults_of, executed, made_space
from trainables.core.load import TrainableRef


def earlier_run(folder: Path, *overrides: str) -> Run:
    """A run as the command leaves it: with its space beside the journal."""
    folder.mkdir()
    space = made_space(folder, overrides=overrides)
    run, _ = executed(space, folder)
    dump_space(space, run.ledger.space_file)
    return run


def test_each_trial_is_known_with_its_value_at_every_rung_it_ended(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a")
    trials, notices = earlier_trials([run.ledger.folder], run.space)
    assert notices == []
    assert [trial.hparams for trial in trials] == [t.hparams for t in run.history.trials.values()]
    first, record = trials[0], run.history.trials["trial-0000"]
    assert first.status == record.status == "finished"
    assert first.values == {epochs: record.value_at("val_accuracy", n) for n, epochs in enumerate([1, 3, 9])}


def test_the_sampler_is_past_its_random_start_when_it_knows_enough(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a")
    known, _ = earlier_trials([run.ledger.folder], run.space)
    sampler = make_sampler(run.space, known)
    assert isinstance(sampler, OptunaSampler)
    assert len(sampler.states()) == 12
    assert sampler.states().count("COMPLETE") == len(
        [trial for trial in run.history.trials.values() if trial.status == "finished"]
    )
    assert sampler.ask("trial-0000") is not None


def test_trials_of_a_narrowed_space_are_those_that_lie_in_it(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a")
    narrow = made_space(tmp_path, overrides=["parameters.lr.min=0.01"])
    known, _ = earlier_trials([run.ledger.folder], narrow)
    inside = [trial for trial in known if trial.hparams["lr"] >= 0.01]
    assert 0 < len(inside) < len(known) == 12
    assert OptunaSampler(narrow, defaults_of(narrow)).warm_start(known) == len(inside)


def test_another_ladder_is_noticed_and_another_trainable_refused(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a")
    longer = made_space(tmp_path, overrides=["search.ladder.epochs=[2, 4]"])
    _, notices = earlier_trials([run.ledger.folder], longer)
    assert notices == [
        f"{run.ledger.folder} had another ladder: its scores may not be comparable with this run's"
    ]
    other = replace(run.space, trainable=TrainableRef(name="classification"))
    with pytest.raises(LedgerError, match=r"\n  trainable: there toy, here classification$"):
        earlier_trials([run.ledger.folder], other)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"holds no run \(no journal.jsonl in it\)"):
        earlier_trials([tmp_path], made_space(tmp_path))


def test_runs_are_written_into_the_space_with_absolute_paths(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.warm_start=[earlier, ../other]"])
    assert space.warm_start == (str(tmp_path / "earlier"), str(tmp_path.parent / "other"))
    assert reloaded(space, tmp_path).warm_start == space.warm_start


def test_a_warm_started_run_that_is_killed_continues_knowing_the_same(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "a")
    known, _ = earlier_trials([run.ledger.folder], run.space)
    space = made_space(tmp_path, overrides=["search.seed=5"])
    points = []
    for num_asked_before in (0, 4):
        sampler = make_sampler(space, known)
        for number, (trial_id, hparams) in enumerate(points[:num_asked_before]):
            sampler.replay(trial_id, hparams, "sampler" if number else "default")
        for number in range(num_asked_before, 6):
            proposal = sampler.ask(f"trial-{number:04d}")
            assert proposal is not None
            points.append((f"trial-{number:04d}", proposal.hparams))
    assert points[4:6] == points[6:8]


def reloaded(space: Space, folder: Path) -> Space:
    ledger = Ledger.create(folder / "stored")
    dump_space(space, ledger.space_file)
    return made_space(folder, ledger.space_file.read_text())
