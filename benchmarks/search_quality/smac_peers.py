"""SMAC3's multi-fidelity facade through its ask-and-tell interface, in the peers' environment."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ConfigSpace import ConfigurationSpace, Float
from smac import MultiFidelityFacade, Scenario
from smac.runhistory import TrialInfo, TrialValue

from benchmarks.search_quality.simulate import Answer, Asked
from benchmarks.search_quality.table import Table


class Smac:
    """Random forest and Hyperband (Lindauer et al. 2022), with the facade's defaults.

    It tracks its brackets by the configurations that it proposed, so it gets the score at the proposed point
    and not at the row's own. A configuration proposed again at a larger budget continues.
    """

    def __init__(self, table: Table, seed: int, num_epochs: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        space = ConfigurationSpace(seed=seed)
        self._names = [f"x{index}" for index in range(table.num_dimensions)]
        space.add([Float(name, (0.0, 1.0)) for name in self._names])
        scenario = Scenario(
            space,
            n_trials=num_epochs,
            min_budget=1,
            max_budget=table.num_epochs,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        self._smac = MultiFidelityFacade(
            scenario,
            lambda config, seed, budget: 0.0,
            logging_level=logging.CRITICAL,
            overwrite=True,
        )
        self._jobs: dict[str, TrialInfo] = {}
        self._ids: dict[object, str] = {}

    def next_trial(self) -> Asked | None:
        job = self._smac.ask()
        trial_id = self._ids.setdefault(job.config, str(len(self._ids)))
        self._jobs[trial_id] = job
        return Asked(trial_id, [float(job.config[name]) for name in self._names])

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        return None

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        job = self._jobs[trial_id]
        assert job.budget is not None
        if epoch < round(job.budget):
            return "continue"
        self._smac.tell(job, TrialValue(cost=-accuracy), save=False)
        return "pause"
