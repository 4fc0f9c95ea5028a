"""A live view that leaves no remnants when its terminal is resized.

Rich erases as many lines as it drew. A terminal that became narrower has folded the longer ones, so there are
more lines to erase. Without counting them, the top of the old frame would stay in the log above the new one
after every resize.
"""

from __future__ import annotations

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import Segment


class FoldedFrame(LiveRender):
    """The frame on the screen, which knows its height after the terminal has folded its lines."""

    def __init__(self, renderable: RenderableType, console: RichConsole) -> None:
        super().__init__(renderable)
        self._console = console
        self._line_cells: list[int] = []

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        segments = [each for each in super().__rich_console__(console, options) if isinstance(each, Segment)]
        self._line_cells = [Segment.get_line_length(line) for line in Segment.split_lines(segments)]
        yield from segments

    def position_cursor(self) -> Control:
        """Return the control codes that erase the frame and leave the cursor where it began."""
        self._fold()
        return super().position_cursor()

    def restore_cursor(self) -> Control:
        """Return the codes that do the same from the line below the frame."""
        self._fold()
        return super().restore_cursor()

    def _fold(self) -> None:
        """Set the frame's height to the lines that it takes at the terminal's current size."""
        if self._shape is not None:
            width, height = self._console.size
            num_lines = sum(max(1, -(-cells // width)) for cells in self._line_cells)
            self._shape = self._shape[0], min(num_lines, height)


class Screen(Live):
    """Draws a renderable four times a second below what is printed, and erases it at the end."""

    def __init__(self, renderable: RenderableType, console: RichConsole) -> None:
        super().__init__(renderable, console=console, refresh_per_second=4, transient=True)
        self._live_render = FoldedFrame(renderable, console)
