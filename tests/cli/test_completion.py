"""Tab completion, as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def completed(line: str, folder: Path) -> set[str]:
    """What argcomplete's shell function would offer after `line`."""
    answer = folder / "answer"
    environ = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    script = ROOT / "scripts" / line.split()[0]
    subprocess.run([sys.executable, str(script)], env=environ, cwd=folder, check=True)
    return {word.strip() for word in answer.read_text().splitlines()}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("search.py --space lr_", {"lr_bs.yaml"}),
        ("search.py --dry", {"--dry-run"}),
        ("promote.py mi", {"mine"}),
        ("export.py mine --opt", {"--optuna"}),
    ],
)
def test_a_shell_is_offered_flags_spaces_and_runs(tmp_path: Path, line: str, words: set[str]) -> None:
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "results" / "mine" / "journal.jsonl").touch()
    assert completed(line, tmp_path) == words
