"""Runs whose saved states were damaged between two sessions: every curve is that of an undisturbed run.

JOULETUNE_DAMAGES=500 tries 500 seeds instead of 8.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.space import Space
from tests.support.damages import STATE_DAMAGES, states_of
from tests.support.ray_sessions import Killed, outcome
from tests.support.toy_runs import TOY, Calling, SteadyMeter, made_space, sampler_for

NUM_SEEDS = int(os.environ.get("JOULETUNE_DAMAGES", "8"))


def session(space: Space, folder: Path, *, until: int | None = None) -> Run:
    """One process's life on the run in `folder`, killed after `until` events if given."""
    ledger = Ledger(folder) if Ledger(folder).has_run else Ledger.create(folder)
    run = Run(space, sampler_for(space), ledger)
    run.observe(CheckpointRetention(run))
    left = [until]

    def kill(event: Any) -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    run.observe(Calling(kill))
    try:
        execute_here(run, SteadyMeter())
    except Killed:
        shutil.copytree(folder / "trials", folder / "as-killed")
    else:
        return run
    gc.collect()  # a generator's end tidies, which a kill does not
    shutil.rmtree(folder / "trials")
    (folder / "as-killed").rename(folder / "trials")
    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Space, list[tuple[object, ...]], int]:
    """A space, what a run of it comes to, and how many events that takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    space = made_space(folder, TOY.replace("mode: asha_stopping", "mode: asha, eta: 3"))
    run = session(space, folder / "run")
    return space, outcome(run), len(run.ledger.events())


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_whatever_states_a_restart_finds_the_scores_are_those_of_an_undisturbed_run(
    tmp_path: Path, undisturbed: tuple[Space, list[tuple[object, ...]], int], seed: int
) -> None:
    space, expected, num_events = undisturbed
    draw, folder = random.Random(seed), tmp_path / "run"
    num_damaged = 0
    for _ in range(3):
        session(space, folder, until=draw.randrange(5, num_events // 2))
        for damage in draw.choices(STATE_DAMAGES, k=draw.randint(1, 3)):
            if states := states_of(folder):
                damage(states, draw)
                num_damaged += 1
    run = session(space, folder)
    assert num_damaged >= 3
    assert outcome(run) == expected
    assert not run.history.running()
    for trial in run.history.trials.values():
        assert list(trial.curve) == list(range(1, trial.epochs + 1))
    noted = {trial.trial_id for trial in run.history.trials.values() if "checkpoint" in trial.notes}
    aside = {path.parent.name for path in folder.glob("trials/*/checkpoint*.set-aside-*")}
    assert aside <= noted
