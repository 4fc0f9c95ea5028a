"""Consoles whose text a test reads."""

from __future__ import annotations

import io

from rich.console import Console


def console(*, width: int = 140, height: int | None = None, is_terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=is_terminal,
        color_system=None,
        highlight=False,
    )


def shown(output: Console) -> str:
    assert isinstance(output.file, io.StringIO)
    return output.file.getvalue()
