"""Writes the page of a run again and again while the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from search.ledger import Ledger
from search.report.page.writing import Written, write_page


def watch(
    folder: Path,
    *,
    every_s: float,
    say: Callable[[str], None],
    write: Callable[..., Written] = write_page,
    sleep: Callable[[float], None] = time.sleep,
) -> Written:
    """Write the page every `every_s` seconds until the run has ended or was killed; gives the last one.

    The page loads itself again at the same pace. Its PNGs are drawn once, at the end.
    """
    written = write(folder, refresh_s=every_s, should_draw=False)
    say(f"{written.path}: written every {every_s:g} s until the run has ended; Ctrl-C ends this only")
    while not written.is_over and not Ledger(folder).lost_holder:
        sleep(every_s)
        written = write(folder, refresh_s=every_s, should_draw=False)
    last = write(folder)
    if not last.is_over:
        say(f"{Ledger(folder).lost_holder} was killed and the run has not ended; its command goes on with it")
    return last
