"""`search.command`: an existing script, trained by its command line."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.secrets import looks_secret
from search.space.distributions import Declared
from search.space.errors import Problems, did_you_mean, wrong_kind
from search.space.hparams import where_it_goes
from search.space.parameters import Choice, Fixed, Integer, Parameter, is_number
from search.space.schema import CommandSection, SearchSection, SweepFile
from search.space.sweep_program import args_of_sweep, folder_of_sweep, is_of_sweep, middles, run_of_sweep
from trainables.command.ecosystems import MetricsSpec, resume_arguments
from trainables.command.launcher import launch_problem
from trainables.command.template import NAME, NEWEST, PLACES, form_of, is_pair, places, variables
from trainables.core.contract import Mode
from trainables.core.load import TrainableRef

_EXAMPLE = "run: python train.py --epochs {epochs}, metric: val_acc, mode: max, defaults: {lr: 0.1}"
_GOALS: Mapping[str | None, Mode] = {"maximize": "max", "minimize": "min"}


@dataclass(frozen=True, kw_only=True)
class CommandCheck:
    """Checks a command against the rest of its space.

    Attributes:
        sweep: The file; its own program and command are used if the section has no run.
        folder: Folder of the space file.
        must_exist: Also check that the program exists and that the environment variables it names are set.
    """

    section: SearchSection
    sweep: SweepFile
    declared: Declared
    ladder: Ladder | None
    folder: Path
    must_exist: bool = True

    def reference(self, problems: Problems) -> TrainableRef | None:
        """Return the command as a trainable, or None with the reasons added to `problems`."""
        num_before = len(problems.lines)
        command = self._command(problems)
        if command is None:
            return None
        command = command.model_copy(update={"resume": resume_arguments(command.resume)})
        metrics = self._metrics(command, problems)
        defaults = self._defaults(command)
        self._check_hparams(command, defaults, problems)
        self._check_places(command, defaults, problems)
        self._check_budgets(places([*command.run, *command.resume]), bool(command.resume), problems)
        self._check_launcher(command, problems)
        _check_pairs(command, defaults, problems)
        self._check_rest(problems)
        _check_secrets(command, problems)
        folder = (self.folder / Path(command.folder).expanduser()).resolve()
        if self.must_exist:
            _check_program(command, folder, problems)
        metric = command.metric or metrics.metric or self.sweep.metric.name
        mode = command.mode or self._goal(command)
        self._check_metric(metric, mode, problems)
        if len(problems.lines) > num_before or metric is None or mode is None:
            return None
        return TrainableRef.of_command(
            {
                **command.model_dump(),
                "metric": metric,
                "mode": mode,
                "defaults": defaults,
                "groups": {name: list(path) for name, path in self.declared.groups.items()},
                "mixed": [name for name, entry in self.declared.entries.items() if _is_mixed(entry)],
                "folder": str(folder),
                "metrics": metrics.plain,
                "first_epoch": 1
                if metrics.kind == "lines" and command.first_epoch is None
                else command.first_epoch,
                "with_args": list(self._with_args),
            }
        )

    def _check_metric(self, metric: str | None, mode: Mode | None, problems: Problems) -> None:
        if self._is_of_sweep and (metric is None or mode is None):
            if not problems.concern("metric"):
                text = (
                    "is missing, and trials are ranked by it; write metric: {name: val_acc, goal: maximize}"
                )
                problems.add("metric", text)
            return
        if metric is None:
            problems.add("search.command.metric", "is missing; name the value that the script prints")
        if mode is None:
            problems.add("search.command.mode", "is missing; write max or min")

    @property
    def _is_of_sweep(self) -> bool:
        return self.sweep.has_program and is_of_sweep(self.sweep, self.section)

    @property
    def _with_args(self) -> tuple[str, ...]:
        given = self.section.command.with_args if self.section.command else ()
        return args_of_sweep(self.declared.entries) if self._is_of_sweep else tuple(given)

    def _metrics(self, command: CommandSection, problems: Problems) -> MetricsSpec:
        """Where scores are read from; by default a sweep's program logs them to wandb or prints lines."""
        if command.metrics is None:
            return MetricsSpec(kind="wandb", has_lines=True) if self._is_of_sweep else MetricsSpec()
        try:
            return MetricsSpec.of(command.metrics)
        except ValueError as error:
            problems.add("search.command.metrics", str(error))
            return MetricsSpec()

    def _command(self, problems: Problems) -> CommandSection | None:
        """The section, with the sweep file's command if it has none of its own."""
        command = self.section.command or CommandSection()
        if command.run or problems.concern("search.command"):
            return command if command.run else None
        if not self.sweep.has_program:
            problems.add("search.command", f"is missing or has no run; write command: {{{_EXAMPLE}}}")
            return None
        run = run_of_sweep(self.sweep.program, self.sweep.command, problems)
        if not run:
            return None
        given: dict[str, Any] = {"run": run}
        if "folder" not in command.model_fields_set:
            given["folder"] = str(folder_of_sweep(self.sweep.program, self.folder))
        return command.model_copy(update=given)

    def _goal(self, command: CommandSection) -> Mode | None:
        """The mode by `metric.goal`; as in W&B, a metric with a name but no goal is minimized."""
        metric = self.sweep.metric
        is_theirs = metric.name is not None and command.metric in (None, metric.name)
        return _GOALS.get(metric.goal or ("minimize" if is_theirs else None))

    def _defaults(self, command: CommandSection) -> dict[str, Any]:
        """Values of trial 0: the section's defaults, fixed values and, for a sweep, middles of ranges."""
        entries = self.declared.entries
        fixed = {
            name: entry.value
            for name, entry in entries.items()
            if isinstance(entry, Fixed) and name not in self._with_args
        }
        given = dict(_flattened(command.defaults, self.declared))
        chosen = middles(entries, {**given, **fixed}) if self._is_of_sweep else {}
        searched = {
            name: float(value) if type(value) is int and self._takes_fractions(name) else value
            for name, value in {**chosen, **given}.items()
        }
        return {**searched, **fixed}

    def _takes_fractions(self, name: str) -> bool:
        entry = self.declared.entries.get(name)
        if isinstance(entry, Choice):
            return any(isinstance(value, float) for value in entry.values) and not _is_mixed(entry)
        is_whole = entry is None or isinstance(entry, Fixed | Integer)
        return not is_whole and not isinstance(getattr(entry, "step", None), int)

    def _check_hparams(
        self, command: CommandSection, defaults: Mapping[str, Any], problems: Problems
    ) -> None:
        entries = self.declared.entries
        for name, entry in entries.items():
            if (
                name not in defaults
                and name not in PLACES
                and self.section.command
                and self.section.command.run
            ):
                text = f"{name} is missing; give its value in trial 0, which the others are compared with"
                problems.add("search.command.defaults", text)
            is_range = not isinstance(entry, Fixed | Choice)
            if is_range and name in defaults and not is_number(defaults[name]):
                text = wrong_kind("a number", defaults[name])
                problems.add(f"search.command.defaults.{name}", text)
        for name in {**defaults, **entries}:
            where = f"parameters.{name}" if name in entries else f"search.command.defaults.{name}"
            if not re.fullmatch(NAME, name):
                text = (
                    "must begin with a letter, or Hydra's + or ~ and one, and contain only letters, digits,"
                )
                problems.add(where, f"{text} spaces and . _ - / @ : [ ]")
            elif name in PLACES and name not in self._with_args and not _is_argument(command, name):
                problems.add(where, _where_it_goes(name, entries.get(name)))
        known = [*{**defaults, **entries}, *self.declared.broken]
        for name in command.flags:
            if name not in known:
                text = f"is not a hyperparameter{did_you_mean(name, known)}"
                problems.add(f"search.command.flags.{name}", text)

    def _check_places(self, command: CommandSection, defaults: Mapping[str, Any], problems: Problems) -> None:
        known = dict.fromkeys([*defaults, *self.declared.broken, *self.declared.entries, *PLACES])
        for key in ("run", "resume", "test"):
            unknown = places(getattr(command, key)) - set(known)
            for name in sorted(each for each in unknown if not each.startswith(NEWEST)):
                problems.add(f"search.command.{key}", f"{{{name}}} is not known{did_you_mean(name, known)}")
        used = places([*command.run, *command.resume])
        if command.resume and "checkpoint_dir" not in used:
            text = "needs {checkpoint_dir}, where the script keeps its state, here or in run"
            problems.add("search.command.resume", text)

    def _check_budgets(self, used: set[str], has_resume: bool, problems: Problems) -> None:
        """Check that a rung's subset and resolution reach the script, and only at that rung."""
        if self.section.horizon == "anytime":
            text = "anytime needs a training that scores averaged weights; use full or rung for a command"
            problems.add("search.horizon", text)
        if self.ladder is None:
            return
        for axis in ("subset", "resolution"):
            values = [getattr(rung, axis) for rung in self.ladder.rungs]
            if values[0] is not None and axis not in used:
                text = (
                    f"the command has no {{{axis}}}, so every rung would train alike; add it or leave this "
                    "out"
                )
                problems.add(f"search.ladder.{axis}", text)
            if values[0] is None and axis == "resolution" and axis in used:
                problems.add("search.ladder.resolution", "is missing, but the command has {resolution}")
            can_follow = "until" in used and has_resume and not self.ladder.joules
            if len(set(values)) > 1 and self.section.horizon == "full" and not can_follow:
                text = (
                    "differs between rungs, so the script must end with each rung and resume there: give "
                    "search.command.resume and, in run, {until}, the rung's last epoch; or use horizon: rung"
                    " (the last epoch of a rung of joules is not known beforehand)"
                )
                problems.add(f"search.ladder.{axis}", text)

    def _check_launcher(self, command: CommandSection, problems: Problems) -> None:
        """Check that a launcher can start this command, and that there is one for several processes."""
        if command.launcher:
            for key in ("run", "test"):
                if (words := getattr(command, key)) and (text := launch_problem(words)):
                    problems.add(f"search.command.{key}", text)
        elif (number := self.section.resources.processes_per_trial or 1) > 1:
            text = f"a command is one process; write search.command.launcher: torchrun to have {number}"
            problems.add("search.resources.processes_per_trial", text)

    def _check_rest(self, problems: Problems) -> None:
        section = self.section
        given = {
            "validation_subset": section.validation_subset is not None,
            "validation_resolution": section.validation_resolution != "top",
            "precision": section.precision != "auto",
        }
        for key in [key for key, is_given in given.items() if is_given]:
            problems.add(f"search.{key}", "a command decides this by itself; leave it out")


def _flattened(defaults: Mapping[str, Any], declared: Declared) -> Iterator[tuple[str, Any]]:
    """Yield the defaults by dotted name; those of a nested group may themselves be nested."""
    groups = {path[:depth] for path in declared.groups.values() for depth in range(1, len(path))}
    waiting: list[tuple[tuple[str, ...], Any]] = [((name,), value) for name, value in defaults.items()]
    for path, value in waiting:  # grows while it is iterated
        if path in groups and isinstance(value, dict) and ".".join(path) not in declared.entries:
            waiting += [((*path, name), each) for name, each in value.items()]
        else:
            yield ".".join(path), value


def _is_argument(command: CommandSection, name: str) -> bool:
    """Whether a placeholder's name is a hyperparameter: ${args} passes it, and no word has {name}."""
    words = [*command.run, *command.resume, *command.test]
    return any(map(form_of, words)) and name not in places(words)


def _is_mixed(entry: Parameter | Fixed) -> bool:
    """Whether a choice mixes kinds of values, such as null and 8; all numbers are of one kind."""
    if not isinstance(entry, Choice):
        return False
    return len({float if is_number(value) else type(value) for value in entry.values}) > 1


def _where_it_goes(name: str, entry: Parameter | Fixed | None) -> str:
    """Why a placeholder's name is no hyperparameter, and what to write instead."""
    answer = (
        where_it_goes(name) or f"{{{name}}} has a meaning of its own; give the hyperparameter another name"
    )
    if name == "epochs" and isinstance(entry, Fixed) and is_number(entry.value) and entry.value >= 1:
        top = round(entry.value)
        rungs = sorted({max(1, top // 9), max(1, top // 3), top})
        answer = f"search.ladder sets how long trials train: write ladder: {{epochs: {rungs}}}"
    return f"is not a hyperparameter: {answer}. The script gets it where its command has {{{name}}}"


def command_notices(
    description: Mapping[str, Any], ladder: Ladder, mode: str, *, is_mode_chosen: bool
) -> Iterator[str]:
    """Yield which settings a command does not use, and what was chosen for it.

    Args:
        is_mode_chosen: The space names no scheduler mode, so `asha_stopping` was chosen.
    """
    used = {*places([*description["run"], *description["resume"]]), *description["with_args"]}
    if "epochs" not in used:
        yield "search.command.run: without {epochs} the script itself decides what its schedules span"
    if "seed" not in used:
        yield "search.command.run: without {seed} a promotion trains the same thing with every seed"
    goes_up = mode in ("asha", "pasha") and len(ladder.rungs) > 1 and ladder.horizon == "full"
    if is_mode_chosen:
        yield (
            "search.scheduler.mode: asha_stopping, since search.command.resume is not given: a trial waits "
            "between epochs and is stopped if it falls behind; with asha it would train its epochs again"
        )
    elif goes_up and not description["resume"]:
        yield (
            "search.command.resume: not given; at each rung a trial trains its earlier epochs again, and "
            "their time and joules count; mode: asha_stopping repeats none"
        )
    if not description["test"]:
        yield "search.command.test: not given; a promotion compares validation scores of fresh seeds"


def _check_pairs(command: CommandSection, defaults: Mapping[str, Any], problems: Problems) -> None:
    for name, flag in command.flags.items():
        if is_pair(flag) and not isinstance(defaults.get(name, True), bool):
            text = (
                f"is a pair, for true and false, and {name} is {defaults[name]!r}; give one flag, got {flag}"
            )
            problems.add(f"search.command.flags.{name}", text)


def _check_secrets(command: CommandSection, problems: Problems) -> None:
    """Check that the space holds no secret: the run keeps a copy of it, and its page shows it."""
    for name in filter(looks_secret, command.env):
        text = (
            f"is a secret by its name, and the run's files would hold it; set {name} where the search starts "
            "(on a cluster: where each node's Ray is) and leave it out: scripts inherit it"
        )
        problems.add(f"search.command.env.{name}", text)


def _check_program(command: CommandSection, folder: Path, problems: Problems) -> None:
    """Check that the program and its script are on this machine."""
    for name in sorted(variables([*command.run, *command.resume, *command.test])):
        if name not in {**os.environ, **command.env}:
            text = f"the variable {name} is not set; set it, or write search.command.env: {{{name}: ...}}"
            problems.add("search.command", text)
    if not folder.is_dir():
        problems.add("search.command.folder", f"{folder} does not exist")
        return
    path = command.env.get("PATH", os.environ.get("PATH"))
    for key in ("run", "test"):
        tokens = [token.replace("{python}", sys.executable) for token in getattr(command, key)]
        if tokens[:1] == ["/usr/bin/env"]:
            tokens = list(itertools.dropwhile(lambda token: "=" in token, tokens[1:]))
        if tokens and not places(tokens[:1]) and (text := _start_problem(tokens[0], folder, path)):
            problems.add(f"search.command.{key}", text)
        script = tokens[1] if len(tokens) > 1 else ""
        if script.endswith((".py", ".sh")) and not places([script]) and not (folder / script).is_file():
            problems.add(f"search.command.{key}", f"there is no file {script} in {folder}")


def _start_problem(program: str, folder: Path, path: str | None) -> str:
    """Why a program cannot be started; empty if nothing is known.

    Args:
        path: PATH of the command.
    """
    own = folder / program
    if shutil.which(str(own) if "/" in program else program, path=path):
        return _first_line_problem(program, own) if "/" in program else ""
    if not own.is_file():
        return f"there is no program {program!r}; {{python}} is the Python that runs this"
    start = {".py": "{python} ", ".sh": "bash "}.get(own.suffix)
    if "/" not in program:
        return f"{program!r} is no program in PATH, but a file in {folder}; write {start or './'}{program}"
    return f"{program} is not executable; " + (f"write {start}{program}" if start else f"chmod +x {own}")


def _first_line_problem(program: str, file: Path) -> str:
    """Why Linux cannot start a file of text; empty for any other. A shell would take it for a script."""
    with file.open("rb") as opened:
        start = opened.read(512)
    first = start.partition(b"\n")[0]
    if not start or b"\0" in start or (first.startswith(b"#!") and not first.endswith(b"\r")):
        return ""
    if first.startswith(b"#!"):
        return f"{program} has a first line that ends as on Windows; remove it: sed -i 's/\\r$//' {file}"
    return f"{program} has no first line such as #!/bin/bash; add it, or write bash {program}"
