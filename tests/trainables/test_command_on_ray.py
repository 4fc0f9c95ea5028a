"""The example script by the real commands: searched, killed, resumed, metered and promoted. Slow."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.support.kill_tests import Command
from tests.support.processes import ROOT, typed, wait_for

NUM_TRIALS = 4

pytestmark = pytest.mark.slow

# The node has no sensor, so watts are stated: joules follow the CPU time of each trial's processes.
CHANGES = {
    "folder: .": f"folder: {ROOT / 'spaces'}",
    "ladder: {epochs: [1, 3, 6]}": "ladder: {epochs: [1, 3]}",
    "limits: {trials: 24}": f"limits: {{trials: {NUM_TRIALS}}}\n  resources: {{workers: 2}}",
    "promote: {top: 2, seeds: 3}": (
        "promote: {top: 1, seeds: 1}\n  metering: {cpu_watts_idle: 5, cpu_watts_max: 65}"
    ),
}


def example(folder: Path) -> None:
    """The space in spaces/, smaller, in `folder`."""
    text = (ROOT / "spaces/command.yaml").read_text()
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "slow.yaml").write_text(text)


def scripts_of(folder: Path) -> list[str]:
    """Command lines of processes that write into `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "mnist_script" in line and str(folder) in line:
            found.append(line)
    return found


def test_a_script_is_searched_killed_resumed_metered_and_promoted(tmp_path: Path) -> None:
    example(tmp_path)
    command = Command(tmp_path)
    command.start()
    command.wait_for_events(8)
    command.kill_all()
    wait_for(lambda: not scripts_of(tmp_path))
    command.start()
    assert command.wait_for_end() == 0, command.log.read_text()[-3000:]
    assert scripts_of(tmp_path) == []

    folder = tmp_path / "results/killed"
    table = pd.read_csv(folder / "trials.csv")
    assert table["rank"].tolist() == list(range(1, NUM_TRIALS + 1))
    assert "finished" in set(table["status"]) <= {"finished", "paused", "stopped"}
    assert table["epochs"].max() == 3
    assert table["epochs"].min() < 3
    assert (table["energy_estimated_j"] > 0).all()
    curves = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    for trial in table["trial_id"]:
        epochs = [event["row"]["epoch"] for event in curves if event.get("trial") == trial and "row" in event]
        assert sorted(set(epochs)) == list(range(1, max(epochs) + 1))
    best = table.iloc[0]
    assert f"--lr {float(best['lr'])!r} " in best["notes"]

    done = typed("promote", "killed", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    promoted = pd.read_csv(folder / "promoted.csv")
    assert promoted["test_mean"].between(0, 1).all()
