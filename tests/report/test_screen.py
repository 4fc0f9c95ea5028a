"""The live view leaves nothing behind when its terminal is resized."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from search.output import Output, Status
from search.report.screen import FoldedFrame


def console(width: int, height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height)


@pytest.mark.parametrize(
    ("width", "height", "lines"),
    [
        (20, 30, 3),  # as it was drawn
        (40, 30, 3),  # wider: the terminal joins nothing that was two lines
        (10, 30, 5),  # 20, 2 and 12 cells are 2, 1 and 2 lines
        (5, 30, 8),
        (5, 4, 4),  # what has left the screen cannot be reached
    ],
)
def test_a_frame_that_the_terminal_has_folded_is_erased_whole(width: int, height: int, lines: int) -> None:
    terminal = console(20)
    frame = FoldedFrame("a" * 20 + "\nbb\n" + "c" * 12, terminal)
    terminal.print(frame)
    terminal.size = (width, height)  # type: ignore[assignment]  # rich sets it from a pair as well
    assert erased(frame) == lines
    terminal.print(frame)
    assert erased(frame) == min(height, sum(-(-cells // width) for cells in (20, 2, 12)))


def erased(frame: FoldedFrame) -> int:
    codes = frame.position_cursor().segment.control or []
    return sum(code[0].name == "ERASE_IN_LINE" for code in codes)


def test_a_line_in_place_has_the_seconds_since_its_first_text() -> None:
    now_s = [5.0]
    line = Status("preflight", clock=lambda: now_s[0])
    now_s[0] = 17.0
    assert str(line.__rich__()) == "preflight (12 s)"
    line.update("preflight: reading data")
    assert str(line.__rich__()) == "preflight: reading data (12 s)"


def test_plain_is_without_colour_and_live_view_even_where_a_terminal_is_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Output().is_watched
    output = Output(is_plain=True)
    assert not output.is_watched
    with output.status("starting Ray"):
        output.warn("no sensor")
    output.print("x" * 200)
    assert capsys.readouterr().out == f"warning: no sensor\n{'x' * 200}\n"
