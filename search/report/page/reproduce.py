"""What a run ran on (machine and versions), and the commands that repeat it. Pure.

The commands name the space file in the run's folder, not the one it was started from, which may have been
edited since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search.command_lines import command_line, typed_command
from search.report.page.elements import (
    Commands,
    Pairs,
    Section,
    Text,
)
from search.report.page.run_data import RunData


def environment_section(run: RunData) -> Section:
    """Machine, devices and versions of the last session."""
    if not run.environment:
        none = "environment.json is missing, so the machine of this run is unknown."
        return Section(key="environment", title="Environment", elements=[Text(text=none)])
    return Section(
        key="environment", title="Environment", elements=[Pairs(pairs=list(_pairs(run.environment)))]
    )


def commands_section(run: RunData) -> Section:
    """Commands that repeat the search, resume it, promote its best trials, and write this page again."""
    return Section(key="commands", title="Reproduce", elements=[Commands(commands=list(_commands(run)))])


def _pairs(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of the machine; packages and devices that were not found are left out."""
    for name in ("hostname", "platform", "num_cpus", "python", "git", "folder"):
        if environment.get(name) is not None:
            yield name, str(environment[name])
    for device in environment.get("devices") or []:
        yield (
            str(device.get("kind", "device")),
            ", ".join(f"{k}: {v}" for k, v in device.items() if v is not None),
        )
    packages = environment.get("packages") or {}
    yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def _commands(run: RunData) -> Iterator[tuple[str, str]]:
    """What to do, and the command for it.

    The repeated search has a name of its own: with the same name it would resume the run, which has ended.
    """
    place, space_file = run.ledger.address, str(run.ledger.space_file)
    above, _, name = place.rpartition("/")
    results = ["--results", above]
    if command := run.environment.get("command"):
        yield "the command that started it", command_line([*map(str, command)])
    search = ["search", "--space", space_file]
    yield "the same search again", typed_command(*search, "--name", f"{name}-again", *results)
    yield "resume it", typed_command(*search, "--name", name, *results)
    yield "run its failed trials again", typed_command("search", "--rerun-failed", place)
    yield (
        "compare the best with the default",
        typed_command("promote", place, "--top", str(run.space.promote.top)),
    )
    if run.best:
        trial = ["--trial", f"{place}:{run.best.trial_id}", "--seed", str(run.best.seed)]
        yield "train the best trial alone", typed_command("train", "--space", space_file, *trial)
    yield "write this page again", typed_command("report", place)
