"""A run in the terminal: a live view where there is one, one line per ended trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.ledger.history import TrialRecord
from search.report.wording import duration, energy_text, hparams_text, limits_text, rung_text, value_text
from search.run import Run
from search.run.keeping import GIVEN_UP

_SHOWN_TRIALS = 8
_WIDTH_OF_A_FILE = 160  # rich takes 80 where there is no terminal, and cuts tables
_STYLES = {
    "finished": "green",
    "stopped": "yellow",
    "paused": "yellow",
    "diverged": "red",
    "failed": "red",
    "running": "cyan",
}


def open_console() -> RichConsole:
    """Standard output, as wide as the terminal, or wide enough for a table in a log."""
    console = RichConsole(highlight=False)
    return console if console.is_terminal else RichConsole(highlight=False, width=_WIDTH_OF_A_FILE)


class ConsoleView:
    """Follows a run. Used as a context: the live view ends with it.

    Args:
        output: Where to; whether it is a terminal decides between live view and lines.
    """

    def __init__(self, run: Run, output: RichConsole) -> None:
        self._run, self._output = run, output
        self._started_s = time.monotonic()
        self._live = Live(get_renderable=self._view, console=output, refresh_per_second=4, transient=True)
        self._is_live = output.is_terminal

    def __enter__(self) -> ConsoleView:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_live:
            self._live.stop()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Print what a log should keep: trials that end or pause, audits and failed attempts."""
        if event["event"] == "trial_ended" and event["message"] != GIVEN_UP:  # its pause was said
            self._output.print(self._ended_line(self._run.history.trials[event["trial"]]), soft_wrap=True)
        elif event["event"] == "trial_audited":
            line = f"{event['trial']}  goes on past rung {event['rung']} as an audit of that rung"
            self._output.print(Text(line, style="dim"))
        elif event["event"] == "attempt_failed" and event["will_retry"]:
            failure = event["failure"]
            line = f"{event['trial']}  {failure['cause']}, tried again: {failure['message']}"
            self._output.print(Text(line, style="yellow"))

    def _ended_line(self, trial: TrialRecord) -> Text:
        space = self._run.space
        done = sum(other.status != "running" for other in self._run.history.trials.values())
        line = Text(f"{done:>4}  {trial.trial_id}  ")
        line.append(f"{trial.status:<12}", style=_STYLES.get(trial.status, ""))
        line.append(f"{space.metric} {value_text(trial.value(space.metric))}  ")
        line.append(f"epoch {trial.epochs}  {duration(trial.seconds)}  {energy_text(trial.energy.total_mj)}")
        line.append(hparams_text(trial.hparams, space.parameters))
        if trial.message:
            line.append(f"  ({trial.message})", style="red" if trial.status == "failed" else "")
        return line

    def _view(self) -> RenderableType:
        return Group(self._headline(), self._rungs(), self._trials(), self._limits())

    def _headline(self) -> Text:
        space = self._run.space
        best = self._run.ranked()[:1]
        text = Text(f"\n{space.name}", style="bold")
        text.append(f"  {space.title}\n", style="not bold")
        for trial in best:
            text.append(f"best {trial.trial_id}  {space.metric} ", style="not bold")
            text.append(value_text(trial.value(space.metric)), style="bold green")
            text.append(
                f"  rung {trial.rung}  {hparams_text(trial.hparams, space.parameters)}", style="not bold"
            )
        return text

    def _rungs(self) -> Text:
        ladder, counts = self._run.space.ladder, self._run.rungs.counts()
        steps = [f"{rung_text(ladder, rung)}: {count}" for rung, count in enumerate(counts)]
        return Text("rungs  " + "  >  ".join(steps), style="dim")

    def _trials(self) -> Table:
        space = self._run.space
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("trial", "status", "rung", "epoch", space.metric, "time", *space.parameters):
            table.add_column(column, no_wrap=True)
        running = self._run.history.running()
        others = [trial for trial in self._run.ranked() if trial.status != "running"]
        for trial in [*running, *others][:_SHOWN_TRIALS]:
            table.add_row(*self._cells(trial), style=_STYLES.get(trial.status, ""))
        return table

    def _cells(self, trial: TrialRecord) -> list[str]:
        space = self._run.space
        return [
            trial.trial_id,
            trial.status,
            "" if trial.rung is None else str(trial.rung),
            str(trial.epochs),
            value_text(trial.value(space.metric)),
            duration(trial.seconds),
            *(value_text(trial.hparams.get(name)) for name in space.parameters),
        ]

    def _limits(self) -> Text:
        passed_s = time.monotonic() - self._started_s
        text = limits_text(self._run.space.limits, self._run.spent, self._run.ended_count)
        if (left_s := self._left_s(passed_s)) is not None:
            text += f"   about {duration(left_s)} left"
        return Text(f"{duration(passed_s)}   {text}", style="dim")

    def _left_s(self, passed_s: float) -> float | None:
        """Time left at the rate so far; unknown before the first trial ended or without a limit."""
        done, limit = self._run.ended_count, self._run.space.limits.trials
        return None if not done or limit is None else passed_s / done * max(limit - done, 0)
