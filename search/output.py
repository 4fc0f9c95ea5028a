"""What a command prints for people, by severity, which decides what --quiet and --json do with it.

Progress goes to `print`, what the user should know to `note`, what may cost something to `warn`, and what
failed to `error`. The prefix and colour of each are written only here. Standard output belongs to the answer:
with --json everything for people goes to standard error, and with --quiet whatever is still printed beside
the answer does too, so that `search.py --quiet | tail -1` is the last line of the answer.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import StyleType
from rich.text import Text

from search.printable import printable

_WIDTH_OF_A_FILE = 160  # without a terminal rich assumes 80 columns, and cuts tables


class Output:
    """Prints for people.

    Args:
        is_quiet: Leave out the progress: print only notes, warnings and errors, on standard error.
        has_json: Standard output is for a program: everything here goes to standard error.
        is_plain: Print as into a file: lines without colour, and nothing redrawn in place.
        console: Console to print to instead.

    Attributes:
        console: The console, which also draws live views.
        is_quiet: Progress is left out.
    """

    def __init__(
        self,
        *,
        is_quiet: bool = False,
        has_json: bool = False,
        is_plain: bool = False,
        console: RichConsole | None = None,
    ) -> None:
        self.console = console or _console(is_stderr=is_quiet or has_json, is_plain=is_plain)
        self.is_quiet, self._has_json, self._is_plain = is_quiet, has_json, is_plain

    @classmethod
    def silent(cls) -> Output:
        """Return an output that prints nothing, not even errors, since these are also raised."""
        return cls(is_quiet=True, console=RichConsole(quiet=True))

    @property
    def last(self) -> Output:
        """The output for the answer, which --quiet keeps: standard output unless a program reads that."""
        if not self.is_quiet or self.console.quiet:
            return self
        return Output(has_json=self._has_json, is_plain=self._is_plain)

    @property
    def is_watched(self) -> bool:
        """Whether a live view is wanted and has a terminal."""
        return self.console.is_terminal and not self.is_quiet

    def print(self, *objects: Any, style: StyleType | None = None, sep: str = " ") -> None:
        """Print progress or an answer: a table, or text that is never folded."""
        if not self.is_quiet:
            self._write(*objects, style=style, sep=sep)

    def note(self, text: str) -> None:
        """Print a note: worth knowing, although nothing is wrong."""
        self._write(f"note: {text}", style="yellow")

    def warn(self, text: str) -> None:
        """Print a warning: it may cost time, energy or data."""
        self._write(f"warning: {text}", style="yellow")

    def error(self, text: str) -> None:
        """Print what failed; the text needs no prefix."""
        self._write(text, style="red")

    @contextmanager
    def status(self, text: str) -> Iterator[Status]:
        """Show a status line during the block, if there is a terminal."""
        line = Status(text)
        with self.console.status(line) if self.is_watched else nullcontext():
            yield line

    def _write(self, *objects: Any, style: StyleType | None, sep: str = " ") -> None:
        # A path in a folded line cannot be copied; a table without folding would be cut.
        is_text = all(isinstance(each, str | Text) for each in objects)
        self.console.print(*objects, style=style, sep=sep, soft_wrap=is_text)


class Status:
    """A status line: what is being done, and the seconds since it began.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._text, self._clock, self._began_s = text, clock, clock()

    def update(self, text: str) -> None:
        """Replace the text; the seconds count on."""
        self._text = text

    def __rich__(self) -> Text:
        return Text(
            f"{self._text} ({self._clock() - self._began_s:.0f} s)", no_wrap=True, overflow="ellipsis"
        )


class SafeConsole(RichConsole):
    """A console that writes no control characters but its own, and survives when its reader goes away."""

    def on_broken_pipe(self) -> None:
        """Print nothing more: a search must not end because `| head` has seen enough."""
        self.quiet = True
        # This comes first because standard error may be the same pipe: `2>&1 | head`.
        if not self.stderr:
            with suppress(OSError):
                print("note: nothing reads standard output any more; the command continues", file=sys.stderr)
                sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # what is still buffered for the pipe goes there
        with suppress(OSError):
            if has_no_reader(2):
                os.dup2(nowhere, 2)
        os.close(nowhere)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as usual, with every text made printable."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def has_no_reader(fd: int) -> bool:
    """Whether a descriptor is a pipe that nobody reads any longer."""
    poll = select.poll()
    poll.register(fd, 0)  # errors are always reported
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _console(*, is_stderr: bool, is_plain: bool) -> RichConsole:
    """Return a console as wide as the terminal, or wide enough for tables in a log, without any markup."""
    plain: dict[str, Any] = {"highlight": False, "markup": False, "stderr": is_stderr}
    if is_plain:  # even if FORCE_COLOR, which CI sets, would treat a log as a terminal
        return SafeConsole(**plain, force_terminal=False, no_color=True, width=_WIDTH_OF_A_FILE)
    console = SafeConsole(**plain)
    return console if console.is_terminal else SafeConsole(**plain, width=_WIDTH_OF_A_FILE)
