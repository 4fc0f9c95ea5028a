"""The CPU governor held for a run, on a made /sys tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search import launch
from search.energy.governor import GovernorError, held_governor, left_over, state_file
from tests.support.run_without_ray import search_without_ray
from tests.support.toy_runs import TOY

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cpus(tmp_path: Path) -> Path:
    """Three cores at schedutil, one of them at powersave."""
    for core, governor in {"cpu0": "schedutil", "cpu1": "schedutil", "cpu2": "powersave"}.items():
        folder = tmp_path / "cpus" / core / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_available_governors").write_text("performance schedutil powersave\n")
        (folder / "scaling_governor").write_text(f"{governor}\n")
    return tmp_path / "cpus"


def governors(cpus: Path) -> list[str]:
    return [path.read_text().strip() for path in sorted(cpus.glob("cpu*/cpufreq/scaling_governor"))]


AS_BEFORE = ["schedutil", "schedutil", "powersave"]


def test_all_cores_are_held_and_each_gets_its_own_back(cpus: Path, tmp_path: Path) -> None:
    printed: list[str] = []
    with held_governor("performance", tmp_path / "state", say=printed.append, warn=printed.append, cpus=cpus):
        assert governors(cpus) == ["performance"] * 3
        assert (tmp_path / "state").exists()
    assert governors(cpus) == AS_BEFORE
    assert not (tmp_path / "state").exists()
    assert printed == ["governor: performance on 3 cores for this run, powersave+schedutil after it"]


@pytest.mark.parametrize("ending", [ValueError, KeyboardInterrupt])
def test_an_exception_puts_the_governor_back(ending: type[BaseException], cpus: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ending),
        held_governor("performance", tmp_path / "state", say=print, warn=print, cpus=cpus),
    ):
        raise ending
    assert governors(cpus) == AS_BEFORE


HOLDING = """
import os, sys
from pathlib import Path
from search import launch
from search.energy.governor import held_governor
with held_governor("performance", Path(sys.argv[1]), say=print, warn=print, cpus=Path(sys.argv[2])):
    os.kill(os.getpid(), int(sys.argv[3]))
    sys.exit("the signal was not taken")
"""


def killed_by(number: signal.Signals, cpus: Path, state: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", HOLDING, state, cpus, str(int(number))],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_puts_the_governor_back(number: signal.Signals, cpus: Path, tmp_path: Path) -> None:
    assert killed_by(number, cpus, tmp_path / "state") != 0
    assert governors(cpus) == AS_BEFORE
    assert not (tmp_path / "state").exists()


def test_what_a_killed_run_left_is_reported_and_the_next_hold_puts_the_first_ones_back(
    cpus: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    assert killed_by(signal.SIGKILL, cpus, state) == -signal.SIGKILL
    assert governors(cpus) == ["performance"] * 3
    assert left_over(state, cpus=cpus) == (
        "a run that was killed left the CPU governor at performance; before it was powersave+schedutil. "
        f"To restore it:\necho powersave | sudo tee {cpus}/{{cpu2}}/cpufreq/scaling_governor\n"
        f"echo schedutil | sudo tee {cpus}/{{cpu0,cpu1}}/cpufreq/scaling_governor\nrm {state}"
    )
    with held_governor("performance", state, say=print, warn=print, cpus=cpus):
        pass
    assert governors(cpus) == AS_BEFORE
    assert left_over(state, cpus=cpus) == ""


def test_a_reboot_has_undone_what_a_killed_run_left(cpus: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    killed_by(signal.SIGKILL, cpus, state)
    state.write_text(json.dumps({**json.loads(state.read_text()), "boot_id": "an earlier one"}))
    assert left_over(state, cpus=cpus) == ""


def test_two_runs_do_not_hold_the_governor_at_a_time(cpus: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with held_governor("performance", state, say=print, warn=print, cpus=cpus):
        assert left_over(state, cpus=cpus) == ""
        with (
            pytest.raises(GovernorError, match=f"process {os.getpid()} holds it at performance"),
            held_governor("powersave", state, say=print, warn=print, cpus=cpus),
        ):
            pass
        assert governors(cpus) == ["performance"] * 3


def test_without_rights_the_message_says_what_to_do_and_nothing_stays_changed(
    cpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, write_text = cpus / "cpu1" / "cpufreq" / "scaling_governor", Path.write_text

    def write(path: Path, text: str) -> int:
        if path == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", write)
    with (
        pytest.raises(GovernorError) as refusal,
        held_governor("performance", tmp_path / "state", say=print, warn=print, cpus=cpus),
    ):
        pass
    assert str(refusal.value) == (
        f"--governor performance: {refused} cannot be written (Permission denied). Run as root, or "
        "leave the flag out and set it before the run: "
        f"echo performance | sudo tee {cpus}/cpu*/cpufreq/scaling_governor"
    )
    assert governors(cpus) == AS_BEFORE
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("governor", "folder", "message"),
    [
        ("fast", "cpus", "--governor must be one of performance, schedutil, powersave, got fast"),
        ("performance", "absent", "this machine shows no frequency governor"),
    ],
)
def test_a_governor_that_is_not_there_is_named(
    governor: str, folder: str, message: str, cpus: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(GovernorError, match=message),
        held_governor(governor, tmp_path / "state", say=print, warn=print, cpus=cpus.with_name(folder)),
    ):
        pass


def test_the_search_command_holds_it_and_says_what_was_left(
    cpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "CPUS", cpus)
    (tmp_path / "toy.yaml").write_text(TOY)
    during: list[list[str]] = []
    command = search_without_ray(monkeypatch, lambda run: during.append(governors(cpus)))
    flags = ("--space", tmp_path / "toy.yaml", "--results", tmp_path, "--trials", 1)
    assert command(*flags, "--governor", "performance", "--name", "one") == 0
    assert (during, governors(cpus)) == ([["performance"] * 3], AS_BEFORE)
    killed_by(signal.SIGKILL, cpus, state_file(tmp_path))
    assert command(*flags, "--name", "two") == 0
    assert "a run that was killed left the CPU governor at performance" in capsys.readouterr().out


def test_a_cluster_keeps_its_governors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.yaml").write_text(TOY)
    command = search_without_ray(monkeypatch)
    flags = ("--space", tmp_path / "toy.yaml", "--results", tmp_path, "--name", "run")
    assert command(*flags, "--governor", "performance", "--address", "127.0.0.1:1") == 2
    assert "set it by hand on the nodes behind --address" in capsys.readouterr().err
