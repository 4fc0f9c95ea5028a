"""The submodules of `wandb` that scripts and loggers import; for any other an error names the alternative."""

from __future__ import annotations

import importlib.abc
import secrets
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_OWN = ("wandb.modules", "wandb.trial_config")


def add_modules(package: ModuleType, hint: str) -> None:
    """Make imports such as `import wandb.errors` find the members of the package.

    Args:
        hint: What to do about a module that the stand-in lacks.
    """
    error = package.Error
    modules: dict[str, dict[str, Any]] = {
        "errors": dict.fromkeys(("Error", "CommError", "UsageError", "AuthenticationError"), error),
        "util": {"generate_id": _generate_id},
        "plot": {"__getattr__": lambda name: _chart(package, name)},
        "sdk": {},
        "sdk.lib": {"RunDisabled": type("RunDisabled", (), {})},  # Lightning checks the type of its run
        "sdk.lib.config_util": {"ConfigError": error},  # Hugging Face's trainer expects it
        "sdk.wandb_run": {"Run": package.Run},
        "wandb_run": {"Run": package.Run},
    }
    for name, content in modules.items():
        module = ModuleType(f"wandb.{name}")
        module.__dict__.update(content, __path__=[])
        sys.modules[module.__name__] = module
        above, _, last = module.__name__.rpartition(".")
        setattr(sys.modules[above], last, module)
    sys.meta_path.append(_Missing(hint))


class _Missing(importlib.abc.MetaPathFinder):
    """The last finder: its error names the missing module, as a script may expect and tolerate it."""

    def __init__(self, hint: str) -> None:
        self._hint = hint

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith("wandb.") and fullname not in _OWN:
            raise ModuleNotFoundError(
                f"the search's stand-in for wandb has no module {fullname}; {self._hint}", name=fullname
            )
        return None


def _chart(package: ModuleType, name: str) -> Any:
    """Functions such as `wandb.plot.scatter`, which return something to view."""
    if name.startswith("__"):
        raise AttributeError(name)
    return package.Image


def _generate_id(length: int = 8) -> str:
    return secrets.token_hex(length)[:length]
