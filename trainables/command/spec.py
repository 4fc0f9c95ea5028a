"""The settings under `search.command`, as plain data that travels to workers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.command.ecosystems import MetricsSpec
from trainables.command.template import NEWEST, filled, flagged, form_of, formed, places
from trainables.core.contract import Mode

_BEFORE = "JOULETUNE_ENV_BEFORE"  # set by the search: what it has replaced for its workers


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command with all its settings, which the space has checked.

    Attributes:
        run: The program and its arguments, with placeholders as in `--lr {lr}`. Hyperparameters without a
            placeholder replace `${args}` or another of W&B's words, or else are appended as flags.
        launcher: "torchrun" starts the script, and that of `test`, in as many processes as a trial has; if
            empty, it is started directly.
        resume: Arguments added when there is something to resume from.
        test: A command that prints the metric on the test set; empty if there is none.
        defaults: The value of each hyperparameter in trial 0.
        flags: The flag of a hyperparameter if it is not `--` and its name, or a pair for true and false.
        groups: The JSON keys of a hyperparameter in a nested group, from the outermost inwards.
        mixed: Hyperparameters with values of several types.
        folder: Absolute path of the folder in which the command runs.
        env: Environment variables in addition to the worker's.
        timeout_s: Longest time between two scores. None means a day, or an hour before the first from a file.
        graceful_s: Seconds between SIGTERM and SIGKILL.
        first_epoch: The number of the script's first epoch, 1 or 0; None infers it from the first row.
        metrics: Where its scores are read from.
        with_args: Placeholders that the script also receives among its hyperparameters, such as a sweep's
            own `epochs`.
    """

    run: tuple[str, ...]
    metric: str
    mode: Mode
    defaults: Mapping[str, Any]
    folder: Path
    launcher: str | None = None
    resume: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mixed: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    graceful_s: float = 10.0
    first_epoch: int | None = 1
    metrics: MetricsSpec = field(default_factory=MetricsSpec)
    with_args: Sequence[str] = ()

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> CommandSpec:
        """Build a spec from plain data."""
        lists = {name: tuple(plain.get(name) or ()) for name in ("run", "resume", "test")}
        metrics = MetricsSpec.of(plain.get("metrics") or "lines")
        return cls(**{**plain, **lists, "metrics": metrics, "folder": Path(plain["folder"])})

    @property
    def places(self) -> set[str]:
        """The names of all placeholders in `run` and `resume`."""
        return places([*self.run, *self.resume])

    @property
    def newest_patterns(self) -> list[str]:
        """Patterns of the files that the script is resumed from."""
        return [name.removeprefix(NEWEST) for name in places(self.resume) if name.startswith(NEWEST)]

    @property
    def environment(self) -> dict[str, str]:
        """The script's variables: those that the search was started with, and `env`.

        A worker has others too: its hub is offline, and it finds this program's packages before the script's.
        """
        env = dict(os.environ)
        before: dict[str, str | None] = json.loads(env.pop(_BEFORE, "{}"))
        for name in before:
            env.pop(name, None)
        return {**env, **{name: value for name, value in before.items() if value is not None}, **self.env}

    @property
    def test_metric(self) -> str:
        return self.metric.replace("val_", "test_", 1)

    @property
    def needs_json_file(self) -> bool:
        """Whether hyperparameters are read from a file, by `${args_json_file}` or `wandb.config`."""
        return self.metrics.kind == "wandb" or any(
            form_of(token) == "args_json_file" for token in (*self.run, *self.resume, *self.test)
        )

    def hparams(self) -> type:
        """The hyperparameters as a frozen dataclass with the types of their defaults.

        Field names need not be Python identifiers, as in `learning-rate` and `optimizer.lr`.
        """
        kinds = {name: Any if name in self.mixed else _kind(value) for name, value in self.defaults.items()}
        defaults = {name: field(default_factory=_giving(value)) for name, value in self.defaults.items()}
        members = {"__annotations__": kinds, "__init__": _set_fields(self.defaults), **defaults}
        return dataclass(init=False, repr=False, eq=False, frozen=True)(type("Hparams", (), members))

    def run_line(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
        """The program with all its arguments, values at full precision."""
        line = self._line(self.run, hparams, values)
        if any(map(form_of, (*self.run, *self.resume))):
            return line
        rest = self._rest(hparams, values)
        return [
            *line,
            *(token for name in rest for token in flagged(self.flags.get(name, f"--{name}"), rest[name])),
        ]

    def test_line(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
        """The test command, with only the hyperparameters for which it has a placeholder or a word."""
        return self._line(self.test, hparams, values)

    def resume_arguments(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
        return self._line(self.resume, hparams, values)

    def json_of(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> str:
        """All hyperparameters as JSON, with groups as nested objects."""
        return json.dumps(self._nested({**self._given(values), **hparams}))

    def _given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[name] for name in self.with_args}

    def _rest(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters without a placeholder in the command."""
        given = {**hparams, **self._given(values)}
        return {name: given[name] for name in (*self.defaults, *self.with_args) if name not in self.places}

    def _line(
        self, tokens: Sequence[str], hparams: Mapping[str, Any], values: Mapping[str, Any]
    ) -> list[str]:
        environment = self.environment
        line: list[str] = []
        for token in tokens:
            if form := form_of(token):
                line += self._formed(form, hparams, values)
            else:
                line += filled([token], {**values, **hparams}, environment)
        return line

    def _formed(self, form: str, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
        if form == "args_json_file":
            return [str(values[form])]
        if form == "args_json":
            return [self.json_of(hparams, values)]
        return formed(form, self._rest(hparams, values), self.flags)

    def _nested(self, hparams: Mapping[str, Any]) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for name in hparams:
            *groups, key = self.groups.get(name, (name,))
            within = nested
            for group in groups:
                within = within.setdefault(group, {})
            within[key] = hparams[name]
        return nested


def _kind(default: Any) -> Any:
    """The type of a hyperparameter with this default."""
    return type(default) if isinstance(default, bool | int | float | str) else Any


def _giving(value: Any) -> Callable[[], Any]:
    return lambda: value


def _set_fields(defaults: Mapping[str, Any]) -> Callable[..., None]:
    """An __init__ that accepts each hyperparameter by its name, whatever that is."""

    def set_fields(self: Any, **values: Any) -> None:
        if unknown := set(values) - set(defaults):
            raise TypeError(f"no such hyperparameter: {', '.join(sorted(unknown))}")
        for name, default in defaults.items():
            object.__setattr__(self, name, values.get(name, default))

    return set_fields
