"""Random freeze-thaw searches with several workers, killed between any two events: what is decided next is a
function of the journal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from search.freeze_thaw.sampler import FreezeThawSampler
from tests.support.histories import HISTORIES, Searches
from tests.support.toy_runs import defaults_of, made_space


class Stateless(FreezeThawSampler):
    """Without the states that Optuna has of its trials."""

    def states(self) -> list[str]:
        return []


class FreezeThawSearches(Searches):
    """As the others, but the next decision is among what a restart must rebuild."""

    @initialize(
        control_fraction=st.sampled_from([0.0, 0.5]),
        brackets=st.integers(1, 2),
        patience=st.sampled_from(["null", 2]),
        can_skip=st.booleans(),
        subset=st.sampled_from(["null", "[0.25, 0.5, 1.0]"]),
    )
    def begin(  # type: ignore[override]
        self, control_fraction: float, brackets: int, patience: str | int, can_skip: bool, subset: str
    ) -> None:
        changes = [
            f"search.scheduler={{mode: freeze_thaw, eta: 2, control_fraction: {control_fraction}, "
            f"brackets: {brackets}, skip_weak_rungs: {str(can_skip).lower()}}}",
            f"search.ladder={{epochs: [1, 2, 4], subset: {subset}}}",
            f"search.patience={patience}",
            "search.limits.trials=20",
        ]
        with tempfile.TemporaryDirectory() as folder:
            self.space = made_space(Path(folder), overrides=changes)
        self.open([])

    def made_sampler(self) -> Any:
        return Stateless(self.space, defaults_of(self.space))

    def known(self) -> tuple[Any, ...]:
        trials, rungs = self.run.history.trials, self.run.rungs
        next_one = self.sampler.choose(lowest_rung=rungs.start_rung, may_start=True)
        return (
            repr(list(trials.values())),
            rungs.counts(),
            [rungs.values(rung) for rung in range(3)],
            (next_one, self.sampler.choice),
            self.run.hopeless(),
        )


TestFreezeThawSearches = FreezeThawSearches.TestCase
TestFreezeThawSearches.pytestmark = pytest.mark.slow  # 30 s: each next decision is asked for twice
TestFreezeThawSearches.settings = settings(HISTORIES, max_examples=15)
