"""A run in the terminal: a live view on a terminal, and one line per ended trial everywhere.

The lines are printed in both cases, above the live view, so that what scrolls past is a log of the run. A log
file or a CI job gets only the lines: a view that is redrawn four times a second would fill it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from search.forecast import Forecast
from search.ledger.history import TrialRecord, overdue_text
from search.output import Output
from search.report.formatting import duration, energy_text, value_text, varied_text
from search.report.live import STYLES, LiveView
from search.report.screen import Screen
from search.report.under_way import UnderWayLines
from search.run import Run
from search.run.checkpoint_retention import CANNOT_CONTINUE
from search.run.flatness import FLAT

_CHECKPOINT_NOTES = {"checkpoint", "best", "final", "test"}  # an epoch's notes on files in trials/<trial>/


class ConsoleView:
    """Follows a run. A context manager: leaving it ends the live view and releases the terminal.

    Args:
        output: Where to print; whether it is a terminal decides between live view and lines.
        get_forecast: Returns the forecast, or None until there is one.
        is_live: False prints lines even on a terminal.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        run: Run,
        output: Output,
        *,
        get_forecast: Callable[[], Forecast | None] = lambda: None,
        is_live: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._output = run, output
        self._live = Screen(LiveView(run, get_forecast=get_forecast, clock=clock), output.console)
        self._is_live = is_live and output.is_watched
        self._lines = UnderWayLines(run, output, clock)
        self._is_flat = bool(run.flatness.reason)

    def __enter__(self) -> ConsoleView:
        if self._is_live:
            self._live.start()
        else:
            self._lines.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_live:
            self._live.stop()
        else:
            self._lines.stop()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Print what a log should keep: trials that end or pause, control trials, failed attempts, and epochs
        that may hang. Epochs print nothing unless a checkpoint was lost: there may be thousands."""
        if event["event"] == "trial_ended":
            self._lines.on_line()
        if event["event"] == "epoch":
            self._warn_of_unwritten(event)
        # A paused trial ends a second time once it cannot continue; its pause was printed.
        elif event["event"] == "trial_ended" and event["message"] != CANNOT_CONTINUE:
            self._output.print(self._ended_line(self._run.history.trials[event["trial"]]))
        elif event["event"] == "trial_asked" and event.get("start_rung"):
            self._output.print(Text(self._started_line(event), style="dim"))
        elif event["event"] == "trial_continued_as_control":
            line = f"{event['trial']}  continues past rung {event['rung']} as a control trial"
            self._output.print(Text(line, style="dim"))
        elif event["event"] == "gain_estimated":
            self._note_of_flatness()
        elif event["event"] == "epoch_overdue":
            line = f"{event['trial']}  an epoch may be hanging: {overdue_text(event)}"
            if self._run.space.limits.epoch_minutes is None:
                line += "; limits.epoch_minutes would end it"
            self._output.warn(line)
        elif event["event"] == "attempt_failed" and event["will_retry"]:
            failure = event["failure"]
            line = f"{event['trial']}  {failure['cause']}, tried again: {failure['message']}"
            self._output.warn(line)

    def _note_of_flatness(self) -> None:
        """Note once that further trials are unlikely to gain, and which limit would then end the search."""
        was_flat, self._is_flat = self._is_flat, bool(self._run.flatness.reason)
        if self._is_flat and not was_flat and not self._run.space.limits.stop_when_flat:
            self._output.note(
                f"{FLAT}: {self._run.flatness.reason}; limits.stop_when_flat would end the search"
            )

    def _started_line(self, event: Mapping[str, Any]) -> str:
        """Why a trial is not judged at the lowest rungs: its bracket, scores at chance, misleading ranks."""
        start, rungs = event["start_rung"], self._run.rungs
        if start == rungs.bracket_of(event["number"]):
            why = "its bracket"
        elif rungs.is_at_chance(start - 1):
            why = f"no trial is better than guessing at the end of rung {start - 1}"
        else:
            why = f"rung {start - 1} ranks trials unlike the highest rung"
        return f"{event['trial']}  starts at rung {start}: {why}"

    def _warn_of_unwritten(self, epoch: Mapping[str, Any]) -> None:
        """Warn of a checkpoint that an epoch could not write, or could not read back whole.

        The trial continues, since its weights are in memory, but after a kill it would resume from an earlier
        epoch.
        """
        notes = epoch["row"].get("notes", {})
        for name in sorted(_CHECKPOINT_NOTES & set(notes)):
            place = f"{epoch['trial']}, epoch {epoch['row']['epoch']}"
            self._output.warn(f"{place}: {notes[name]}; the trial continues")

    def _ended_line(self, trial: TrialRecord) -> Text:
        """One line: "  12  t0011  stopped  val_accuracy 0.91  epoch 3  1:20  512.3 J  lr=0.1"."""
        space = self._run.space
        line = Text(f"{self._run.ended_count:>4}  {trial.trial_id}  ")
        line.append(f"{trial.status:<12}", style=STYLES.get(trial.status, ""))
        line.append(f"{space.metric} {value_text(trial.value(space.metric))}  ")
        line.append(f"epoch {trial.epochs}  {duration(trial.seconds)}  {energy_text(trial.energy.total_mj)}")
        line.append(varied_text(trial, space, self._run.history))
        if trial.message:
            line.append(f"  ({trial.message})", style="red" if trial.status == "failed" else "")
        return line
