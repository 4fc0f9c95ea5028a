"""CUDA's MPS around a search: started, found, refused and ended; with a stand-in for NVIDIA's program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from search.backends.mps import mps

# What nvidia-cuda-mps-control does, as far as it is used: a daemon is a file in its folder of pipes.
STAND_IN = """#!/bin/bash
pipes="${CUDA_MPS_PIPE_DIRECTORY:-$DEFAULT_PIPES}"
echo "$* $(test -t 0 || cat | tr '\\n' ' ')pipes=$pipes gpus=${CUDA_VISIBLE_DEVICES-all}" >> "$CALLS"
"""
WORKS = """
case "$1" in
-d) touch "$pipes/control" ;;
*) test -e "$pipes/control" || { echo "Cannot find MPS control daemon process" >&2; exit 1; }
   tail -n 1 "$CALLS" | grep -q quit && rm "$pipes/control" ;;
esac
exit 0
"""
REFUSES = """
test "$1" = -d && { echo "The control daemon is not supported on this device" >&2; exit 1; }
exit 1
"""
MUTE = """
test "$1" = -d && { echo "Failed to create the log" > "$CUDA_MPS_LOG_DIRECTORY/control.log"; exit 0; }
exit 1
"""


class Machine:
    """A machine with a stand-in on its PATH, and what was said."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.default_pipes = folder / "default"
        self.default_pipes.mkdir()
        self.said: list[str] = []
        self.warned: list[str] = []

    def run(self, during: Callable[[], None] = lambda: None, *, gpus: int = 1, here: bool = True) -> None:
        with mps(say=self.said.append, warn=self.warned.append, num_gpus=gpus, is_here=here):
            during()

    def called(self) -> list[str]:
        return [line.split(" pipes=")[0].strip() for line in self.calls.read_text().splitlines()]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("CALLS", str(made.calls))
    monkeypatch.setenv("DEFAULT_PIPES", str(made.default_pipes))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return made


def install(folder: Path, does: str) -> None:
    program = folder / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    program.write_text(STAND_IN + does)
    program.chmod(0o755)


def test_a_daemon_of_the_searchs_own_is_started_and_ended(machine: Machine, tmp_path: Path) -> None:
    install(tmp_path, WORKS)
    seen = []

    def during() -> None:
        seen.append(Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"]))
        assert (seen[0] / "control").exists()
        assert Path(os.environ["CUDA_MPS_LOG_DIRECTORY"]).is_dir()

    machine.run(during)
    assert machine.said == [
        "mps: nvidia-cuda-mps-control was started: trials on one GPU compute at the same time; it ends with "
        "the search"
    ]
    assert machine.warned == []
    assert machine.called() == ["get_server_list", "-d", "get_server_list", "quit"]
    started = machine.calls.read_text().splitlines()[1]
    assert started.endswith("gpus=all")  # it numbers those that it sees
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert not seen[0].exists()


def test_it_ends_although_the_search_fails(machine: Machine, tmp_path: Path) -> None:
    install(tmp_path, WORKS)

    def during() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.run(during)
    assert machine.called()[-1] == "quit"


def test_a_daemon_that_is_there_is_used_and_left_running(machine: Machine, tmp_path: Path) -> None:
    install(tmp_path, WORKS)
    (machine.default_pipes / "control").touch()
    machine.run()
    assert machine.said == [
        "mps: a daemon runs already (its pipes are in /tmp/nvidia-mps): trials use it, and it is left running"
    ]
    assert machine.called() == ["get_server_list"]
    assert (machine.default_pipes / "control").exists()


@pytest.mark.parametrize(
    ("does", "why"),
    [
        (
            REFUSES,
            "nvidia-cuda-mps-control does not start: The control daemon is not supported on this device",
        ),
        (MUTE, "nvidia-cuda-mps-control does not start: Failed to create the log"),
    ],
)
def test_a_driver_that_does_not_allow_it_is_told_of(
    machine: Machine, tmp_path: Path, does: str, why: str
) -> None:
    install(tmp_path, does)
    machine.run(
        lambda: (
            pytest.fail("the daemon's settings are set") if "CUDA_MPS_LOG_DIRECTORY" in os.environ else None
        )
    )
    assert machine.warned == [f"mps: auto: {why}; trials that share a GPU take turns to compute"]
    assert machine.said == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "nvidia-cuda-mps-control is not on PATH; it comes with NVIDIA's driver"),
        ({"gpus": 0}, "there is no GPU here"),
        ({"here": False}, "it is started only on this machine; on a cluster run nvidia-cuda-mps-control -d"),
    ],
)
def test_without_a_program_a_gpu_or_on_a_cluster_the_reason_is_given(
    machine: Machine, given: dict[str, int], why: str
) -> None:
    machine.run(**given)  # type: ignore[arg-type]
    assert len(machine.warned) == 1
    assert machine.warned[0].startswith(f"mps: auto: {why}")


def test_one_that_has_ended_before_is_told_of(machine: Machine, tmp_path: Path) -> None:
    install(tmp_path, WORKS)
    machine.run(lambda: Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"], "control").unlink())
    assert machine.warned == [
        "mps: the daemon had ended before the search did: Cannot find MPS control daemon process"
    ]


@pytest.mark.gpu
def test_two_processes_compute_on_one_gpu_through_the_real_daemon() -> None:
    said: list[str] = []
    warned: list[str] = []
    code = "import torch; print(float(torch.ones(9, device='cuda').sum()))"
    with mps(say=said.append, warn=warned.append, num_gpus=1):
        both = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in "ab"
        ]
        assert [each.communicate()[0].strip() for each in both] == ["9.0", "9.0"]
    assert len(said) + len(warned) == 1
