"""What is run is the user's own: code within a run's folder is run only where a command line names it.

A run's folder may be somebody else's. Its `space.yaml` names a program, and resuming the run or
promoting its trials would start that.
"""

from __future__ import annotations

from pathlib import Path

from search.space.errors import Problems
from search.space.schema import CommandSection

_JOURNAL = "journal.jsonl"  # what makes a folder a run's, see search/ledger/run_folder.py
_PYTHON = (
    "code that came with a run is not run unless a command names it: read it, and give the file that you "
    "trust with --set search.trainable=PATH, or a --space of your own"
)
_COMMAND = (
    "a program that came with a run is not run unless a command names it: read it, and give --set "
    "search.command.folder=PATH, or a --space of your own"
)


def check_file(trainable: str, space_folder: Path, problems: Problems) -> None:
    """See that a user's file lies in no run's folder, nor is found from one."""
    path = space_folder / Path(trainable).expanduser()
    if run := _run_of(path):
        problems.add("search.trainable", f"{path} lies in the folder of the run {run}; {_PYTHON}")
    elif run := _found_from_run(trainable, space_folder):
        problems.add("search.trainable", f"{trainable} is found from the folder of the run {run}; {_PYTHON}")


def check_command(command: CommandSection | None, space_folder: Path, problems: Problems) -> None:
    """See that a command neither runs in a run's folder nor starts a file in one."""
    if command is None:
        if run := _run_of(space_folder / "space.yaml"):
            problems.add("program", f"it would be looked for in the folder of the run {run}; {_COMMAND}")
        return
    folder = space_folder / Path(command.folder).expanduser()
    if run := _run_of(folder / ".") or _found_from_run(command.folder, space_folder):
        problems.add("search.command.folder", f"{folder} belongs to the folder of the run {run}; {_COMMAND}")
        return
    for key in ("run", "resume", "test"):
        for token in getattr(command, key):
            path = folder / token
            if "/" in token and (run := _run_of(path)) and path.is_file():
                text = f"{path} lies in the folder of the run {run}; {_COMMAND}"
                problems.add(f"search.command.{key}", text)


def is_in_run(path: Path) -> bool:
    """Whether a file lies in the folder of a run."""
    return _run_of(path) is not None


def _found_from_run(path: str, space_folder: Path) -> Path | None:
    """The run whose space names a path from where it lies: those that this program writes never do."""
    is_relative = not Path(path).expanduser().is_absolute()
    return _run_of(space_folder / "space.yaml") if is_relative else None


def _run_of(path: Path) -> Path | None:
    """The run in whose folder a file lies, by its path or by where links lead."""
    for one in (path.absolute(), path.resolve()):
        for folder in one.parents:
            if (folder / _JOURNAL).is_file():
                return folder
    return None
