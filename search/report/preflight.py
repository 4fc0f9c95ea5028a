"""The terminal before the first trial: the start of the backend, and what preflight does and finds.

Problems are raised, all at once, so that they can be fixed at once. Notes are printed: they describe what
will run, such as the number of images and what was left out of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.table import Table

from search.backends.backend import Capacity, LaunchableBackend
from search.output import Output
from search.preflight import PreflightError, Report, WeightRow
from search.preflight.request import downloadable_weights, problems_of
from search.report.formatting import duration
from trainables.core.data_summary import DataSummary

# Prefixes of notes that a search need not print: trials.csv has sensors and precision with their reasons.
_KNOWN_FROM_THE_TABLES = ("energy:", "gpu:", "precision:")
_SOURCES = {
    "none": "none: random",
    "torchvision": "torchvision",
    "hub": "timm, Hugging Face",
    "url": "timm, by URL",
    "file": "file",
}


@contextmanager
def started(backend: LaunchableBackend, output: Output, *, remedy: str) -> Iterator[Capacity]:
    """Start the backend for the block; a status line shows the start and its duration.

    Args:
        remedy: What to do if the backend is lost.
    """
    began_s = time.monotonic()
    with ExitStack() as stack:
        with output.status(backend.where):
            capacity = stack.enter_context(backend.started(remedy=remedy))
        if (took_s := time.monotonic() - began_s) >= 1 and not output.is_watched:
            output.print(f"ready after {duration(took_s)}", style="dim")
        yield capacity


def check_reports(reports: Sequence[Report], output: Output) -> None:
    """Print what is worth knowing before a run: data and notes, each once, though every node reports them.

    Raises:
        PreflightError: Something is certain to fail; the message lists all problems.
    """
    if problems := problems_of(reports):
        raise PreflightError(problems, missing=downloadable_weights(reports))
    for data in {tuple(report.data): report.data for report in reports if report.data}.values():
        print_data(data, output)
    for note in dict.fromkeys(note for report in reports for note in report.notes):
        if not note.startswith(_KNOWN_FROM_THE_TABLES):
            output.note(note)


def print_reports(reports: Sequence[Report], output: Output) -> None:
    """Print for each node how long its check took, its weights, its data and its notes. Problems are left
    to the command, which ends with them."""
    for report in reports:
        took = "not checked:" if report.seconds is None else f"checked in {report.seconds:.1f} s on"
        output.print(f"{took} {report.node}", style="dim")
        if report.weights:
            output.print(_weights(report.weights))
        if report.data:
            print_data(report.data, output)
        for note in report.notes:
            output.note(note)


def print_data(data: Sequence[str], output: Output) -> None:
    """Print what a data source holds; warnings, such as what was left out, stand out as notes."""
    notes = data
    if isinstance(data, DataSummary):
        output.print(f"data: {'; '.join(data.found)}")
        notes = data.warnings
    for line in notes:
        output.note(f"data: {line}")


def _weights(rows: Sequence[WeightRow]) -> Table:
    """The weights that trials will load, with file and size; missing ones are red."""
    table = Table("model", "weights from", "file", "size", "available", title="weights", title_justify="left")
    for row in rows:
        size = "unknown" if row.size_mib is None else f"{row.size_mib:.1f} MiB"
        available = "yes" if row.is_there else "no"
        if row.source == "none":
            size = available = ""
        style = None if row.is_there else "red"
        table.add_row(row.model, _SOURCES[row.source], row.location, size, available, style=style)
    return table
