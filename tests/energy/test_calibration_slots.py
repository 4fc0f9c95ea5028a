"""Turns in which one trial of a shared device works alone."""

from __future__ import annotations

import pytest

from search.energy.attribution.calibration_slots import GATHER_S, SLOT_S, CalibrationSlots
from tests.support.fake_clock import FakeClock


class ThreeWindows:
    """A meter of one GPU that three windows share; it notes the slices."""

    def __init__(self, *wanting: str) -> None:
        self.wanting, self.open, self.slices = list(wanting), ["a", "b", "c"], list[tuple[str, bool]]()

    def wanting_slots(self) -> dict[str, list[str]]:
        return {"GPU-one": self.wanting} if self.wanting else {}

    def sharing(self, window: str) -> list[str]:
        return [other for other in self.open if other != window] if window in self.open else []

    def set_exclusive_slot(self, window: str, *, is_on: bool) -> None:
        self.slices.append((window, is_on))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_slice_begins_when_all_others_hold_and_ends_after_five_seconds(clock: FakeClock) -> None:
    meter = ThreeWindows("a")
    turns = CalibrationSlots(meter, clock)
    assert [turns.may_start_epoch(window) for window in ("b", "a")] == [False, True]
    assert meter.slices == []  # c is still in its epoch
    assert not turns.may_start_epoch("c")
    assert meter.slices == [("a", True)]
    clock.now_s += SLOT_S - 0.1
    assert [turns.may_start_epoch(window) for window in ("a", "b", "c")] == [True, False, False]
    clock.now_s += 0.1
    assert [turns.may_start_epoch(window) for window in ("b", "c")] == [True, True]
    assert meter.slices == [("a", True), ("a", False)]


def test_who_is_in_a_long_epoch_makes_the_turn_be_given_up(clock: FakeClock) -> None:
    meter = ThreeWindows("a")
    turns = CalibrationSlots(meter, clock)
    assert not turns.may_start_epoch("b")
    clock.now_s += GATHER_S
    assert turns.may_start_epoch("b")
    assert meter.slices == []


def test_each_has_one_turn_and_the_next_follows(clock: FakeClock) -> None:
    meter = ThreeWindows("a", "b")
    turns = CalibrationSlots(meter, clock)
    for window in ("b", "c"):
        assert not turns.may_start_epoch(window)
    clock.now_s += SLOT_S
    assert [turns.may_start_epoch(window) for window in ("b", "a", "c")] == [True, False, False]
    clock.now_s += SLOT_S
    assert turns.may_start_epoch("c")
    assert meter.slices == [("a", True), ("a", False), ("b", True), ("b", False)]


def test_a_window_that_ends_lets_the_others_go(clock: FakeClock) -> None:
    meter = ThreeWindows("a")
    turns = CalibrationSlots(meter, clock)
    for window in ("b", "c"):
        assert not turns.may_start_epoch(window)
    meter.open.remove("a")
    meter.wanting.clear()
    turns.leave("a")
    assert turns.may_start_epoch("b")
    assert meter.slices == [("a", True), ("a", False)]


def test_without_anyone_who_wants_a_slice_nobody_holds(clock: FakeClock) -> None:
    assert CalibrationSlots(ThreeWindows(), clock).may_start_epoch("a")
