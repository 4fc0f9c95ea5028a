"""What the meter learns by itself: idle levels and watts."""

from __future__ import annotations

import pytest

from search.energy.attribution.learning import IdleLevels, WattsPerUtilisation


def watch(levels: IdleLevels, seconds: int, power_w: float, *, occupied: bool, active: bool) -> None:
    for _ in range(seconds):
        levels.observe(round(power_w * 1000), 1.0, is_occupied=occupied, is_active=active)


def test_bare_power_is_learnt_only_after_ten_seconds_without_a_process() -> None:
    levels = IdleLevels()
    watch(levels, 11, 90.0, occupied=False, active=False)  # still cooling down; the first has no before
    assert not levels.bare.is_known
    watch(levels, 5, 70.0, occupied=False, active=False)
    assert levels.bare.power_w == 70.0
    assert not levels.context.is_known


def test_context_power_is_learnt_only_with_a_process_that_does_nothing() -> None:
    levels = IdleLevels()
    watch(levels, 20, 400.0, occupied=True, active=True)
    watch(levels, 1, 300.0, occupied=True, active=False)  # utilisation is reported a second late
    assert not levels.context.is_known
    watch(levels, 5, 110.0, occupied=True, active=False)
    assert levels.context.power_w == 110.0
    assert not levels.bare.is_known


def test_no_level_is_learnt_under_load_or_from_what_is_unknown() -> None:
    levels = IdleLevels()
    watch(levels, 100, 400.0, occupied=True, active=True)
    watch(levels, 100, 400.0, occupied=False, active=True)
    for _ in range(100):
        levels.observe(70_000, 1.0, is_occupied=None, is_active=None)
        levels.observe(70_000, 1.0, is_occupied=False, is_active=None)
    assert (levels.bare.is_known, levels.context.is_known) == (False, False)


def test_a_process_in_between_starts_the_ten_seconds_anew() -> None:
    levels = IdleLevels()
    watch(levels, 9, 70.0, occupied=False, active=False)
    watch(levels, 1, 110.0, occupied=True, active=False)
    watch(levels, 11, 70.0, occupied=False, active=False)
    assert not levels.bare.is_known
    levels.interrupt()
    watch(levels, 11, 70.0, occupied=False, active=False)
    assert not levels.bare.is_known
    watch(levels, 1, 70.0, occupied=False, active=False)
    assert levels.bare.is_known


def test_a_level_is_the_mean_of_the_last_minute() -> None:
    levels = IdleLevels()
    watch(levels, 11, 70.0, occupied=False, active=False)
    watch(levels, 60, 70.0, occupied=False, active=False)
    watch(levels, 30, 80.0, occupied=False, active=False)
    assert levels.bare.power_w == 75.0


def test_a_stretch_too_short_for_the_counter_s_steps_teaches_nothing() -> None:
    levels = IdleLevels()
    for _ in range(1000):
        levels.observe(7_000, 0.1, is_occupied=True, is_active=False)
    assert not levels.context.is_known


@pytest.fixture
def pair() -> WattsPerUtilisation:
    watts = WattsPerUtilisation()
    watts.open("a", "resnet")
    watts.open("b", "vit")
    return watts


def alone(learnt: WattsPerUtilisation, window: str, seconds: int, watts: float, use: float = 0.5) -> None:
    for _ in range(seconds):
        use_s = {name: use if name == window else 0.0 for name in "ab"}
        learnt.observe(round(watts * use * 1000), 1.0, use_s, 0.0)


def test_three_seconds_alone_teach_the_watts_of_full_use(pair: WattsPerUtilisation) -> None:
    alone(pair, "a", 2, 300.0)
    assert (pair.known_w("a"), pair.wanting()) == (None, ["a", "b"])
    alone(pair, "a", 1, 300.0)
    assert (pair.known_w("a"), pair.origin("a"), pair.wanting()) == (300.0, "own", ["b"])


def test_another_at_work_or_an_external_process_ends_the_stretch(pair: WattsPerUtilisation) -> None:
    alone(pair, "a", 2, 300.0)
    pair.observe(400_000, 1.0, {"a": 0.5, "b": 0.1}, 0.0)
    alone(pair, "a", 2, 300.0)
    pair.observe(400_000, 1.0, {"a": 0.5, "b": 0.0}, 0.2)
    alone(pair, "a", 2, 300.0)
    assert pair.known_w("a") is None


def test_a_window_that_has_worked_must_be_silent_for_ten_seconds(pair: WattsPerUtilisation) -> None:
    pair.observe(100_000, 1.0, {"a": 0.0, "b": 0.3}, 0.0)
    alone(pair, "a", 12, 300.0)  # 10 s of silence, then 2 s
    assert pair.known_w("a") is None
    alone(pair, "a", 1, 300.0)
    assert pair.known_w("a") == 300.0


def test_in_a_slot_that_the_search_gives_three_seconds_are_enough(pair: WattsPerUtilisation) -> None:
    pair.observe(100_000, 1.0, {"a": 0.4, "b": 0.3}, 0.0)
    pair.slot_of = "b"
    alone(pair, "b", 3, 150.0)
    assert pair.known_w("b") == 150.0


def test_an_ended_window_teaches_later_ones_of_its_kind(pair: WattsPerUtilisation) -> None:
    alone(pair, "a", 3, 300.0)
    pair.close("a")
    pair.open("c", "resnet")
    pair.open("d", "other")
    assert (pair.known_w("c"), pair.origin("c")) == (300.0, "earlier")
    assert (pair.known_w("d"), pair.origin("d")) == (None, "")


def test_one_window_alone_wants_no_slot() -> None:
    watts = WattsPerUtilisation()
    watts.open("a")
    assert watts.wanting() == []
