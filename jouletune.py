"""Python interface: `jouletune.search(space, ...)`, `jouletune.open(run)`, and the other commands.

`jouletune.load_model(folder)`, `predict` and `export_model` use the model of a promoted training, without the
search.

Importing this module loads nothing else: search/api.py and trainables/engine/inference/, which implement it,
are loaded when a name is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from search.api import (
        Best,
        Result,
        export,
        fetch,
        forecast,
        preflight,
        promote,
        report,
        search,
        ship,
        train,
    )
    from search.api import open_run as open
    from trainables.engine.inference import export_model, load_model, predict

__all__ = [
    "Best",
    "Result",
    "export",
    "export_model",
    "fetch",
    "forecast",
    "load_model",
    "open",
    "predict",
    "preflight",
    "promote",
    "report",
    "search",
    "ship",
    "train",
]
_OF_MODELS = ("export_model", "load_model", "predict")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"jouletune has no {name!r}; it has {', '.join(__all__)}")
    _prefer_own_packages()
    if name in _OF_MODELS:  # a trained model is used without the search
        from trainables.engine import inference

        return getattr(inference, name)
    from search import api

    return getattr(api, "open_run" if name == "open" else name)


def _prefer_own_packages() -> None:
    """Make `search` and `trainables` mean the packages beside this file, here and in child processes.

    Python looks first in the folder of the running script, and a script that searches may well be called
    search.py.

    Raises:
        ImportError: The caller has already imported another module under one of these names.
    """
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parent
    for name in ("search", "trainables"):
        found = sys.modules.get(name)
        file = getattr(found, "__file__", None)
        if found and not (file and Path(file).resolve().is_relative_to(root / name)):
            raise ImportError(f"{name} is jouletune's, and {file} was imported under this name; rename it")
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))


def __dir__() -> list[str]:
    return __all__


if __name__ == "__main__":  # python -m jouletune
    import sys

    _prefer_own_packages()
    from search.cli import main

    sys.exit(main())
