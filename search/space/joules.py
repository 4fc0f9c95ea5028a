"""Rungs measured in joules: with what they go together."""

from __future__ import annotations

from collections.abc import Iterator

from search.space.problems import Problems
from search.space.resolved import Space
from search.space.schema import SearchSection


def check_joules(section: SearchSection, problems: Problems) -> None:
    """Add to `problems` what a ladder of joules cannot be combined with."""
    ladder = section.ladder
    if ladder is None or ladder.resource != "energy_j":
        return
    gpus = section.resources.gpus_per_trial
    if gpus is not None and 0 < gpus < 1 and not section.metering.solo_slices:
        problems.add(
            "search.resources.gpus_per_trial",
            f"{gpus:g} shares a GPU, whose joules are then not known well enough to end a rung; "
            "take 1, or set metering.solo_slices: true",
        )
    if section.scheduler.mode == "grow":
        text = "grow compares trials epoch by epoch, and here they differ in what an epoch uses"
        problems.add("search.scheduler.mode", f"{text}; take promotion or stopping")
    if section.validation_resolution == "rung" and isinstance(ladder.resolution, list):
        text = "must be top where rungs are measured in joules: an epoch that jumps a rung would be scored at"
        problems.add("search.validation_resolution", f"{text} another resolution than the others there")


def joules_notices(space: Space) -> Iterator[str]:
    """What the horizon makes of a trial that uses its joules before its epochs."""
    if space.ladder.joules and space.ladder.horizon == "full":
        yield (
            f"search.horizon: with full a trial that uses its {space.ladder.joules[-1]:g} J before epoch "
            f"{space.ladder.top.epochs} ends with its schedule cut short; anytime has none to cut"
        )
