"""A live view that leaves nothing of itself behind when its terminal is resized.

Rich erases as many lines as it has drawn. A terminal that became narrower has folded the longer ones, and so
what is to be erased is more lines: without counting them, the top of the old frame stays in the log above the
new one, at each resize.
"""

from __future__ import annotations

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import Segment


class FoldedFrame(LiveRender):
    """The frame that is on the screen, which knows how high the terminal has made it."""

    def __init__(self, renderable: RenderableType, console: RichConsole) -> None:
        super().__init__(renderable)
        self._console = console
        self._line_cells: list[int] = []

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        segments = [each for each in super().__rich_console__(console, options) if isinstance(each, Segment)]
        self._line_cells = [Segment.get_line_length(line) for line in Segment.split_lines(segments)]
        yield from segments

    def position_cursor(self) -> Control:
        """Erase what is on the screen of the frame; the cursor is then where it began."""
        self._fold()
        return super().position_cursor()

    def restore_cursor(self) -> Control:
        """The same, from the line below the frame."""
        self._fold()
        return super().restore_cursor()

    def _fold(self) -> None:
        """Count the lines that the frame takes at the terminal's present width, as many as there can be."""
        if self._shape is not None:
            width, height = self._console.size
            num_lines = sum(max(1, -(-cells // width)) for cells in self._line_cells)
            self._shape = self._shape[0], min(num_lines, height)


class Screen(Live):
    """Draws a renderable four times a second at the end of what is printed, and erases it at the end."""

    def __init__(self, renderable: RenderableType, console: RichConsole) -> None:
        super().__init__(renderable, console=console, refresh_per_second=4, transient=True)
        self._live_render = FoldedFrame(renderable, console)
