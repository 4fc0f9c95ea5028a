"""Writes the page of a run and a PNG of each plot: once, at the end of a command, or repeatedly.

A page is never worth a run: a failure at the end of a command is a warning with the command that writes the
page later. Files are replaced whole, so that a browser that reloads never reads half a page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from search.command_lines import typed_command
from search.ledger.journal import StorageError, unwritten
from search.output import Output
from search.report.charts.chart import Chart
from search.report.page.ablations import ablations_section
from search.report.page.compare import comparison
from search.report.page.data import data_section
from search.report.page.deciders import deciders_section
from search.report.page.elements import Section, Text
from search.report.page.energy import joules_section
from search.report.page.failures import failures_section
from search.report.page.history import history_section
from search.report.page.mistakes import mistakes_section
from search.report.page.objectives import objectives_section
from search.report.page.overview import next_section, overview, settings_section
from search.report.page.parameters import parameters_section
from search.report.page.rank_correlation import rank_correlation_section
from search.report.page.render import rendered
from search.report.page.reproduce import commands_section, environment_section
from search.report.page.run_data import RunData, read_run
from search.report.page.trial_table import trial_section
from search.report.page.winner import winner_section
from trainables.core.files import replacing

# From what every reader wants to what few need.
_SECTIONS: tuple[Callable[[RunData], Section], ...] = (
    overview,
    next_section,
    winner_section,
    history_section,
    parameters_section,
    ablations_section,
    objectives_section,
    trial_section,
    mistakes_section,
    joules_section,
    rank_correlation_section,
    deciders_section,
    failures_section,
    data_section,
    settings_section,
    environment_section,
    commands_section,
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A page on disk.

    Attributes:
        seconds: Time taken, including the plots.
        warnings: One for each plot that could not be drawn, and for each gap in the run's record.
        is_over: Whether the run had ended when it was read.
    """

    path: Path
    seconds: float
    warnings: Sequence[str] = ()
    is_over: bool = True


def sections_of(run: RunData) -> list[Section]:
    """The sections of the page of one run, in their order, without empty ones."""
    return [section for make in _SECTIONS if (section := _made(make, run)).elements]


def _made(make: Callable[[RunData], Section], run: RunData) -> Section:
    """A section, or the reason why there is none: a table that a spreadsheet has saved again, or a file of
    another version, is worth the section that shows it, and not the page."""
    try:
        return make(run)
    except Exception as error:
        name = make.__name__.removesuffix("_section")
        problem = f"cannot be shown ({type(error).__name__}: {error})"
        text = f"This part {problem}; the others do not depend on it."
        return Section(
            key=name,
            title=name.replace("_", " ").capitalize(),
            elements=[Text(text=text, is_warning=True)],
            problem=problem,
        )


def write_page(
    folder: Path, *, path: Path | None = None, refresh_s: float | None = None, should_draw: bool = True
) -> Written:
    """Write `report.html` and `plots/` into the folder of a run, whether it has ended or not.

    Args:
        path: Another place for the page, with its plots in a folder beside it: the run may be someone else's.
        refresh_s: While the run continues, the page reloads itself at this interval.
        should_draw: Whether to draw the PNGs beside the page.

    Raises:
        LedgerError: There is no run in the folder.
        StorageError: The page cannot be written.
        SpaceError: The run's space can no longer be read.
    """
    started_s = time.monotonic()
    run = read_run(folder)
    sections = sections_of(run)
    is_over = run.history.ended is not None
    plots = run.ledger.plots_folder if path is None else _plots_beside(path)
    path = path or run.ledger.report_file
    _write(path, _page_text(run, sections, refresh_s=None if is_over else refresh_s))
    drawn = _draw_charts(sections, plots) if should_draw else ()
    problems = [f"{section.title}: {section.problem}" for section in sections if section.problem]
    warnings = [*run.space.notices, *problems, *drawn]
    return Written(path=path, seconds=time.monotonic() - started_s, warnings=warnings, is_over=is_over)


def page_text(run: RunData) -> str:
    """The page of a run as HTML, for callers that show it without a file."""
    return _page_text(run, sections_of(run))


def _page_text(run: RunData, sections: Sequence[Section], *, refresh_s: float | None = None) -> str:
    subtitle = f"{run.space.title}, {run.metric}; written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return rendered(run.name, subtitle, sections, refresh_s=refresh_s)


def write_comparison(one: Path, other: Path, path: Path) -> Written:
    """Write one page of two runs, with its PNGs in a folder beside it.

    Args:
        path: The page's file; it belongs to neither run, so it may be anywhere.

    Raises:
        LedgerError: There is no run in one of the folders.
        StorageError: The page cannot be written.
        SpaceError: The space of a run can no longer be read.
    """
    started_s = time.monotonic()
    both = read_run(one), read_run(other)
    sections = comparison(*both)
    _write(path, rendered(" against ".join(run.name for run in both), "two runs", sections))
    unknown = [notice for run in both for notice in run.space.notices]
    warnings = [*unknown, *_draw_charts(sections, _plots_beside(path))]
    return Written(path=path, seconds=time.monotonic() - started_s, warnings=warnings)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{unwritten(path, error)}; --out FILE writes it elsewhere") from error


def _plots_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}-plots")


def _draw_charts(sections: Sequence[Section], folder: Path) -> Iterator[str]:
    """Draw every chart, and yield a warning for each that failed: a plot is never worth the page."""
    charts = [element for section in sections for element in section.elements if isinstance(element, Chart)]
    if not charts:
        return
    from search.report.charts.png import draw  # Matplotlib takes 0.3 s to import, and --watch draws none

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        yield f"plots not drawn: {unwritten(folder, error)}"
        return
    for chart in charts:
        path = folder / f"{chart.key}.png"
        try:
            draw(chart, path)
        except Exception as error:
            yield f"{path} not drawn ({type(error).__name__}: {error})"


def write_at_end(folder: Path, output: Output) -> None:
    """Write the page of the run in `folder` and print where it is; a failure is a warning."""
    try:
        with output.status("writing the page"):
            written = write_page(folder)
    except Exception as error:
        later = typed_command("report", folder)
        output.warn(f"no report ({type(error).__name__}: {error}); write it later: {later}")
        return
    for line in written.warnings:
        output.warn(line)
    output.print(f"report: {written.path}, written in {written.seconds:.1f} s")


def watch(
    newest: Callable[[], Path],
    lost_holder: Callable[[], str],
    *,
    every_s: float,
    say: Callable[[str], None],
    write: Callable[..., Written] = write_page,
    sleep: Callable[[float], None] = time.sleep,
) -> Written:
    """Write the page every `every_s` seconds until the run has ended or was killed; return the last one.

    The page reloads itself at the same interval. Its PNGs are drawn once, at the end, because that takes
    longer than the page. A killed run never ends, so watching also stops when the process that held it is
    gone.

    Args:
        newest: Returns the run's current folder.
        lost_holder: Returns the process that held the run and is gone; empty while it may be alive.
        say: Prints a line.
        write: Writes the page, as `write_page` does.
        sleep: Waits for some seconds.
    """
    written = write(newest(), refresh_s=every_s, should_draw=False)
    say(
        f"{written.path}: written every {every_s:g} s until the run has ended; "
        "Ctrl-C stops watching, not the run"
    )
    while not written.is_over and not (lost := lost_holder()):
        sleep(every_s)
        written = write(newest(), refresh_s=every_s, should_draw=False)
    last = write(newest())
    if not last.is_over:
        say(f"{lost} was killed before the run ended; run its command again to resume")
    return last
