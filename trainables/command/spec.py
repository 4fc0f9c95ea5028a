"""What a space says of a command, as plain data that travels within the trainable's name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.command.template import filled, flagged, places
from trainables.contract import Mode


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command with everything around it; the space has checked it.

    Attributes:
        run: The program and its arguments, with places as in `--lr {lr}`. Hyperparameters without a place
            follow as flags.
        resume: Arguments that are added when there is something to go on from.
        test: A command that prints the metric of the test set; empty where there is none.
        defaults: Each hyperparameter with its value in trial 0.
        flags: The flag of a hyperparameter where it is not `--` and its name.
        folder: Where the command runs; absolute.
        env: Variables beside those of the worker.
        timeout_s: Longest time between two scores; None is any.
        graceful_s: Between SIGTERM and SIGKILL.
    """

    run: tuple[str, ...]
    metric: str
    mode: Mode
    defaults: Mapping[str, Any]
    folder: Path
    resume: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    graceful_s: float = 10.0

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> CommandSpec:
        """The same from plain data."""
        lists = {name: tuple(plain.get(name) or ()) for name in ("run", "resume", "test")}
        return cls(**{**plain, **lists, "folder": Path(plain["folder"])})

    @property
    def places(self) -> set[str]:
        """What the command is told of its budget and its surroundings."""
        return places([*self.run, *self.resume])

    @property
    def test_metric(self) -> str:
        return self.metric.replace("val_", "test_", 1)

    def hparams(self) -> type:
        """The hyperparameters as a frozen dataclass with the types of their defaults."""
        fields = [(name, type(value), field(default=value)) for name, value in self.defaults.items()]
        return dataclasses.make_dataclass("Hparams", fields, frozen=True, kw_only=True)

    def run_line(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
        """The program with all its arguments, values in full precision."""
        rest = [name for name in self.defaults if name not in self.places]
        flags = [
            token for name in rest for token in flagged(self.flags.get(name, f"--{name}"), hparams[name])
        ]
        return [*filled(self.run, {**values, **hparams}), *flags]

    def test_line(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
        """The command of the test set: it takes the hyperparameters it has a place for, and no flags."""
        return filled(self.test, {**values, **hparams})

    def resume_arguments(self, hparams: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
        return filled(self.resume, {**values, **hparams})
