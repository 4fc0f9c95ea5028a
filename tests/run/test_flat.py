"""What an event costs does not grow with the trials there are: counted, not timed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from search.energy.reading import EnergyReading
from search.ledger import Ledger
from search.ledger.history import History, TrialRecord
from search.ranking import Ranking, configurations
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.sampling import sampler as sampling
from search.tables.writer import Tables
from tests.support.histories import MemoryJournal, MemoryLedger, ids, row
from tests.support.toy_runs import Calling, made_space, sampler_for

RANDOM = ["search.sampler=random", "search.ladder.epochs=[1, 2, 4]", "search.scheduler.mode=asha"]


class Unread(MemoryJournal):
    """A journal in memory, of which no event reads the rest."""

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self.lines.append(json.dumps({"time": float(len(self.lines)), **event}))
        written: dict[str, Any] = json.loads(self.lines[-1])
        return written


def searched(tmp_path: Path, num_trials: int, on_trial: Callable[[], None]) -> Run:
    """A search with promotion whose trials score at random; `on_trial` before each new one."""
    changes = [*RANDOM, f"search.limits.trials={num_trials}"]
    space = made_space(tmp_path, overrides=changes)
    # What a further trial would gain is estimated of all trials, each time a tenth more epochs were run.
    run = Run(space, sampler_for(space), MemoryLedger(Unread([])), estimates_gain=False, clock=lambda: 0.0)
    random = Random(5)
    run.observe(CheckpointRetention(run))
    run.observe(Calling(lambda event: on_trial() if event["event"] == "trial_asked" else None))
    while (task := run.next_task()) is not None:
        epoch = run.history.trials[task.trial_id].epochs + 1
        while run.on_epoch(task.trial_id, row(epoch, random.random(), EnergyReading())) == "continue":
            epoch += 1
    return run


def test_an_event_reads_as_many_trials_at_the_end_of_a_search_as_at_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, marks = 0, []
    value = TrialRecord.value

    def counted(trial: TrialRecord, metric: str) -> float | None:
        nonlocal reads
        reads += 1
        return value(trial, metric)

    monkeypatch.setattr(TrialRecord, "value", counted)
    run = searched(tmp_path, 400, lambda: marks.append(reads))
    assert len(run.history.trials) == 400
    early, late = marks[150] - marks[50], marks[399] - marks[299]
    assert 0 < late <= 1.5 * early  # at the end more are given up, each an event; all read would be 3.5
    assert reads < 12 * 400


def test_what_is_written_often_is_not_written_the_more_often_the_longer_it_takes(tmp_path: Path) -> None:
    now_s, written_s = 0.0, 0.0

    class Slow(Ledger):
        def write_csv(self, name: str, columns: object, rows: object) -> None:
            nonlocal now_s, written_s
            now_s, written_s = now_s + 1.5, written_s + 1.5

    space = made_space(tmp_path)
    tables = Tables(Slow(tmp_path / "run"), space, History(), clock=lambda: now_s)
    for _ in range(2000):
        now_s += 1.0
        tables.on_event({"event": "trial_ended"})
    assert 0.04 < written_s / now_s < 0.05


@pytest.mark.parametrize(("repeats", "seed"), [(1, 1), (2, 2), (3, 3), (3, 4)])
def test_a_ranking_kept_up_to_date_is_the_one_found_anew(repeats: int, seed: int) -> None:
    random, history = Random(seed), History()
    ranking = Ranking([], "val_accuracy", "max", repeats=repeats)
    for event in random_events(random, repeats):
        history.apply(event)
        ranking.update(history.trials[event["trial"]])
        found = configurations(history.trials.values(), "val_accuracy", "max", repeats=repeats)
        assert list(map(ids, ranking.configurations())) == list(map(ids, found))
        assert ranking.best() is (found[0].first if found else None)


def random_events(random: Random, repeats: int) -> Iterator[dict[str, Any]]:
    """Trials asked for, trained, ended and tried again in any order, with many ties."""
    epochs: dict[str, int] = {}
    for number in range(300):
        name = random.choice([*epochs, "new"])
        what = random.choice(["epoch", "epoch", "epoch", "trial_ended", "trial_resumed"])
        base = {"time": float(number), "elapsed_s": 0.0}
        if name == "new" or len(epochs) < 3:
            name = f"trial-{len(epochs):04d}"
            point = {"lr": len(epochs) // repeats}
            asked = {"number": len(epochs), "proposed_by": "sampler", "hparams": point, "seed": 0}
            epochs[name] = 0
            yield {**base, "event": "trial_asked", "trial": name, **asked}
        elif what == "epoch" and epochs[name] < 4:
            epochs[name] += 1
            reported = row(epochs[name], random.randrange(4) / 4, EnergyReading()).to_dict()
            yield {**base, "event": "epoch", "trial": name, "row": reported}
        elif what == "trial_ended":
            status = random.choice(["finished", "stopped", "paused", "failed", "diverged"])
            yield {**base, "event": what, "trial": name, "status": status, "cause": "", "message": ""}
        elif what == "trial_resumed":
            yield {**base, "event": what, "trial": name}


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_model_is_fitted_to_the_latest_trials_and_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shorten(monkeypatch)
    sampler = sampler_for(
        made_space(tmp_path, overrides=[f"search.sampler={kind}", "search.ladder.epochs=[4]"])
    )
    most = 0
    for number in range(200):
        assert sampler.ask(f"t{number}")
        sampler.report(f"t{number}", 0, 0.9 if number == 7 else number / 1000)
        sampler.finish(f"t{number}", "finished")
        most = max(most, len(known := sampler.intermediate_values()))
    assert most <= 20 + 3 + 5 + 20  # and draws that repeated a point
    assert {4: 0.9} in known
    assert known[-1] == {4: 0.199}


def test_a_restart_forgets_what_the_search_had_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    space = made_space(tmp_path, overrides=["search.sampler=tpe", "search.ladder.epochs=[1, 4]"])
    live, again = sampler_for(space), sampler_for(space)
    for number in range(90):
        name, score = f"t{number}", (number * 37 % 100) / 100
        proposal = live.ask(name)
        assert proposal
        again.replay(name, proposal.hparams, proposal.proposed_by)
        for each in (live, again):
            each.report(name, 0, score)
            if number % 3 == 0:
                each.report(name, 1, score / 2)
            if number % 9 != 1:  # every ninth trains on
                each.finish(name, "finished" if number % 3 == 0 else "stopped")
    learnt = [[known for known in each.intermediate_values() if known] for each in (live, again)]
    assert learnt[0] == learnt[1]
    assert live.states().count("RUNNING") == again.states().count("RUNNING") == 10
    assert [live.ask("next"), live.ask("last")] == [again.ask("next"), again.ask("last")]


def test_of_several_objectives_the_front_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    changes = ["search.sampler=tpe", "search.ladder.epochs=[4]", "search.objective=[val_accuracy, energy]"]
    sampler = sampler_for(made_space(tmp_path, overrides=changes))
    for number in range(120):
        assert sampler.ask(f"t{number}")
        sampler.report(f"t{number}", 0, 0.9 if number == 7 else number / 1000, 5.0 if number == 7 else 9.0)
        sampler.finish(f"t{number}", "finished")
    assert sampler.states().count("COMPLETE") <= 20 + 3 + 5
    known = [trial.values for trial in sampler._study.get_trials()]
    assert [0.9, 5.0] in known


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows 20 trials and the 3 best, and forgets after each 5."""
    for name, number in (("_MOST_KNOWN", 20), ("_BEST_KEPT", 3), ("_REPORTS_PER_TRIM", 5)):
        monkeypatch.setattr(sampling, name, number)
