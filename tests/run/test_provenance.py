"""What a run ran on and with."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from search import provenance
from search.provenance import describe_environment


def test_versions_machine_and_command_are_there_and_fit_in_json() -> None:
    described = json.loads(json.dumps(describe_environment(["search.py", "--space", "x"])))
    assert described["command"] == ["search.py", "--space", "x"]
    assert described["python"] == sys.version.split()[0]
    assert re.fullmatch(r"\d+\.\d+.*", described["packages"]["optuna"])
    assert described["num_cpus"] >= 1
    assert described["devices"]


def test_a_package_that_is_not_installed_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("no-such-package",))
    assert describe_environment([])["packages"] == {"no-such-package": None}


def test_a_machine_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert describe_environment([])["git"] is None


def test_a_git_that_hangs_costs_the_commit_and_not_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert describe_environment([])["git"] is None
