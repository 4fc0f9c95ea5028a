"""`search.command`: a script that exists already, as what is trained."""

from __future__ import annotations

import keyword
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.space.entry import Fixed
from search.space.parameters import Choice, Integer, Parameter
from search.space.problems import Problems, did_you_mean
from search.space.schema import CommandSection, Metric, SearchSection
from trainables.command.template import PLACES, places
from trainables.contract import Mode
from trainables.load import name_of_command

_EXAMPLE = "run: python train.py --epochs {epochs}, metric: val_acc, mode: max, defaults: {lr: 0.1}"
_GOALS: Mapping[str | None, Mode] = {"maximize": "max", "minimize": "min"}


@dataclass(frozen=True, kw_only=True)
class CommandCheck:
    """A command beside the rest of its space.

    Attributes:
        entries: The parameters by name.
        broken: Those that have a problem of their own.
        folder: The space file's.
    """

    section: SearchSection
    metric: Metric
    entries: Mapping[str, Parameter | Fixed]
    broken: Sequence[str]
    ladder: Ladder | None
    folder: Path

    def name(self, problems: Problems) -> str | None:
        """The trainable's name; None, with the reasons among the problems, where it cannot be used."""
        command, num_before = self.section.command, len(problems.lines)
        if command is None or not command.run:
            if not problems.concern("search.command"):
                problems.add("search.command", f"is missing or has no run; write command: {{{_EXAMPLE}}}")
            return None
        defaults = self._defaults(command)
        self._check_hparams(command, defaults, problems)
        self._check_places(command, defaults, problems)
        self._check_budgets(places([*command.run, *command.resume]), bool(command.resume), problems)
        self._check_rest(problems)
        folder = (self.folder / Path(command.folder).expanduser()).resolve()
        _check_program(command, folder, problems)
        metric, mode = command.metric or self.metric.name, command.mode or _GOALS.get(self.metric.goal)
        if metric is None:
            problems.add("search.command.metric", "is missing; name the value that the script prints")
        if mode is None:
            problems.add("search.command.mode", "is missing; write max or min")
        if len(problems.lines) > num_before:
            return None
        return name_of_command(
            {
                **command.model_dump(),
                "metric": metric,
                "mode": mode,
                "defaults": defaults,
                "folder": str(folder),
            }
        )

    def _defaults(self, command: CommandSection) -> dict[str, Any]:
        """Trial 0: what the section says, and the parameters that have one value."""
        fixed = {name: entry.value for name, entry in self.entries.items() if isinstance(entry, Fixed)}
        given = {
            name: float(value) if type(value) is int and self._takes_fractions(name) else value
            for name, value in command.defaults.items()
        }
        return {**given, **fixed}

    def _takes_fractions(self, name: str) -> bool:
        entry = self.entries.get(name)
        if isinstance(entry, Choice):
            return any(isinstance(value, float) for value in entry.values)
        is_whole = entry is None or isinstance(entry, Fixed | Integer)
        return not is_whole and not isinstance(getattr(entry, "step", None), int)

    def _check_hparams(
        self, command: CommandSection, defaults: Mapping[str, Any], problems: Problems
    ) -> None:
        for name in self.entries:
            if name not in defaults:
                text = f"{name} is missing; give its value in trial 0, the one that others are compared with"
                problems.add("search.command.defaults", text)
        for name in {**defaults, **self.entries}:
            where = f"parameters.{name}" if name in self.entries else f"search.command.defaults.{name}"
            if not name.isidentifier() or keyword.iskeyword(name):
                fix = "write letters, digits and _, and the script's own flag under search.command.flags"
                problems.add(where, f"must do as a name; {fix}")
            elif name in PLACES:
                problems.add(where, f"{{{name}}} is something else; give the hyperparameter another name")
        known = [*{**defaults, **self.entries}, *self.broken]
        for name in command.flags:
            if name not in known:
                text = f"is no hyperparameter{did_you_mean(name, known)}"
                problems.add(f"search.command.flags.{name}", text)

    def _check_places(self, command: CommandSection, defaults: Mapping[str, Any], problems: Problems) -> None:
        known = [*defaults, *self.broken, *self.entries, *PLACES]
        for key in ("run", "resume", "test"):
            for name in sorted(places(getattr(command, key)) - set(known)):
                problems.add(f"search.command.{key}", f"{{{name}}} is not known{did_you_mean(name, known)}")
        if command.resume and "checkpoint_dir" not in places([*command.run, *command.resume]):
            text = "needs {checkpoint_dir}, where the script keeps its state, here or in run"
            problems.add("search.command.resume", text)

    def _check_budgets(self, used: set[str], has_resume: bool, problems: Problems) -> None:
        """That a rung's subset and resolution reach the script, and only at that rung."""
        if self.section.horizon == "anytime":
            text = "anytime needs a training that scores averaged weights; take full or rung for a command"
            problems.add("search.horizon", text)
        if self.ladder is None:
            return
        for axis in ("subset", "resolution"):
            values = [getattr(rung, axis) for rung in self.ladder.rungs]
            if values[0] is not None and axis not in used:
                text = (
                    f"the command has no {{{axis}}}, so every rung would train alike; add it or leave it out"
                )
                problems.add(f"search.ladder.{axis}", text)
            if values[0] is None and axis == "resolution" and axis in used:
                problems.add("search.ladder.resolution", "is missing, and the command has {resolution}")
            can_follow = "until" in used and has_resume and not self.ladder.joules
            if len(set(values)) > 1 and self.section.horizon == "full" and not can_follow:
                text = (
                    "differs between rungs, so the script must end with each and go on from there: give "
                    "search.command.resume and, in run, {until}, the rung's last epoch; or take horizon: rung"
                    " (rungs of joules end at no epoch that is known before)"
                )
                problems.add(f"search.ladder.{axis}", text)

    def _check_rest(self, problems: Problems) -> None:
        section = self.section
        given = {
            "validation_subset": section.validation_subset is not None,
            "validation_resolution": section.validation_resolution != "top",
            "precision": section.precision != "auto",
        }
        for key in [key for key, is_given in given.items() if is_given]:
            problems.add(f"search.{key}", "a command decides this by itself; leave it out")


def command_notices(description: Mapping[str, Any], ladder: Ladder, mode: str) -> Iterator[str]:
    """What a command does not take of what it is told."""
    used = places([*description["run"], *description["resume"]])
    if "epochs" not in used:
        yield "search.command.run: without {epochs} the script itself decides what its schedules span"
    if "seed" not in used:
        yield "search.command.run: without {seed} the seeds of a promotion train the same thing"
    goes_up = mode in ("promotion", "grow") and len(ladder.rungs) > 1 and ladder.horizon == "full"
    if goes_up and not description["resume"]:
        yield (
            "search.command.resume: not given; a trial that is promoted trains its earlier epochs again, and "
            "their time and joules count; mode: stopping repeats none"
        )
    if not description["test"]:
        yield "search.command.test: not given; a promotion compares validation scores of fresh seeds"


def _check_program(command: CommandSection, folder: Path, problems: Problems) -> None:
    """That the program and its script are on this machine."""
    if not folder.is_dir():
        problems.add("search.command.folder", f"{folder} does not exist")
        return
    path = command.env.get("PATH", os.environ.get("PATH"))
    for key in ("run", "test"):
        tokens = [token.replace("{python}", sys.executable) for token in getattr(command, key)]
        if tokens and not places(tokens[:1]) and not _found(tokens[0], folder, path):
            text = f"there is no program {tokens[0]!r}; {{python}} is the Python that runs this"
            problems.add(f"search.command.{key}", text)
        script = tokens[1] if len(tokens) > 1 else ""
        if script.endswith((".py", ".sh")) and not places([script]) and not (folder / script).is_file():
            problems.add(f"search.command.{key}", f"there is no file {script} in {folder}")


def _found(program: str, folder: Path, path: str | None) -> bool:
    return bool(shutil.which(str(folder / program) if "/" in program else program, path=path))
