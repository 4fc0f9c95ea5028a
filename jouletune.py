"""Searches from Python: `jouletune.search(space, ...)` and `jouletune.open(run)`.

Importing this loads nothing; what is behind it is search/api.py, loaded when a name is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from search.api import Best, Result, open, search

__all__ = ["Best", "Result", "open", "search"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"jouletune has no {name!r}; it has {', '.join(__all__)}")
    from search import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
