"""NePS's PriorBand through its ask-and-tell interface, in the peers' environment."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import neps
import numpy as np
import torch

from benchmarks.search_quality.simulate import Answer, Asked
from benchmarks.search_quality.table import Table

logging.getLogger("neps").setLevel(logging.ERROR)
_FULL_TRAININGS_BEFORE_A_MODEL = 3  # out of ten


class PriorBand:
    """PriorBand over asynchronous Hyperband (Mallik et al. 2023): random points and points near the best.

    There is no prior, as a table has none. A promoted configuration continues where it was, as NePS's own
    workers can do.

    Args:
        has_model: Whether Bayesian optimisation takes over after three full trainings' epochs.
    """

    def __init__(self, table: Table, seed: int, *, has_model: bool = False) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        self._names = [f"x{index}" for index in range(table.num_dimensions)]
        space = neps.SearchSpace(
            {
                **{name: neps.HPOFloat(0.0, 1.0) for name in self._names},
                "epochs": neps.HPOInteger(1, table.num_epochs, is_fidelity=True),
            }
        )
        kick_in = _FULL_TRAININGS_BEFORE_A_MODEL if has_model else None
        self._optimizer = neps.AskAndTell(
            neps.algorithms.priorband(space, base="async_hb", bayesian_optimization_kick_in_point=kick_in)
        )
        # NePS's names of the rungs that each configuration is to reach; the first is under way.
        self._jobs: dict[str, list[str]] = {}
        self._points: dict[str, dict[str, float]] = {}

    def next_trial(self) -> Asked | None:
        while True:
            job = self._optimizer.ask()
            trial_id = job.id.partition("_rung_")[0]
            jobs = self._jobs.setdefault(trial_id, [])
            jobs.append(job.id)
            if trial_id in self._points:
                job.config = {**job.config, **self._points[trial_id]}
            if len(jobs) == 1:
                return Asked(trial_id, [float(job.config[name]) for name in self._names])
            # NePS promoted a configuration still in training, which continues; the worker gets another.

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        self._points[trial_id] = dict(zip(self._names, point, strict=True))
        job = self._optimizer.trials[self._jobs[trial_id][0]]
        job.config = {**job.config, **self._points[trial_id]}

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        jobs = self._jobs[trial_id]
        while jobs and epoch >= self._optimizer.trials[jobs[0]].config["epochs"]:
            self._optimizer.tell(jobs.pop(0), -accuracy)
        return "continue" if jobs else "pause"
