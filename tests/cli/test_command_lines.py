"""Commands in messages and pages can be typed where they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.command_lines import command_line, typed_command
from search.run.resume import promote_command, search_command
from tests.support.processes import ROOT


def test_a_clone_has_scripts_and_another_folder_the_installed_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert (
        typed_command("check-energy", "results/my run") == "python scripts/check_energy.py 'results/my run'"
    )
    assert typed_command("promote", "r", "--top", 3) == "python scripts/promote.py r --top 3"
    assert typed_command("fetch", "s3://b/r") == "jouletune fetch s3://b/r"  # which is no script
    monkeypatch.chdir(tmp_path)
    assert typed_command("check-energy", "results/my run") == "jouletune check-energy 'results/my run'"


def test_a_promotion_from_python_names_the_command_that_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = promote_command(tmp_path / "r", 2, None, 9, ["hog_svm", "knn"])
    assert command_line(command) == (
        f"jouletune promote {tmp_path}/r --top 2 --epochs 9 --baseline hog_svm --baseline knn"
    )
    given = [("search.trainable", "my file.py"), "search.precision=bf16"]
    assert command_line(promote_command(tmp_path / "r", None, None, None, [], given)) == (
        f"jouletune promote {tmp_path}/r --set 'search.trainable=\"my file.py\"' --set search.precision=bf16"
    )
    assert command_line(search_command(tmp_path / "r", "local", "out")) == (
        f"jouletune search --space {tmp_path}/r/space.yaml --name r --results out --backend local"
    )


def test_a_command_is_repeated_as_it_was_typed() -> None:
    assert command_line(["scripts/search.py", "--name", "a b"]) == "python scripts/search.py --name 'a b'"
    assert command_line(["jouletune", "search"]) == "jouletune search"


def test_no_message_names_a_script_that_may_not_be_at_hand() -> None:
    for folder in ("search", "trainables"):
        for file in (ROOT / folder).rglob("*.py"):
            assert "python scripts/" not in _without_own_examples(file), file


def _without_own_examples(file: Path) -> str:
    """Its text; how `--help` names the scripts is by what was typed."""
    return "" if file.name in {"parser.py", "reference.py", "command_lines.py"} else file.read_text()
