"""Outputs whose text a test can read."""

from __future__ import annotations

import io

from rich.console import Console

from search.output import Output


def console(*, width: int = 140, height: int | None = None, is_terminal: bool = False) -> Output:
    return Output(
        console=Console(
            file=io.StringIO(),
            width=width,
            height=height,
            force_terminal=is_terminal,
            color_system=None,
            highlight=False,
            markup=False,
        )
    )


def shown(output: Output) -> str:
    assert isinstance(output.console.file, io.StringIO)
    return output.console.file.getvalue()
