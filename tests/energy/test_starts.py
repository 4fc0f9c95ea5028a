"""Seconds and joules that are no training, and epochs that are shorter than a tick of their meter."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from search.accounting.spending import outcome_millijoules
from search.energy.process_meter import open_meter
from search.energy.reading import EnergyReading
from search.ledger.trial_energy import TrialEnergy
from search.trial import Checkpointing, EpochRow, run_task, run_trial
from search.trial.failure import Failure
from search.trial.row import Stretch
from search.trial.task import TrialTask
from tests.support.energy_scenes import Scene, checked, written
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml_library import FakeNvml
from tests.support.fake_powercap import add_zone, set_energy
from tests.support.meters import OneWindow
from trainables.core.contract import Budget, TrainingContext
from trainables.core.deferred import deferred
from trainables.core.load import load_trainable
from trainables.toy import ToyTraining

pytest_plugins = ["tests.support.fake_nvml_library"]
TOY = load_trainable("toy")


class Timed(ToyTraining):
    """A training whose epochs take time and joules."""

    def __init__(self, context: TrainingContext, work: Callable[[], None]) -> None:
        super().__init__(TOY.hparams(), context)
        self._work = work

    def run_epoch(self, budget: Budget) -> dict[str, float]:
        self._work()
        return dict(super().run_epoch(budget))


class Workshop(Scene):
    """A node with one GPU whose trials really run, each part of them taking as long as given.

    Args:
        start: Seconds and joules of each start of a training; `epoch` and `between` likewise.
    """

    def __init__(
        self,
        folder: Path,
        *overrides: str,
        start: tuple[float, float] = (36.0, 3600.0),
        epoch: tuple[float, float] = (1.1, 110.0),
        between: tuple[float, float] = (0.0, 0.0),
        share: str = "1",
    ) -> None:
        super().__init__(folder, *overrides, share=share)
        self._start, self._epoch, self._between = start, epoch, between
        self.num_starts = self.num_epochs = self.num_sleeps = 0
        self.fails_at_start = self.fails_in_epoch = 0
        self.start_of_trainable: Callable[..., Any] = lambda hparams, budget, env: self.start_training(env)

    def spend(self, amount: tuple[float, float]) -> None:
        self.clock.now_s += amount[0]
        self.gpu.counter.metered_mj += round(amount[1] * 1000)

    def sleep(self, seconds: float) -> None:
        """A meter's tick comes, and with it what the device draws meanwhile."""
        self.num_sleeps += 1
        self.spend((seconds, 10.0 * seconds))

    def train_next(self, num_rows: int = 99, checkpointing: Checkpointing | None = None) -> list[EpochRow]:
        """The next task, reported to the run row by row until that stops it."""
        task = self.run.next_task()
        assert task is not None
        window, done = self.gpu.window(task.trial_id), []
        self.gpu.node.begin_start(window.window)  # as the actor of a node opens it
        try:
            for row in itertools.islice(self.rows(task, window, checkpointing), num_rows):
                done.append(row)
                if self.run.on_epoch(task.trial_id, row) == "stop":
                    break
                self.spend(self._between)
        except RuntimeError as error:
            self.run.on_failure(task.trial_id, Failure(cause="crash", message=str(error)))
        return done

    def rows(
        self, task: TrialTask, window: OneWindow, checkpointing: Checkpointing | None = None
    ) -> Iterator[EpochRow]:
        context = TrainingContext(
            data="none", data_seed=0, seed=1, cache_dir=self.folder, horizon=task.ladder.horizon
        )
        return run_trial(
            replace(TOY, start=self.start_of_trainable),
            TOY.hparams(),
            task.ladder,
            context,
            window,
            checkpointing=checkpointing,
            must_be_settled=task.is_judged_by_joules,
            stretch=Stretch(window, self.clock, self.sleep),
        )

    def start_training(self, context: TrainingContext) -> Timed:
        self.num_starts += 1
        self.spend(self._start)
        if self.num_starts == self.fails_at_start:
            raise RuntimeError("no weights")
        return Timed(context, self._work)

    def _work(self) -> None:
        self.num_epochs += 1
        self.spend(self._epoch)
        if self.num_epochs == self.fails_in_epoch:
            raise RuntimeError("out of luck")


ONE_RUNG = ("search.ladder.epochs=[2]", "search.limits.trials=1")


def table(shop: Scene, name: str = "trials.csv") -> list[dict[str, str]]:
    return written(shop.run)[name]


def cells(row: dict[str, str], *names: str) -> list[str]:
    return [row[name] for name in names]


def test_a_workers_start_is_no_part_of_its_first_epoch(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, *ONE_RUNG, between=(0.4, 4.0))
    first, second = shop.train_next()
    shop.run.end()
    assert [round(first.seconds, 3), first.start_s, first.overhead_s] == [1.1, 36.0, pytest.approx(0)]
    assert [round(second.seconds, 3), second.start_s, round(second.overhead_s or 0, 3)] == [1.1, None, 0.4]
    assert [first.energy.gpu_mj, second.energy.gpu_mj] == [110_000, 114_000]
    assert first.start_energy.gpu_mj == 3_600_000
    (row,) = table(shop)
    assert cells(row, "seconds", "start_s", "overhead_s") == ["2.2", "36.0", "0.4"]
    assert cells(row, "energy_j", "energy_gpu_j", "energy_start_j") == ["224.0", "224.0", "3600.0"]
    assert float(row["gpu_power_mean_w"]) == pytest.approx(224 / 2.6)  # the start drew 100 W
    (device,) = table(shop, "devices.csv")
    assert cells(device, "energy_device_j", "energy_trials_j", "energy_starts_j", "residual_j") == [
        *("3824.0", "224.0", "3600.0", "0.0"),
    ]
    assert checked(shop.run) == ([], [])
    assert outcome_millijoules(shop.run.history) == {"finished": 224_000, "starts": 3_600_000}
    assert shop.run.spent.energy_j == 3824.0


def test_the_projection_and_the_joules_a_sample_are_those_of_training(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, *ONE_RUNG, start=(36.0, 9999.0), epoch=(2.0, 100.0))
    shop.train_next()
    shop.run.end()
    (row,) = table(shop)
    assert cells(row, "energy_projected_full_j", "energy_to_best_j", "energy_per_example_j") == [
        *("200.0", "200.0", str(200 / float(row["num_examples"]))),
    ]


def test_a_rung_that_is_a_training_of_its_own_has_a_start_of_its_own(tmp_path: Path) -> None:
    ladder = ("search.ladder.epochs=[1, 3]", "search.horizon=rung", "search.limits.trials=1")
    shop = Workshop(tmp_path, *ladder, "search.scheduler={mode: none}", start=(5.0, 50.0), epoch=(1.0, 7.0))
    done = shop.train_next()
    shop.run.end()
    assert [row.start_s for row in done] == [5.0, 5.0, None, None]  # 1 epoch, then 3 of another training
    assert [row.energy.gpu_mj for row in done] == [7000] * 4
    (row,) = table(shop)
    assert cells(row, "start_s", "energy_start_j", "energy_j") == ["10.0", "100.0", "28.0"]
    assert checked(shop.run) == ([], [])


def test_what_a_trial_resumes_from_is_read_in_its_start(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, "search.limits.trials=1", start=(3.0, 30.0), epoch=(1.0, 10.0))
    checkpointing = Checkpointing(path=tmp_path / "checkpoint.pt", every_s=0.0)
    task = shop.run.next_task()
    assert task
    window = shop.gpu.window(task.trial_id)
    assert [row.epoch for row in itertools.islice(shop.rows(task, window, checkpointing), 2)] == [1, 2]
    shop.gpu.close_windows(task.trial_id)
    again, after = itertools.islice(shop.rows(task, shop.gpu.window(task.trial_id), checkpointing), 2)
    assert (again.is_replay, again.epoch, after.epoch) == (True, 2, 3)
    assert (after.start_s, after.seconds, after.energy.gpu_mj) == (3.0, 1.0, 10_000)


def test_a_start_that_fails_is_a_start_and_no_training(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, *ONE_RUNG)
    shop.fails_at_start = 1
    assert shop.train_next() == []
    shop.run.end()
    (row,) = table(shop)
    assert cells(row, "status", "seconds", "start_s", "energy_j", "energy_start_j") == [
        *("failed", "0", "36.0", "0.0", "3600.0"),
    ]
    assert checked(shop.run) == ([], [])


def test_a_first_epoch_that_fails_is_training_and_no_start(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, *ONE_RUNG)
    shop.fails_in_epoch = 1
    shop.train_next()
    shop.run.end()
    (row,) = table(shop)
    assert cells(row, "status", "start_s", "energy_j", "energy_start_j") == [
        "failed",
        "36.0",
        "110.0",
        "3600.0",
    ]
    assert checked(shop.run) == ([], [])


def test_a_start_that_dies_with_its_node_is_unaccounted_with_the_reason(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, *ONE_RUNG)
    task = shop.run.next_task()
    assert task
    window = shop.gpu.window(task.trial_id)
    window.window = f"node-1/01/{window.window}"
    shop.gpu.node.begin_start(window.window.rpartition("/")[2])
    shop.spend((36.0, 3600.0))
    rows = [{**row, "node": "host/node-1", "is_closed": False} for row in shop.gpu.device_rows()]
    shop.gpu.device_rows = lambda: rows  # type: ignore[method-assign]
    shop.gpu.close_windows = lambda trial_id: ()  # type: ignore[method-assign]
    shop.run.on_failure(task.trial_id, Failure(cause="crash", message="the node is gone"))
    shop.run.end()
    (device,) = table(shop, "devices.csv")
    assert cells(device, "energy_starts_j", "energy_unaccounted_j", "reason") == [
        *("0.0", "3600.0"),
        "3600.0 J were of starts that ended with their meter and never reported them",
    ]
    assert checked(shop.run)[0] == []


def test_a_users_file_that_imports_for_long_is_a_part_of_the_start(tmp_path: Path) -> None:
    clock = FakeClock()

    class Loading(TrialTask):
        def load(self) -> tuple[Any, Any]:
            clock.now_s += 20.0
            return super().load()

    shop = Scene(tmp_path)
    task = shop.run.next_task()
    assert task
    slow = Loading(**vars(task))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.trial.training.Stretch", lambda meter: Stretch(meter, clock))
        row = next(run_task(slow, shop.gpu.window(task.trial_id), checkpointing=slow.checkpointing))
    assert (row.start_s, row.seconds) == (20.0, 0.0)


def test_what_a_deferred_start_imports_is_a_part_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a family whose `training.py` imports torch when `start` is called."""
    shop = Workshop(tmp_path, *ONE_RUNG, start=(2.0, 200.0))
    (tmp_path / "heavy_start_here.py").write_text(
        "import shop_here\nshop_here.spend((5.0, 500.0))\nstart = shop_here.start\n"
    )
    module = ModuleType("shop_here")
    module.spend, module.start = shop.spend, lambda hparams, budget, context: shop.start_training(context)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_here", module)
    monkeypatch.syspath_prepend(tmp_path)
    shop.start_of_trainable = deferred("heavy_start_here:start")
    (first, second) = shop.train_next()
    assert (first.start_s, first.start_energy.gpu_mj) == (7.0, 700_000)
    assert (round(first.seconds, 3), first.energy.gpu_mj) == (1.1, 110_000)
    assert (second.overhead_s, second.energy.gpu_mj) == (pytest.approx(0), 110_000)


def test_what_saving_imports_is_a_part_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainable without torch: its first checkpoint would import it, after its first rung."""
    shop = Workshop(tmp_path, *ONE_RUNG)
    monkeypatch.setattr("search.trial.training.load_torch", lambda: shop.spend((5.0, 500.0)))
    (first, second) = shop.train_next(checkpointing=Checkpointing(path=tmp_path / "checkpoint.pt"))
    assert (first.start_s, first.start_energy.gpu_mj) == (41.0, 4_100_000)
    assert (second.overhead_s, second.energy.gpu_mj) == (pytest.approx(0), 110_000)


SHARED = {"share": "0.5", "start": (2.0, 50.0)}


def test_epochs_shorter_than_a_tick_get_their_share_of_it_by_time(tmp_path: Path) -> None:
    """A part of a GPU of 100 W, settled once a second; epochs of 0.4 s."""
    shop = Workshop(tmp_path, "search.ladder.epochs=[1, 2, 3]", "search.limits.trials=1",
                    "search.scheduler={mode: none}", epoch=(0.4, 40.0), **SHARED)  # fmt: skip
    done = shop.train_next()
    assert [list(row.lag_s) for row in done] == [["gpu"]] * 3
    assert [row.energy.gpu_mj for row in done] == [None, 40_000, None]  # a look at the watts settled it
    trial = shop.run.history.trials["trial-0000"]
    assert [row.energy.gpu_mj for row in trial.rows] == [40_000, 40_000, 40_000]
    first = trial.rows[0].energy
    assert (first.gpu_active_mj, first.gpu_context_mj, first.gpu_idle_share_mj) == (40_000, 0, 0)
    shop.run.end()
    assert [row["energy_j"] for row in table(shop, "energy.csv")] == ["40.0", "40.0", "40.0"]
    assert checked(shop.run) == ([], [])


def test_what_waits_when_a_trial_ends_comes_with_the_end_of_its_account(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, *ONE_RUNG, epoch=(0.3, 30.0), **SHARED)
    first, second = shop.train_next()
    assert (first.lag_s, second.lag_s) == ({"gpu": pytest.approx(0.3)}, {"gpu": pytest.approx(0.3)})
    trial = shop.run.history.trials["trial-0000"]
    assert [row.energy.gpu_mj for row in trial.rows] == [30_000, 30_000]
    assert [row.lag_s for row in trial.rows] == [{}, {}]
    shop.run.end()
    assert cells(table(shop)[0], "energy_j", "energy_reason", "energy_projected_full_j") == [
        "60.0",
        "",
        "60.0",
    ]
    assert checked(shop.run) == ([], [])


def test_a_trial_over_before_its_counter_moved_has_no_joules_and_says_why(tmp_path: Path) -> None:
    """An NVIDIA counter moves each 20 to 100 ms."""
    shop = Workshop(tmp_path, *ONE_RUNG, epoch=(0.02, 0.0))
    assert [list(row.lag_s) for row in shop.train_next()] == [["gpu"], ["gpu"]]
    shop.run.end()
    (row,) = table(shop)
    reason = "gpu: its epochs were over before the sensor moved once"
    assert cells(row, "energy_j", "energy_gpu_j", "energy_reason") == ["", "", reason]
    assert checked(shop.run) == ([], [])


def test_while_it_runs_a_trial_without_a_tick_has_no_joules_yet(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, "search.limits.trials=1", epoch=(0.1, 0.0))
    shop.train_next(num_rows=1)
    (row,) = table(shop)
    assert cells(row, "energy_j", "energy_to_best_j") == ["", ""]
    assert row["energy_reason"] == "gpu: without 1 epoch that ended before the sensor moved"


def test_a_long_time_without_a_joule_is_no_missing_tick(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, *ONE_RUNG, epoch=(3.0, 0.0))
    assert [row.lag_s for row in shop.train_next()] == [{}, {}]
    shop.run.end()
    assert cells(table(shop)[0], "energy_j", "energy_reason") == ["0.0", ""]


def test_a_rung_that_joules_decide_waits_for_the_next_tick(tmp_path: Path) -> None:
    shop = Workshop(
        tmp_path, "search.objective=[val_accuracy, energy]", *ONE_RUNG, epoch=(0.3, 30.0), **SHARED
    )
    first, second = shop.train_next()
    assert (list(first.lag_s), second.lag_s) == (["gpu"], {})
    assert shop.num_sleeps == 15  # of 50 ms: a second after a look at the watts, which was at 0.3 s
    assert second.seconds == pytest.approx(0.3)
    assert second.overhead_s == pytest.approx(0.75)
    trial = shop.run.history.trials["trial-0000"]
    assert [row.energy.gpu_mj for row in trial.rows] == [15_000, 52_500]  # 67.5 J in 1.35 s
    assert shop.run.stop_reason() in (None, "all 1 trials done")


def test_waiting_for_a_tick_has_an_end(tmp_path: Path) -> None:
    shop = Scene(tmp_path)
    window = shop.gpu.window("t")
    sleeps: list[float] = []
    stretch = Stretch(window, shop.clock, sleeps.append)
    shop.clock.now_s += 0.1
    assert stretch.cut(must_be_settled=True).lag_s == {"gpu": pytest.approx(0.1)}
    assert len(sleeps) == 40


def test_what_one_part_waits_for_another_may_know(tmp_path: Path) -> None:
    """The GPU is the trial's alone and its counter moves; the CPU is shared and settled once a second."""

    class TwoParts:
        sensors = window = None

        def __init__(self, *readings: tuple[int, int]) -> None:
            self._readings = iter(readings)

        def read_start(self) -> EnergyReading:
            return EnergyReading()

        def read(self) -> EnergyReading:
            gpu_mj, cpu_mj = next(self._readings)
            return EnergyReading(gpu_mj=gpu_mj, gpu_active_mj=gpu_mj, cpu_mj=cpu_mj)

    clock = FakeClock()
    stretch = Stretch(TwoParts((0, 0), (70, 0), (70, 9)), clock)  # type: ignore[arg-type]
    clock.now_s += 0.4
    first = stretch.cut()
    assert first.lag_s == {"cpu": pytest.approx(0.4)}
    assert first.energy == EnergyReading(gpu_mj=70, gpu_active_mj=70)
    clock.now_s += 0.4
    second = stretch.cut()
    assert second.lag_s == {"gpu": pytest.approx(0.4)}
    assert second.energy == EnergyReading(cpu_mj=9)


@pytest.mark.parametrize("moved_mj", [1, 2, 7, 100, 99_999])
def test_whole_millijoules_are_shared_out_without_loss(tmp_path: Path, moved_mj: int) -> None:
    shop = Workshop(tmp_path, "search.ladder.epochs=[1, 2, 5, 7]", "search.limits.trials=1",
                    "search.scheduler={mode: none}", epoch=(0.3, moved_mj / 1000), **SHARED)  # fmt: skip
    shop.train_next()
    shop.run.end()
    trial = shop.run.history.trials["trial-0000"]
    assert len(trial.rows) == 7
    of_rungs = sum(round(float(row["energy_j"] or 0) * 1000) for row in table(shop, "energy.csv"))
    assert of_rungs == trial.joules.total.gpu_mj
    assert checked(shop.run)[0] == []


class Machine:
    """A node with a RAPL package and an NVIDIA GPU, read through the meter of one process."""

    def __init__(self, folder: Path, nvml: FakeNvml, *, cpu_share: float = 1.0) -> None:
        self.clock, self.nvml, self.gpu_mj = FakeClock(), nvml, 0
        self.zone = add_zone(folder, "intel-rapl:0", "package-0")
        nvml.add_gpu(0, "GPU-a", energy_mj=0, power_mw=100_000)
        self.meter = open_meter(
            gpu_uuids=["GPU-a"], cpu_share=cpu_share, powercap=folder, clock=self.clock, interval_s=None
        )

    def spend(self, seconds: float, watts: float = 100.0) -> None:
        """RAPL moves each millisecond, the GPU's counter each 100 ms; both draw the same."""
        self.clock.now_s += seconds
        passed_s = self.clock.now_s - 1000.0
        set_energy(self.zone, round(watts * passed_s * 1e6))
        self.nvml["0.energy_mj"] = round(watts * 1000 * (round(passed_s * 1e6) // 100_000) / 10)


def test_rapl_tells_each_short_epoch_and_the_gpus_counter_its_steps(
    tmp_path: Path, fake_nvml: FakeNvml
) -> None:
    """Epochs of 40 ms at 100 W are 4 J each; the GPU's counter moves 10 J each 100 ms."""
    machine, joules, rows = Machine(tmp_path, fake_nvml), TrialEnergy(), list[EpochRow]()
    stretch = Stretch(machine.meter, machine.clock)
    for epoch in range(1, 6):
        with stretch.in_epoch():
            machine.spend(0.04)
        spent = stretch.cut()
        attempt = {"sensors": machine.meter.sensors.to_dict()} if epoch == 1 else {}
        row = EpochRow(epoch=epoch, rung=0, metrics={}, **vars(spent), **attempt)
        joules.book(row, rows)
    assert [row.energy.cpu_mj for row in rows] == [4000] * 5
    assert [row.energy.gpu_mj for row in rows] == [3333, 3334, 3333, 5000, 5000]
    assert sum(row.energy.gpu_mj or 0 for row in rows) == 20_000
    assert all(not row.lag_s for row in rows)
    machine.meter.close()


def test_what_neither_counter_has_shown_is_unknown_and_never_0(tmp_path: Path, fake_nvml: FakeNvml) -> None:
    machine = Machine(tmp_path, fake_nvml)
    stretch = Stretch(machine.meter, machine.clock)
    machine.spend(0.03, watts=0.0)
    spent = stretch.cut()
    assert (spent.energy.cpu_mj, spent.energy.gpu_mj, spent.energy.total_mj) == (None, None, None)
    assert spent.lag_s == {"cpu": pytest.approx(0.03), "gpu": pytest.approx(0.03)}
    machine.meter.close()


def test_the_meter_of_a_process_keeps_a_start_apart(tmp_path: Path, fake_nvml: FakeNvml) -> None:
    machine = Machine(tmp_path, fake_nvml)
    stretch = Stretch(machine.meter, machine.clock)
    with stretch.starting():
        machine.spend(36.0)
    with stretch.in_epoch():
        machine.spend(1.1)
    spent = stretch.cut()
    assert (spent.start_s, spent.seconds) == (36.0, pytest.approx(1.1))
    assert (spent.start_energy.cpu_mj, spent.start_energy.gpu_mj) == (3_600_000, 3_600_000)
    assert (spent.energy.cpu_mj, spent.energy.gpu_mj) == (110_000, 110_000)
    machine.meter.close()
    summary = machine.meter.summary()
    assert (summary.start_s, summary.seconds) == (36.0, pytest.approx(1.1))
    assert summary.start.total_mj == 7_200_000
