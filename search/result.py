"""A run as a Python object: its trials as a table, its best configuration, its report."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.energy.units import to_joules
from search.errors import user_errors_as_value_error
from search.ledger.history import History
from search.ranking import Configuration, configurations
from search.report.page import write_page
from search.run_names import opened_run
from search.space import Space
from search.tables import configuration_columns, configuration_rows, trial_columns, trial_rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best configuration of a run: the largest budget first, then the metric.

    Attributes:
        trial_id: Its trial; with repeats, the oldest that has a score.
        hparams: All hparams of the trainable, including those that were not searched.
        value: The metric at `rung`, or its mean over repeats.
        rung: The highest rung that the trial completed; with repeats, that all scored ones completed.
        epochs: Epochs of the trial.
        seconds: Seconds of all repeats together.
        energy_j: Joules of all attempts and repeats; None if any was not measured.
        num_repeats: Number of trials that `value` is the mean of.
        std: Sample standard deviation over repeats; None for a single one.
    """

    trial_id: str
    hparams: Mapping[str, Any]
    metric: str
    value: float
    rung: int
    epochs: int
    seconds: float
    energy_j: float | None
    num_repeats: int = 1
    std: float | None = None


class Result:
    """A run as it was when it was opened.

    Attributes:
        folder: Folder of its files, which results/README.md explains.
        answer: After a search in this process, what --json prints at its end.
        has_failed: After a search in this process, whether a failure outside the trials ended it, such as
            that of the background workload.
    """

    def __init__(
        self, folder: Path, *, answer: Mapping[str, Any] | None = None, has_failed: bool = False
    ) -> None:
        self.folder, self.answer, self.has_failed = folder, answer, has_failed

    @property
    def ended(self) -> str | None:
        """Why the run ended; None while it runs, or if it was killed."""
        return self._history.ended

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial, as in trials.csv: ranked trials first, the best on top."""
        import pandas as pd  # 0.4 s, only for those who ask for a table

        rows, columns = trial_rows(self._space, self._history), trial_columns(self._space, self._history)
        return pd.DataFrame(rows, columns=columns)

    @property
    def ranked(self) -> pd.DataFrame:
        """The rows of the trials that have a score, best first.

        If the space repeats its points, one row per configuration, as in configurations.csv, with the mean of
        the metric over repeats.
        """
        if self._space.repeats > 1:
            import pandas as pd  # 0.4 s, only for those who ask for a table

            return pd.DataFrame(
                configuration_rows(self._space, self._history),
                columns=configuration_columns(self._space, self._history),
            )
        return self.trials[self.trials["rank"].notna()].astype({"rank": int})

    @property
    def best(self) -> Best | None:
        """The best configuration; None if no trial has a score."""
        space = self._space
        order = configurations(self._history.trials.values(), space.metric, space.mode, repeats=space.repeats)
        return _best(order[0], space) if order else None

    def report(self) -> Path:
        """Write the report, one HTML file that opens offline, and return its path.

        Raises:
            ValueError: The report cannot be written.
        """
        with user_errors_as_value_error():
            return write_page(self.folder).path

    @cached_property
    def _space(self) -> Space:
        return self._opened[0]

    @cached_property
    def _history(self) -> History:
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[Space, History]:
        with user_errors_as_value_error():
            _, space, history = opened_run(self.folder, self.folder.parent)
        for notice in space.notices:
            warnings.warn(notice, stacklevel=4)
        return space, history

    def __repr__(self) -> str:
        best = self.best
        found = f", best {best.trial_id}: {best.metric} {best.value:.4g}" if best else ""
        return f"<jouletune run {self.folder}: {len(self._history.trials)} trials{found}>"


def _best(configuration: Configuration, space: Space) -> Best:
    trial = configuration.first
    return Best(
        trial_id=trial.trial_id,
        hparams=dict(trial.hparams),
        metric=space.metric,
        value=configuration.mean,
        rung=configuration.rung,
        epochs=trial.epochs,
        seconds=sum(each.seconds for each in configuration.trials),
        energy_j=to_joules(configuration.energy_mj),
        num_repeats=len(configuration.scored),
        std=configuration.spread,
    )
