"""The page at the end of a command, which is never worth the command."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console as RichConsole

from search.report.page.writing import write_page


def written_at_end(folder: Path, output: RichConsole) -> None:
    """Write the page of the run in `folder` and say where it is; a failure is a warning."""
    try:
        written = write_page(folder)
    except Exception as error:
        text = (
            f"warning: no report ({type(error).__name__}: {error}); later: python scripts/report.py {folder}"
        )
        output.print(text, style="yellow", soft_wrap=True)
        return
    for line in written.warnings:
        output.print(f"warning: {line}", style="yellow", soft_wrap=True)
    output.print(f"report: {written.path}, written in {written.seconds:.1f} s", soft_wrap=True)
