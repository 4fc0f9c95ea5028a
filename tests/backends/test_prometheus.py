"""A run in Ray's metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.backends.ray.prometheus import RunGauges
from tests.support.energy_scenes import Scene


class Shown:
    """What gauges were set to last: by name and the values of its tags."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self.num_set = 0

    def gauge(self, name: str, **_: Any) -> Any:
        shown = self

        class OneGauge:
            def set(self, value: float, tags: dict[str, str]) -> None:
                shown.values[(name.removeprefix("jouletune_"), *tags.values())] = value
                shown.num_set += 1

        return OneGauge()


def test_watts_joules_trials_and_the_limit_are_shown_once_a_second(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, "search.limits.trials=3", "search.limits.kwh=0.001", "search.ladder.epochs=[1, 2]"
    )
    shown = Shown()
    gauges = RunGauges(scene.run, clock=scene.clock, make_gauge=shown.gauge)
    gauges.update()
    assert ("device_watts", scene.gpu.device_rows()[0]["node"], "GPU-one") not in shown.values
    trial_id, window = scene.start()
    scene.epoch(trial_id, window, 10)
    scene.use(30)
    gauges.update()
    assert {name: value for name, value in shown.values.items() if value and name[0] != "device_watts"} == {
        ("energy_joules", "running"): 10.0,
        ("running_trial_joules", trial_id): 10.0,
        ("used_kwh",): 40 / 3.6e6,
        ("limit_kwh",): 0.001,
        ("best", "val_accuracy"): 0.5,
        ("trials", "running"): 1,
    }
    assert [value for name, value in shown.values.items() if name[0] == "device_watts"] == [20.0]
    num_set = shown.num_set
    scene.clock.now_s += 0.9
    gauges.update()
    assert shown.num_set == num_set


def test_a_trial_that_ended_is_in_a_total_only(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.limits.trials=2", "search.ladder.epochs=[1]")
    trial_id, window = scene.start()
    scene.epoch(trial_id, window, 10)
    shown = Shown()
    RunGauges(scene.run, clock=scene.clock, make_gauge=shown.gauge).update()
    assert shown.values["energy_joules", "finished"] == 10.0
    assert shown.values["trials", "running"] == 0
    assert ("running_trial_joules", trial_id) not in shown.values
