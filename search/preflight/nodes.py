"""The preflight command's checks of a space, on this machine or on every node of a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from search.backends.backend import LaunchableBackend
from search.output import Output
from search.preflight.local import examining_here
from search.preflight.request import Report, request_for
from search.space import Space


def examine_space(
    space: Space,
    *,
    source: str,
    folder: Path,
    should_download: bool,
    should_train: bool,
    backend: LaunchableBackend,
    output: Output,
) -> Sequence[Report]:
    """A report for each node on what the trials of `space` will need.

    Args:
        source: What stands after --space, for the commands in messages.
        folder: Where its run would be written.
    """
    if should_download:
        os.environ["HF_HUB_OFFLINE"] = "0"  # read once, when the child imports the hub's client
    request = replace(
        request_for(space, source=source, folder=folder), is_fetching=should_download, is_trying=should_train
    )
    if backend.is_here:  # Ray need not be started for it
        with examining_here(request) as reports, output.status("preflight") as status:
            return reports(status.update)
    with backend.examining(request) as reports, backend.started(remedy=""):
        return reports(lambda doing: None)
