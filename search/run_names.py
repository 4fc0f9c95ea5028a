"""Resolves the names of runs, and writes a space as the commands in messages need it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from search.bucket.address import Address, is_address
from search.bucket.fetch import fetch_copy
from search.ledger import Ledger
from search.ledger.history import History
from search.output import Output
from search.space import Space, SpaceSource
from search.space.yaml_file import Override, override_text

_T = TypeVar("_T")
_WITHOUT_FILES = ("search.limits.", "search.resources.", "search.seed=")  # keys that no file depends on


def run_folder(given: str | Path, results: Path, *, with_states: bool = False) -> Path:
    """Return the folder that `given` means: a path, or a name in `results`; a bucket's run is fetched.

    If both exist, the one that holds a run is meant: photographs and a run about them may well share a name.

    Args:
        with_states: Fetch the checkpoints too.

    Raises:
        BucketError: The bucket has no such run, or does not answer.
    """
    if (address := run_address(given, results)) is not None:
        return fetch_copy(address, with_states=with_states, warn=Output(has_json=True).warn)
    folder = Path(given)
    named = results / folder
    if len(folder.parts) > 1 or is_address(results) or Ledger(folder).has_run:
        return folder
    return named if Ledger(named).has_run or not folder.exists() else folder


def run_address(given: str | Path, results: Path) -> Address | None:
    """Return the bucket's run that `given` means: an address, or a name in `results`; None for a folder.

    Raises:
        BucketError: The address cannot be used.
    """
    if is_address(given):
        return Address.parse(given)
    if not is_address(results) or len(Path(given).parts) > 1 or Ledger(Path(given)).has_run:
        return None
    return Address.parse(results).child(str(given))


def opened_run(given: str | Path, results: Path) -> tuple[Ledger, Space, History]:
    """Open a run; return its ledger, space and history.

    Raises:
        LedgerError: There is no run.
        SpaceError: The run's own copy of its space cannot be used.
    """
    ledger = Ledger.open(run_folder(given, results))
    return ledger, ledger.read_space(), ledger.read_history()


def named_run(given: str | Path, results: Path) -> tuple[Path, str, str]:
    """Return the folder of runs or bucket that a run is in, its name, and the file of its own space.

    Raises:
        LedgerError: There is no run.
    """
    folder = run_folder(given, results).absolute()
    space_file = str(Ledger.open(folder).space_file)
    if (address := run_address(given, results)) is not None:
        return Path(str(address.parent)), address.name, space_file
    return folder.parent, folder.name, space_file


def earlier_run_overrides(
    warm_start: str | Path | Sequence[str | Path], portfolio: str | Path | Sequence[str | Path], results: Path
) -> list[Override]:
    """Return the overrides of a space that name these earlier runs by their folders."""
    given: list[Override] = []
    if warm_start:
        given.append(("search.warm_start", _folders(warm_start, results)))
    if portfolio:
        given += [("search.start", "portfolio"), ("search.portfolio.runs", _folders(portfolio, results))]
    return given


def one_or_more(given: str | Path | Mapping[str, Any] | Sequence[_T]) -> Sequence[_T]:
    """Return the items; a single name, path or space is one, rather than its letters or keys."""
    return [cast(_T, given)] if isinstance(given, str | Path | Mapping) else given


def _folders(runs: str | Path | Sequence[str | Path], results: Path) -> list[str]:
    return [str(run_folder(run, results).resolve()) for run in one_or_more(runs)]


def space_words(space: SpaceSource, overrides: Sequence[Override]) -> str:
    """Return what to write after --space so that preflight fetches the same files: the space, and each --set.

    Limits, resources and the seed are left out: no file depends on them, and --trials 2 would come back as
    --set search.limits.trials=2.

    A space given as a mapping becomes SPACE, because nothing is known of how it was made.
    """
    if isinstance(space, Mapping):
        return "SPACE"
    flags = [flag for given in overrides if not (flag := _flag(given))[1].startswith(_WITHOUT_FILES)]
    return shlex.join([str(space), *(word for flag in flags for word in flag)])


def _flag(override: Override) -> tuple[str, str]:
    """Return the flag for an override: --data if possible, else --set."""
    if not isinstance(override, str):
        key, value = override
        if key == "search.data" and isinstance(value, str):
            return "--data", value
    return "--set", override_text(override)
