"""Syne Tune's ASHA and ASHACQR, and DEHB, with their own defaults, in the peers' environment."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
from dehb import DEHB
from loguru import logger
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import uniform
from syne_tune.optimizer.baselines import ASHA, ASHACQR
from syne_tune.optimizer.scheduler import SchedulerDecision

from benchmarks.search_quality.simulate import Answer, Asked
from benchmarks.search_quality.table import Table

logging.getLogger("syne_tune").setLevel(logging.ERROR)
_START = datetime(2026, 1, 1)  # required by Syne Tune, but no decision depends on it


class SyneTune:
    """Asynchronous successive halving that stops trials.

    Points are random ("ASHA") or proposed by conformal quantile regression on each rung ("ASHACQR", Salinas
    et al. 2023).
    """

    def __init__(self, kind: Literal["ASHA", "ASHACQR"], table: Table, seed: int) -> None:
        np.random.seed(seed)  # brackets are drawn from the global generator
        self._scheduler = {"ASHA": ASHA, "ASHACQR": ASHACQR}[kind](
            {f"x{index}": uniform(0.0, 1.0) for index in range(table.num_dimensions)},
            metric="val_accuracy",
            time_attr="epoch",
            max_t=table.num_epochs,
            do_minimize=False,
            random_seed=seed,
        )
        self._trials: dict[str, Trial] = {}

    def next_trial(self) -> Asked | None:
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        trial = Trial(len(self._trials), suggestion.config, _START)
        self._trials[str(trial.trial_id)] = trial
        return Asked(str(trial.trial_id), list(suggestion.config.values()))

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        names = self._trials[trial_id].config
        trial = Trial(int(trial_id), dict(zip(names, point, strict=True)), _START)
        self._trials[trial_id] = trial
        self._scheduler.on_trial_add(trial)

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        result = {"epoch": epoch, "val_accuracy": accuracy}
        decision = self._scheduler.on_trial_result(self._trials[trial_id], result)
        return "continue" if decision == SchedulerDecision.CONTINUE else "stop"


class Dehb:
    """Differential evolution with Hyperband. Each job trains from scratch, as in its own interface."""

    def __init__(self, table: Table, seed: int) -> None:
        logger.remove()
        self._folder = tempfile.TemporaryDirectory()  # DEHB requires a log file
        self._optimizer = DEHB(
            f=None,
            dimensions=table.num_dimensions,
            configspace=False,
            min_fidelity=1,
            max_fidelity=table.num_epochs,
            seed=seed,
            n_workers=1,  # more would start a Dask cluster, though with ask and tell it trains nothing
            save_freq=None,
            output_path=self._folder.name,
        )
        self._jobs: dict[str, dict[str, Any]] = {}

    def next_trial(self) -> Asked | None:
        job = self._optimizer.ask()
        trial_id = str(len(self._jobs))
        self._jobs[trial_id] = job
        return Asked(trial_id, [float(share) for share in job["config"]])

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        self._jobs[trial_id]["config"] = np.array(point)  # enters the population if it wins

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        job = self._jobs[trial_id]
        if epoch < round(job["fidelity"]):
            return "continue"
        self._optimizer.tell(job, {"fitness": -accuracy, "cost": epoch})
        return "stop"
