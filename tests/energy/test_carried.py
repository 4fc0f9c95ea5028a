"""What one run learns of a GPU's watts serves the next, and the row says that it is an earlier run's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from search.energy.attribution.account import Device, DeviceAccount
from search.energy.attribution.learning import WattsPerUtilisation
from search.energy.attribution.window_view import WindowView
from search.energy.attribution.windows import Window
from search.energy.counters.gpu import GpuTelemetry
from search.launch import _known_watts
from search.ledger import Ledger
from search.ledger.history import History
from tests.support.fake_device import FakeActivity, FakeCounter
from tests.support.toy_runs import made_space


class H100(GpuTelemetry):
    model = "H100"


class RayCluster:
    """Two halves of a GPU, one at work on what takes 300 W at full use, the other on 100 W."""

    def __init__(self, known_w: dict[str, dict[str, float]] | None = None) -> None:
        self.counter, self.activity, self.now_s = FakeCounter(), FakeActivity(), 0.0
        device = Device(
            name="GPU-a", kind="gpu", counter=self.counter, activity=self.activity, telemetry=H100()
        )
        self.account = DeviceAccount(device, 0.0, known_w)
        for window, key in (("a", "resnet 32"), ("b", "vit 64")):
            self.account.open(Window(name=window, pid=1, key=key, shares={"GPU-a": Fraction(1, 2)}), 0.0)

    def after(self, seconds: float, moved_mj: int, **use_s: float) -> None:
        self.now_s += seconds
        self.counter.counter_mj = (self.counter.counter_mj or 0) + moved_mj
        self.activity.use_s = dict(use_s)
        self.account.tick(self.now_s)

    def learn(self) -> None:
        for window, moved_mj in (("a", 300_000), ("b", 100_000)):
            self.account.watch.watts.slot_of = window
            for _ in range(3):
                self.after(1, moved_mj, **{window: 1.0})
        self.account.watch.watts.slot_of = ""


def test_a_row_has_the_model_and_what_was_learnt_of_open_windows_too() -> None:
    session = RayCluster()
    session.learn()
    row = session.account.row()
    assert (row["gpu_model"], row["learnt_w"]) == ("H100", {"resnet 32": 300.0, "vit 64": 100.0})


@pytest.mark.parametrize(
    ("known_w", "a_mj", "is_earlier"),
    [
        ({"H100": {"resnet 32": 300.0, "vit 64": 100.0}}, 750_000, True),
        ({"A100": {"resnet 32": 300.0, "vit 64": 100.0}}, 500_000, False),
        ({}, 500_000, False),
    ],
)
def test_the_next_run_splits_by_it_on_the_same_model_and_says_so(
    known_w: dict[str, dict[str, float]], a_mj: int, is_earlier: bool
) -> None:
    session = RayCluster(known_w)
    session.after(5, 1_000_000, a=2.5, b=2.5)
    record = session.account.record("a")
    assert record.used_mj == a_mj
    assert record.method == ("calibrated" if is_earlier else "utilisation")
    reasons = WindowView(accounts=[session.account], records=[record]).reasons()
    text = "GPU-a: calibrated with what an earlier run learnt about this kind of work"
    assert reasons == ([text] if is_earlier else [])


def test_who_works_alone_needs_nobody_s_watts_and_bears_no_label() -> None:
    session = RayCluster({"H100": {"resnet 32": 300.0, "vit 64": 100.0}})
    session.after(5, 1_000_000, a=2.5)
    assert not session.account.record("a").is_by_earlier_run


def test_what_this_run_learns_itself_is_preferred() -> None:
    session = RayCluster({"H100": {"resnet 32": 100.0, "vit 64": 100.0}})
    session.learn()
    session.account.cut(session.now_s)
    before_mj = session.account.record("a").used_mj
    session.after(5, 1_000_000, a=2.5, b=2.5)
    assert session.account.record("a").used_mj - before_mj == 750_000
    assert [session.account.watch.watts.origin(window) for window in "ab"] == ["own", "own"]


def test_an_exclusive_slot_is_still_wanted_where_only_an_earlier_run_knows() -> None:
    watts = WattsPerUtilisation({"resnet": 300.0})
    watts.open("a", "resnet")
    watts.open("b", "resnet")
    assert (watts.known_w("a"), watts.origin("a")) == (300.0, "earlier_run")
    assert watts.wanting() == ["a", "b"]


def with_rows(folder: Path, *sessions: dict[str, float]) -> Ledger:
    """A run whose sessions learnt these watts of an H100."""
    ledger = Ledger.create(folder)
    for learnt_w in sessions:
        ledger.journal.append({"event": "session_started"})
        row = {"gpu_model": "H100", "learnt_w": learnt_w, "energy_idle_j": 0.0}
        ledger.journal.append(
            {"event": "devices_read", "rows": [row, {"energy_idle_j": 0.0}], "is_final": True}
        )
    return ledger


def test_the_journal_keeps_the_latest_of_each_kind_of_work(tmp_path: Path) -> None:
    ledger = with_rows(tmp_path / "run", {"resnet": 300.0, "vit": 100.0}, {"resnet": 310.0})
    assert History(ledger.events()).sessions.learnt_w == {"H100": {"resnet": 310.0, "vit": 100.0}}


def test_a_run_starts_from_its_own_watts_before_those_of_the_runs_it_is_warmed_by(tmp_path: Path) -> None:
    other = with_rows(tmp_path / "other", {"resnet": 200.0, "mlp": 50.0})
    mine = with_rows(tmp_path / "mine", {"resnet": 300.0})
    space = made_space(tmp_path, overrides=[f"search.warm_start=[{other.folder}]"])
    assert _known_watts(mine, space) == {"H100": {"resnet": 300.0, "mlp": 50.0}}
