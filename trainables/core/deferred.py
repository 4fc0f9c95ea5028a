"""Functions that are named now and imported when they are first called.

Spaces are checked and `--help` is printed without torch, whose import takes 1 to 3 seconds and 200 MB. So the
`__init__.py` of a model family, which every check of a space imports, names what needs torch without
importing it: `start=deferred("trainables.detection.training:start")`. The import then happens inside the call
of `start`, whose seconds and joules count as the trial's start and not as part of its first epoch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainables.core.contract import Trainable


@dataclass(frozen=True)
class Deferred:
    """A function by module and name. Equal targets compare equal; pickling stores only the target.

    Attributes:
        target: `package.module:function`.
    """

    target: str

    def __post_init__(self) -> None:
        module, colon, function = self.target.partition(":")
        if not (colon and function.isidentifier() and all(map(str.isidentifier, module.split(".")))):
            raise ValueError(f"a deferred function is named package.module:function, got {self.target!r}")

    @property
    def module(self) -> str:
        """The module that defines the function."""
        return self.target.partition(":")[0]

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function itself, under the name that `inspect.unwrap` and `inspect.signature` look for.

        Raises:
            ImportError: The module cannot be imported, or has no such function.
        """
        name = self.target.partition(":")[2]
        function = getattr(importlib.import_module(self.module), name, None)
        if not callable(function):
            text = f"{self.module} has no function {name}, which {self.target!r} names"
            raise ImportError(text, name=self.module)
        found: Callable[..., Any] = function
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


def deferred(target: str) -> Deferred:
    """Return the function that `target` names as `package.module:function`, to be imported when called.

    Raises:
        ValueError: `target` is not of that form. Whether the function exists shows at the first call.
    """
    return Deferred(target)


_BEFORE_A_TRIAL = ("check_data", "check_device", "choose_precision", "rehearse", "start")


def modules_to_load(trainable: Trainable) -> list[str]:
    """The program's own modules that checking and training `trainable` import when they begin."""
    functions = (getattr(trainable, name) for name in _BEFORE_A_TRIAL)
    named = (function.module for function in functions if isinstance(function, Deferred))
    return [module for module in dict.fromkeys(named) if module.startswith("trainables.")]
