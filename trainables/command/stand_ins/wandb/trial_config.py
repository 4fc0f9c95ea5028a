"""`wandb.config`: the script's own settings, overridden by the trial's."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_CONFIG = "JOULETUNE_WANDB_CONFIG"


class Config:
    """`wandb.config`: the script's settings by key or attribute, with the trial's locked."""

    def __init__(self) -> None:
        self.begin_run({}, {})

    def begin_run(self, values: dict[str, Any], locked: Mapping[str, Any]) -> None:
        """Begin a run with the script's values and the trial's, which are locked."""
        self.__dict__["_values"] = {**values, **locked}
        self.__dict__["_locked"] = set(locked)

    def update(self, given: Any = None, allow_val_change: bool | None = None, **more: Any) -> None:
        """Update settings. Those of the trial keep the trial's values, as in a sweep."""
        for name, value in {**plain_settings(given), **more}.items():
            self[name] = value

    def setdefaults(self, given: Any) -> dict[str, Any]:
        for name, value in plain_settings(given).items():
            self._values.setdefault(name, value)
        return self.as_dict()

    def as_dict(self) -> dict[str, Any]:
        return dict(self._values)

    def get(self, *args: Any) -> Any:
        return self._values.get(*args)

    def keys(self) -> Any:
        return self._values.keys()

    def values(self) -> Any:
        return self._values.values()

    def items(self) -> Any:
        return self._values.items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._locked:
            self._values[name] = value
        elif value != self._values[name]:
            print(
                f"wandb: {name} is the trial's, {self._values[name]!r}; {value!r} is ignored", file=sys.stderr
            )

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"wandb.config has no {name}; it has {', '.join(values) or 'nothing'}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return repr(self._values)


def of_trial() -> dict[str, Any]:
    """The trial's hyperparameters; none if the script is run by hand."""
    path = os.environ.get(_CONFIG)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else {}


def plain_settings(given: Any) -> dict[str, Any]:
    """Return a mapping, an argparse.Namespace, a dataclass or one of W&B's YAML files as a dictionary."""
    if given is None:
        return {}
    if isinstance(given, str | os.PathLike):
        yaml = importlib.import_module("yaml")
        loaded = yaml.safe_load(Path(given).read_text(encoding="utf-8")) or {}
        return {
            name: value["value"] if isinstance(value, dict) and "value" in value else value
            for name, value in loaded.items()
            if name != "wandb_version"
        }
    if isinstance(given, Mapping | Config):
        return dict(given.items())
    return {name: value for name, value in vars(given).items() if not name.startswith("_")}
