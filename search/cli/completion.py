"""What may follow on a command line: names of spaces and runs, else files. For argcomplete."""

from __future__ import annotations

import argparse
from pathlib import Path

from argcomplete.completers import BaseCompleter, FilesCompleter

_RUNS = {"run", "warm_start", "rerun_failed", "compare"}


class Offered(BaseCompleter):
    """The words that begin with what is typed and fit the flag."""

    def __call__(
        self,
        *,
        prefix: str,
        action: argparse.Action,
        parser: argparse.ArgumentParser,
        parsed_args: argparse.Namespace,
    ) -> list[str]:
        words = list(FilesCompleter()(prefix))
        if action.dest == "space":
            from search.space import SPACES

            words += [file.name for file in SPACES.glob("*.yaml")]
        elif action.dest in _RUNS:
            results = Path(getattr(parsed_args, "results", "results"))
            words += [journal.parent.name for journal in results.glob("*/journal.jsonl")]
        return [word for word in words if word.startswith(prefix)]
