"""A run in the terminal: a live view where there is one, one line per ended trial elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from search.forecast import Forecast
from search.ledger.history import TrialRecord, overdue_text
from search.printable import printable
from search.report.formatting import duration, energy_text, hparams_text, value_text
from search.report.live import STYLES, LiveView
from search.run import Run
from search.run.checkpoint_retention import NO_LONGER_PROMOTABLE

_WIDTH_OF_A_FILE = 160  # rich takes 80 where there is no terminal, and cuts tables
_WARNINGS = {"yellow", "red"}
_CHECKPOINT_NOTES = {"checkpoint", "best", "final", "test"}  # notes of an epoch on files in trials/<trial>/


def open_console(*, is_quiet: bool = False, has_json: bool = False) -> RichConsole:
    """Standard output, as wide as the terminal, or wide enough for a table in a log.

    Args:
        is_quiet: Warnings alone, on standard error.
        has_json: Standard output is for a program: what people read goes to standard error.
    """
    is_aside = is_quiet or has_json
    make = Warnings if is_quiet else SafeConsole
    plain: dict[str, Any] = {"highlight": False, "markup": False, "stderr": is_aside}  # a path may have a [
    console = make(**plain)
    return console if console.is_terminal else make(**plain, width=_WIDTH_OF_A_FILE)


class SafeConsole(RichConsole):
    """Passes no control character on to the terminal but its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is to be printed, each text in it made printable."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


class Warnings(SafeConsole):
    """Prints what is marked as a warning or a failure and nothing else."""

    def print(self, *objects: Any, style: Any = None, **how: Any) -> None:
        if style in _WARNINGS:
            super().print(*objects, style=style, **how)


class ConsoleView:
    """Follows a run. RungEnergy as a context: the live view ends with it.

    Args:
        output: Where to; whether it is a terminal decides between live view and lines.
        is_live: False prints lines on a terminal as well.
        get_forecast: Gives the forecast, once there is one.
    """

    def __init__(
        self,
        run: Run,
        output: RichConsole,
        *,
        get_forecast: Callable[[], Forecast | None] = lambda: None,
        is_live: bool = True,
    ) -> None:
        self._run, self._output = run, output
        self._live = Live(
            LiveView(run, get_forecast=get_forecast), console=output, refresh_per_second=4, transient=True
        )
        self._is_live = is_live and output.is_terminal and not isinstance(output, Warnings)

    def __enter__(self) -> ConsoleView:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_live:
            self._live.stop()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Print what a log should keep: trials that end or pause, control trials and failed attempts."""
        if event["event"] == "epoch":
            self._warn_of_unwritten(event)
        elif (
            event["event"] == "trial_ended" and event["message"] != NO_LONGER_PROMOTABLE
        ):  # its pause was said
            self._output.print(self._ended_line(self._run.history.trials[event["trial"]]), soft_wrap=True)
        elif event["event"] == "trial_continued_as_control":
            line = f"{event['trial']}  continues past rung {event['rung']} as a control trial"
            self._output.print(Text(line, style="dim"))
        elif event["event"] == "epoch_overdue":
            line = f"{event['trial']}  an epoch may hang: {overdue_text(event)}"
            if self._run.space.limits.epoch_minutes is None:
                line += "; limits.epoch_minutes would end it"
            self._output.print(line, style="yellow", soft_wrap=True)
        elif event["event"] == "attempt_failed" and event["will_retry"]:
            failure = event["failure"]
            line = f"{event['trial']}  {failure['cause']}, tried again: {failure['message']}"
            self._output.print(line, style="yellow", soft_wrap=True)

    def _warn_of_unwritten(self, epoch: Mapping[str, Any]) -> None:
        """Warn of a checkpoint that an epoch could not leave, or did not find whole."""
        notes = epoch["row"].get("notes", {})
        for name in sorted(_CHECKPOINT_NOTES & set(notes)):
            place = f"{epoch['trial']}, epoch {epoch['row']['epoch']}"
            text = f"warning: {place}: {notes[name]}; the trial continues"
            self._output.print(text, style="red", soft_wrap=True)

    def _ended_line(self, trial: TrialRecord) -> Text:
        space = self._run.space
        line = Text(f"{self._run.ended_count:>4}  {trial.trial_id}  ")
        line.append(f"{trial.status:<12}", style=STYLES.get(trial.status, ""))
        line.append(f"{space.metric} {value_text(trial.value(space.metric))}  ")
        line.append(f"epoch {trial.epochs}  {duration(trial.seconds)}  {energy_text(trial.energy.total_mj)}")
        line.append(hparams_text(trial.hparams, space.parameters))
        if trial.message:
            line.append(f"  ({trial.message})", style="red" if trial.status == "failed" else "")
        return line
