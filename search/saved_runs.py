"""Runs on disk, as people name them, and the words with which a message names a space."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.ledger import Ledger
from search.ledger.history import History
from search.space import Space
from search.space.yaml_file import Override

_WITHOUT_FILES = ("search.limits.", "search.resources.", "search.seed=")  # keys that decide on no file


def run_folder(given: str | Path, results: Path) -> Path:
    """The folder that `given` means: itself, or a name in `results`.

    Of both the one that holds a run: photographs and the run about them may well have one name.
    """
    folder = Path(given)
    named = results / folder
    if len(folder.parts) > 1 or Ledger(folder).has_run:
        return folder
    return named if Ledger(named).has_run or not folder.exists() else folder


def opened_run(given: str | Path, results: Path) -> tuple[Ledger, Space, History]:
    """The ledger of a run, its space, and what has happened in it.

    Raises:
        LedgerError: There is no run.
        SpaceError: Its own copy of its space cannot be used.
    """
    ledger = Ledger.open(run_folder(given, results))
    return ledger, ledger.read_space(), ledger.read_history()


def override_list(overrides: Mapping[str, Any] | Sequence[str]) -> list[Override]:
    """Overrides as `load_space` takes them: KEY=VALUE as after --set, or keys with values of Python's."""
    return list(overrides.items()) if isinstance(overrides, Mapping) else list(overrides)


def space_words(space: str, overrides: Sequence[Override]) -> str:
    """What to write after --space so that preflight fetches the same files: the space, and each --set.

    How many trials, how long and how many at a time are left out: no file depends on them, and --trials 2
    would come back as --set search.limits.trials=2.
    """
    texts = [
        given if isinstance(given, str) else f"{given[0]}={json.dumps(given[1], default=str)}"
        for given in overrides
    ]
    texts = [text for text in texts if not text.startswith(_WITHOUT_FILES)]
    return " ".join([shlex.quote(space), *(f"--set {shlex.quote(text)}" for text in texts)])
