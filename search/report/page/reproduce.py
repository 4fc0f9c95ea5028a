"""On what a run ran, and the commands that repeat it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.report.page.elements import Commands, Pairs, Section, Text
from search.report.page.run_data import Facts


def environment_section(facts: Facts) -> Section:
    """Machine, devices and versions of the last session."""
    if not facts.environment:
        none = "environment.json is not there, so nobody knows what this run ran on."
        return Section(key="environment", title="Environment", parts=[Text(text=none)])
    return Section(
        key="environment", title="Environment", parts=[Pairs(pairs=list(_pairs(facts.environment)))]
    )


def commands_section(facts: Facts) -> Section:
    """Commands that search, promote, try again and write this page once more."""
    return Section(key="commands", title="To repeat", parts=[Commands(commands=list(_commands(facts)))])


def _pairs(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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


def _commands(facts: Facts) -> Iterator[tuple[str, str]]:
    folder = facts.ledger.folder
    results, space_file = ["--results", str(folder.parent)], str(facts.ledger.space_file)
    if command := facts.environment.get("command"):
        yield "as it was typed", _typed(command)
    search = ["search", "--space", space_file]
    yield "the same search once more", _script(*search, "--name", f"{folder.name}-again", *results)
    yield "go on with it", _script(*search, "--name", folder.name, *results)
    yield "its failed trials again", _script("search", "--rerun-failed", str(folder))
    yield (
        "the best against the default",
        _script("promote", str(folder), "--top", str(facts.space.promote.top)),
    )
    if facts.best:
        trial = ["--trial", f"{folder}:{facts.best.trial_id}", "--seed", str(facts.best.seed)]
        yield "the best trial alone", _script("train", "--space", space_file, *trial)
    yield "this page again", _script("report", str(folder))


def _script(name: str, *arguments: str) -> str:
    return shlex.join(["python", f"scripts/{name}.py", *arguments])


def _typed(command: Sequence[str]) -> str:
    program, *arguments = map(str, command)
    return shlex.join([*(["python"] if Path(program).suffix == ".py" else []), program, *arguments])
