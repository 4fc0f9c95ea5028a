"""Where a run keeps its files, and how they are read: every file name under results/ is defined here.

Names in the folder of one training are in `search/trial/trial_folder.py`; names of tables are in
`search/tables/`.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from search.ledger.events import EventChecker
from search.ledger.history import History
from search.ledger.journal import Journal, LedgerError
from search.space import Space, load_space
from search.space.yaml_file import Override
from search.trial.trial_folder import TrialFolder
from trainables.core.files import is_safe_name

_JOURNAL, _BASELINE = "journal.jsonl", "baseline"
_MOST_LISTED = 5  # runs in a message


class RunFolder:
    """A run's folder, for reading.

    Args:
        folder: `results/<run>`.
        clock: Seconds since the epoch.

    Attributes:
        journal: What happened, line by line: the only source of truth.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder.absolute()
        self.journal = Journal(self.folder / _JOURNAL, make_check=lambda: EventChecker().check, clock=clock)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the folder of an earlier run.

        Raises:
            LedgerError: There is no run in it.
        """
        opened = cls(folder)
        if not opened.has_run:
            raise LedgerError(f"{folder} holds no run (no {_JOURNAL} in it){suggest_run(folder)}")
        return opened

    @property
    def has_run(self) -> bool:
        """Whether there is a journal: a run is what its journal records."""
        return self.journal_file.is_file()

    @property
    def has_files(self) -> bool:
        """Whether trials left something here, with or without a journal."""
        return bool(self.trials_left())

    @property
    def journal_file(self) -> Path:
        """The journal, whose presence makes the folder a run's."""
        return self.folder / _JOURNAL

    @property
    def lock_file(self) -> Path:
        return self.folder / ".lock"

    @property
    def bucket_file(self) -> Path:
        """The file with the address of the run in a bucket, if this folder is its state on this machine."""
        return self.folder / ".bucket"

    @property
    def address(self) -> str:
        """How a command names the run: by its address in a bucket, if it has one, else by its folder."""
        try:
            text = self.bucket_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return str(self.folder)
        return text if "://" in text and text.isprintable() else str(self.folder)

    @property
    def space_file(self) -> Path:
        """The space as it was resolved, overrides included."""
        return self.folder / "space.yaml"

    @property
    def environment_file(self) -> Path:
        """The machine and versions of the latest session."""
        return self.folder / "environment.json"

    @property
    def forecast_file(self) -> Path:
        """The first forecast, which the outcome is compared with."""
        return self.folder / "forecast.json"

    @property
    def promoted_file(self) -> Path:
        """The configurations that were trained in full, compared."""
        return self.folder / "promoted.csv"

    @property
    def report_file(self) -> Path:
        """The page of the run."""
        return self.folder / "report.html"

    @property
    def plots_folder(self) -> Path:
        """The plots of the page as PNG."""
        return self.folder / "plots"

    @property
    def trials_folder(self) -> Path:
        return self.folder / "trials"

    def trials_left(self) -> list[str]:
        """The trials that have a folder; what a file manager leaves beside them (.DS_Store) is none."""
        return sorted(path.name for path in self.trials_folder.glob("trial-*") if path.is_dir())

    @property
    def set_aside_folder(self) -> Path:
        """Folders of trials that the journal does not know."""
        return self.folder / "set-aside"

    @property
    def promotion_folder(self) -> Path:
        """The run of the promoted trials."""
        return self.folder / "promotion"

    @property
    def slurm_script(self) -> Path:
        """The batch script of a search that Slurm runs."""
        return self.folder / "slurm.sh"

    def slurm_log(self, job: str) -> Path:
        """The output of the search in the job of this number."""
        return self.folder / f"slurm-{job}.log"

    def baseline_folder(self, name: str) -> Path:
        """The run of a baseline that promoted trials are compared with, named by its trainable."""
        return self.folder / f"{_BASELINE}-{name}"

    def part_folders(self) -> list[Path]:
        """The folders of promotions and their baselines, repeated ones too, with or without a journal."""
        first = (self.promotion_folder.name, _BASELINE)
        return [path for name in first for path in sorted(self.folder.glob(f"{name}*"))]

    def parts(self) -> list[Self]:
        """The runs of promotions and their baselines, including repeated ones."""
        return [part for folder in self.part_folders() if (part := type(self)(folder)).has_run]

    def trial(self, trial_id: str) -> TrialFolder:
        """The folder of a trial, whether or not it exists."""
        return TrialFolder(self.trials_folder / trial_id)

    def trial_folder(self, trial_id: str) -> Path:
        return self.trial(trial_id).path

    def read_space(self, overrides: Sequence[Override] = (), *, is_of_run: bool = True) -> Space:
        """Read the space of the run.

        Args:
            overrides: Keys and values as written after --set.
            is_of_run: Never import the trainable: a run's folder may come from others, and reading it
                must run nothing. False is for commands that train anyway.

        Raises:
            SpaceError: The run's copy of its space cannot be used.
        """
        return load_space(
            str(self.space_file),
            overrides=overrides,
            spaces_dir=self.folder,
            may_be_fixed=True,
            is_of_run=is_of_run,
        )

    def read_history(self) -> History:
        """Read what has happened to each trial from the journal.

        Raises:
            LedgerError: The journal cannot be trusted.
        """
        return History(self.events())

    def events(self) -> list[dict[str, Any]]:
        """Every event, oldest first. A last line that a kill cut short is left out.

        Raises:
            LedgerError: A line cannot be trusted, and no kill left it so.
        """
        return self.journal.events()

    def environment(self) -> dict[str, Any]:
        """What environment.json says of the last session; empty if it is missing or damaged."""
        try:
            content = json.loads(self.environment_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def runs_in(folder: Path) -> list[Path]:
    """The folders of the runs in `folder`, the most recently written first."""
    journals = [path for path in folder.glob(f"*/{_JOURNAL}") if path.is_file()]
    return [path.parent for path in sorted(journals, key=lambda path: -path.stat().st_mtime)]


def named_folder(results: Path, name: str) -> Path:
    """The folder of the run of this name.

    Raises:
        LedgerError: It would not be in `results`.
    """
    if not is_safe_name(name):
        raise LedgerError(
            f"a run cannot be named {name!r}: its name is that of a folder in {results} (up to 120 "
            "characters, no slash, no control characters, and no dot, hyphen or space first)"
        )
    return results / name


def fresh_folder(folder: Path) -> Path:
    """The first of `folder`, `folder-2`, `folder-3` and so on that holds no run and no trials."""
    number = 1
    fresh = folder
    while RunFolder(fresh).has_run or RunFolder(fresh).has_files:
        number += 1
        fresh = folder.with_name(f"{folder.name}-{number}")
    return fresh


def suggest_run(folder: Path) -> str:
    """The end of a sentence that names the run nearest to `folder`, or the newest there are.

    Empty if there is no run in the folder, beside it, or in a `results` folder beside it.
    """
    if inside := runs_in(folder):
        return _runs_text(inside, "it contains the runs ")
    beside = runs_in(folder.parent)
    near = difflib.get_close_matches(folder.name, [run.name for run in beside], n=1)
    if near:
        return f"; did you mean {folder.parent / near[0]}?"
    return _runs_text(beside or runs_in(folder.parent / "results"), "there are ")


def _runs_text(runs: Sequence[Path], words: str) -> str:
    if not runs:
        return ""
    if len(runs) == 1:
        return f"; did you mean {runs[0]}?"
    more = f" and {len(runs) - _MOST_LISTED} older ones" if len(runs) > _MOST_LISTED else ""
    return f"; {words}{', '.join(map(str, runs[:_MOST_LISTED]))}{more}"
