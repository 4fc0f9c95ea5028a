"""Tab completion, as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What pip writes for the console script jouletune.
INSTALLED = "import sys\nfrom search.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a run and the installed command, to type in."""
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "results" / "mine" / "journal.jsonl").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "jouletune").write_text(INSTALLED)
    return tmp_path


def completed(line: str, folder: Path, script: Path, *, start: int = 1) -> set[str]:
    """What argcomplete's shell function would offer after `line`, which `start` words begin."""
    answer = folder / "answer"
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_ARGCOMPLETE": str(start),
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run([sys.executable, str(script)], env=environ, cwd=folder, check=True, capture_output=True)
    return {word.strip() for word in answer.read_text().splitlines()} if answer.exists() else set()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("search.py --space lr_", {"lr_bs.yaml"}),
        ("search.py --dry", {"--dry-run"}),
        ("promote.py mi", {"mine"}),
        ("export.py mine --opt", {"--optuna"}),
    ],
)
def test_a_shell_is_offered_flags_spaces_and_runs(folder: Path, line: str, words: set[str]) -> None:
    assert completed(line, folder, ROOT / "scripts" / line.split()[0]) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("jouletune se", {"search"}),
        ("jouletune check", {"check", "check-energy"}),
        ("jouletune search --space lr_", {"lr_bs.yaml"}),
        ("jouletune search --dry", {"--dry-run"}),
        ("jouletune promote mi", {"mine"}),
        ("jouletune check-energy mi", {"mine"}),
        ("jouletune export mine --opt", {"--optuna"}),
        ("jouletune new tr", {"trainable"}),
        ("jouletune no-such-command --", set()),
    ],
)
def test_the_one_command_is_offered_its_commands_and_their_flags_spaces_and_runs(
    folder: Path, line: str, words: set[str]
) -> None:
    assert completed(line, folder, folder / "bin" / "jouletune") == words


def test_python_before_the_command_is_no_word_of_it(folder: Path) -> None:
    script = folder / "bin" / "jouletune"
    assert completed(f"python {script} search --dry", folder, script, start=2) == {"--dry-run"}


def test_argcomplete_finds_that_the_installed_command_completes(folder: Path) -> None:
    """As its shell function asks: by the entry point, and the marker in the module that it names."""
    metadata = folder / "jouletune-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: jouletune\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[console_scripts]\njouletune = search.cli:main\n")
    subprocess.run(
        [sys.executable, "-m", "argcomplete._check_console_script", str(folder / "bin" / "jouletune")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        cwd=folder,
        check=True,
    )
