"""Trials measured beside a load on their device: shares, joules and what the rows say of it."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from search.backends.backend import Capacity
from search.backends.errors import SessionError
from search.backends.ray import background as ray_side
from search.backends.ray.background import BackgroundActor, beside
from search.backends.resources import resolve_beside_background
from search.ledger import Ledger
from search.promotion import with_gpus
from search.run import Run
from search.tables import device_rows
from search.trial.background import Background, BackgroundSpec, background_of, endless_rows
from search.trial.failure import Failure
from tests.support.energy_scenes import Scene, checked, checked_tables, written
from tests.support.fake_clock import FakeClock
from tests.support.meters import OneGpu
from tests.support.toy_runs import SteadyMeter, fateful_space, made_space, replayed, sampler_for


def load(folder: Path, *overrides: str, gpus: float = 0.5) -> Background:
    """The toy as a load."""
    (folder / "load").mkdir(exist_ok=True)
    return background_of(made_space(folder / "load", overrides=overrides), gpus=gpus, folder=folder / "run")


@pytest.mark.parametrize(
    ("gpus", "share", "machine", "expected"),
    [
        (None, None, (16, 1), (0.5, 0.5, 1)),
        (None, 0.3, (16, 1), (0.7, 0.3, 1)),
        (0.25, None, (16, 1), (0.25, 0.75, 1)),
        (0.25, 0.5, (16, 1), (0.25, 0.5, 2)),
        (0.1, 0.9, (16, 1), (0.1, 0.9, 1)),
        (0.1, 0.5, (4, 1), (0.1, 0.5, 3)),
        (None, None, (4, 0), (0.0, 0.0, 3)),
        (0.0, None, (4, 1), (0.0, 0.0, 3)),
    ],
)
def test_the_load_and_the_trials_share_one_device(
    tmp_path: Path,
    gpus: float | None,
    share: float | None,
    machine: tuple[int, int],
    expected: tuple[float, float, int],
) -> None:
    space = with_gpus(made_space(tmp_path), gpus)
    session = Capacity(num_cpus=machine[0], num_gpus=machine[1])
    fit, background = resolve_beside_background(
        space, BackgroundSpec(space=space, share=share), session, tmp_path
    )
    assert (fit.resources.gpus_per_trial, background.task.gpus, fit.resources.workers) == expected
    assert background.task.cpus == 1


@pytest.mark.parametrize(("gpus", "of_the_gpu"), [(0.5, " and 0.5 of the GPU"), (0.0, "")])
def test_a_run_begins_with_how_the_load_shares_the_device(
    tmp_path: Path, gpus: float, of_the_gpu: str
) -> None:
    assert load(tmp_path, gpus=gpus).shared_text(3) == (
        f"background: made trains on 1 CPU{of_the_gpu}, beside 3 trials at a time; "
        "the first begins after its first epoch"
    )


@pytest.mark.parametrize(
    ("gpus", "share", "machine", "message"),
    [
        (None, None, (16, 2), "there are 2 GPUs here; show one of them: CUDA_VISIBLE_DEVICES=0"),
        (1.0, None, (16, 1), "a trial needs 1 GPU, which leaves none for --background"),
        (
            0.6,
            0.5,
            (16, 1),
            "0.6 GPUs beside a load of 1 CPU and 0.5 GPUs, but there are 16 CPUs and 1 GPU",
        ),
        (None, 0.5, (16, 0), "--background-share is a share of a GPU, and the trials use none"),
        (None, None, (1, 0), "a trial needs 1 CPU and 0 GPUs beside a load of 1 CPU and 0 GPUs"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused_with_what_to_do(
    tmp_path: Path, gpus: float | None, share: float | None, machine: tuple[int, int], message: str
) -> None:
    space = with_gpus(made_space(tmp_path), gpus)
    session = Capacity(num_cpus=machine[0], num_gpus=machine[1])
    with pytest.raises(SessionError, match=message):
        resolve_beside_background(space, BackgroundSpec(space=space, share=share), session, tmp_path)


def test_a_load_and_trials_packed_by_memory_are_refused(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.resources.pack=memory"])
    with pytest.raises(SessionError, match="--background shares a device by fractions, and"):
        resolve_beside_background(
            space, BackgroundSpec(space=space, share=0.5), Capacity(num_cpus=16, num_gpus=1), tmp_path
        )


def test_the_load_is_the_default_configuration_of_its_space(tmp_path: Path) -> None:
    background = load(tmp_path)
    assert background.to_dict() == {
        "space": "made",
        "trainable": "toy",
        "hparams": {"lr": 0.01, "batch_size": 64, "noise": 0.005},
        "gpus": 0.5,
        "cpus": 1,
    }


def test_the_load_trains_the_same_again_when_a_training_ends_and_saves_nothing(tmp_path: Path) -> None:
    background = load(tmp_path, "search.ladder.epochs=[1, 2]")
    rows = list(itertools.islice(endless_rows(background.task, SteadyMeter()), 5))
    assert [row.epoch for row in rows] == [1, 2, 1, 2, 1]
    assert rows[0].metrics == rows[2].metrics == rows[4].metrics
    assert not background.task.folder.exists()


def use(gpu: OneGpu, clock: FakeClock, mj: int) -> None:
    """Two seconds in which the device draws so much."""
    gpu.counter.metered_mj += mj
    clock.now_s += 2.0


def test_a_pair_adds_up_to_the_millijoule_and_the_trial_is_not_called_exclusive() -> None:
    clock = FakeClock()
    gpu = OneGpu(clock, "1/2")
    behind = gpu.window("background", "background")
    use(gpu, clock, 10_001)  # the load alone
    trial = gpu.window("trial-0000")
    use(gpu, clock, 20_001)
    (closed,) = gpu.close_windows("trial-0000")
    (row,) = gpu.device_rows()
    assert (row["energy_trials_j"], row["energy_background_j"]) == (10.0, 20.002)
    assert (row["energy_device_j"], row["energy_idle_j"], row["residual_j"]) == (30.002, 0.0, 0.0)
    assert (behind.read().gpu_mj, trial.read().gpu_mj) == (20_002, 10_000)
    assert closed.sensors.gpu_attribution == "reserved"
    assert closed.exclusive_fraction == 0.0


def test_a_trial_with_a_whole_device_is_not_exclusive_beside_a_load() -> None:
    clock = FakeClock()
    gpu = OneGpu(clock)
    gpu.window("background", "background")
    gpu.window("trial-0000")
    use(gpu, clock, 20_000)
    (closed,) = gpu.close_windows("trial-0000")
    assert closed.reading.gpu_mj == 10_000
    assert (closed.sensors.gpu_attribution, closed.exclusive_fraction) == ("reserved", 0.0)


def paired_scene(folder: Path, *overrides: str) -> Scene:
    return Scene(folder, *overrides, share="1/2", background=load(folder))


def test_the_loads_joules_are_in_devices_and_in_no_trial(tmp_path: Path) -> None:
    scene = paired_scene(tmp_path, "search.limits.trials=1", "search.ladder.epochs=[1]")
    scene.use(3)  # idle
    scene.gpu.window("background", "background")
    scene.use(5)
    trial_id, window = scene.start()
    scene.epoch(trial_id, window, 10)
    scene.run.end_background()
    scene.use(1)
    scene.run.end()
    (row,) = device_rows(replayed(scene.run))
    names = ("device", "trials", "background", "external", "idle", "unaccounted")
    assert [row[f"energy_{name}_j"] for name in names] == [19.0, 5.0, 10.0, 0.0, 4.0, 0.0]
    assert list(scene.run.history.trials) == ["trial-0000"]
    assert scene.run.history.energy.gpu_mj == 5000
    assert scene.run.spent.energy_j == 19.0
    assert checked(scene.run) == ([], [])


def test_the_row_of_each_trial_says_what_was_beside_it(tmp_path: Path) -> None:
    scene = paired_scene(tmp_path, "search.ladder.epochs=[1]")
    trial_id, window = scene.start()
    scene.epoch(trial_id, window, 10)
    (row,) = written(scene.run)["trials.csv"]
    assert "made was trained repeatedly on 0.5 of the same GPU, as asked" in row["notes"]
    started = next(event for event in scene.run.ledger.events() if event["event"] == "session_started")
    assert started["background"]["trainable"] == "toy"


def test_a_changed_column_of_the_load_is_found(tmp_path: Path) -> None:
    scene = paired_scene(tmp_path, "search.limits.trials=1", "search.ladder.epochs=[1]")
    scene.gpu.window("background", "background")
    trial_id, window = scene.start()
    scene.epoch(trial_id, window, 10)
    scene.run.end()
    tables = written(scene.run)
    tables["devices.csv"][0]["energy_background_j"] = "4.0"
    problems = checked_tables(tables).problems
    assert problems == ["devices.csv, session 0, GPU-one: its six parts make 9.0 J of 10.0 J"]


def test_the_limit_counts_the_load_of_this_session_and_of_earlier_ones(tmp_path: Path) -> None:
    scene = paired_scene(tmp_path, "search.limits.kwh=0.00001")  # 36 J
    scene.gpu.window("background", "background")
    scene.use(20)
    scene.run.next_task()
    assert scene.run.stop_reason() is None
    scene.run.interrupt("for now")
    scene.run.end()
    scene.gpu = OneGpu(scene.clock, "1/2")
    scene.open()
    scene.gpu.window("background", "background")
    scene.use(17)
    scene.run.next_task()
    assert scene.run.stop_reason() == "1e-05 kWh limit reached (1.03e-05)"


class FakeLoad:
    """A load that begins at once, and fails at the third poll."""

    def __init__(self, background: Background) -> None:
        self.has_begun, self.has_ended, self._polls = False, False, 0

    def poll(self, *, wait_s: float = 0.0) -> Failure | None:
        self._polls += 1
        self.has_begun = True
        return Failure(cause="crash", message="KeyError: 'lr'") if self._polls == 3 else None

    def end(self) -> None:
        self.has_ended = True


def test_a_load_that_fails_ends_the_run_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeLoad] = []
    monkeypatch.setattr(
        ray_side, "BackgroundWorkload", lambda background: made.append(FakeLoad(background)) or made[0]
    )
    background, space = load(tmp_path), made_space(tmp_path)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), background=background)
    with beside(run, background) as check:
        check()
        assert run.stop_reason() is None
        check()
    log = tmp_path / "run" / "background" / "log.txt"
    assert run.end() == f"the background load failed: crash: KeyError: 'lr' (see {log})"
    assert run.has_failed
    assert made[0].has_ended


def test_a_run_that_ends_before_the_load_has_begun_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    background, space = load(tmp_path), made_space(tmp_path)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), background=background)

    class Slow(FakeLoad):
        def poll(self, *, wait_s: float = 0.0) -> Failure | None:
            run.interrupt("SIGTERM received")
            return None

    monkeypatch.setattr(ray_side, "BackgroundWorkload", Slow)
    with beside(run, background):
        pass
    assert run.end() == "SIGTERM received"
    assert not run.has_failed


def test_the_loads_own_error_comes_back_with_its_cause_and_is_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own_meter(task: Any, role: str) -> Any:
        assert role == "background"
        return nullcontext((SteadyMeter(), lambda: None))

    monkeypatch.setattr(ray_side, "metered", own_meter)
    fixed = ["parameters={fate: {value: raise}, score: {min: 0.0, max: 0.9}}"]
    (tmp_path / "run").mkdir()
    background = background_of(fateful_space(tmp_path, fixed), gpus=0.0, folder=tmp_path / "run")
    failure = BackgroundActor(background.task).first_epoch()
    assert failure is not None
    assert (failure.cause, "a mistake in the training code" in failure.message) == ("crash", True)
    assert "KeyError" in background.task.log.read_text()
