"""The summary of a window are kept by the meter of its node until the driver has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from search.backends.ray import metering
from search.backends.ray.metering import MeterActor, NodeMeters
from search.energy.node import CpuWatts


class Remote:
    """An actor's method: `remote` gives what an answer is got from."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> Callable[[], Any]:
        answer = self._method(*arguments)
        return lambda: answer


class Local:
    """A `MeterActor` in this process, called as Ray's are."""

    def __init__(self, actor: MeterActor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Remote:
        return Remote(getattr(self._actor, name))


class Network:
    """`ray.get`, `ray.wait` and `ray.nodes` over one node; drops as many answers as `num_lost`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_to_drop = 0
        monkeypatch.setattr(metering.ray, "get", self.get)
        monkeypatch.setattr(metering.ray, "wait", self.wait)
        monkeypatch.setattr(metering.ray, "nodes", list)
        monkeypatch.setattr(metering, "_job", lambda: "01000000")

    def get(self, answer: Callable[[], Any], timeout: float) -> Any:
        if self.num_to_drop:
            self.num_to_drop -= 1
            raise GetTimeoutError("no answer in 10 s")
        return answer()

    def wait(self, answers: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        """What was dropped has come by now."""
        return answers, []


@pytest.fixture
def actor() -> Iterator[MeterActor]:
    actor = MeterActor(CpuWatts(idle_w=10, max_w=100))
    yield actor
    actor._meter.close()  # its ticker would be found by a later test's look for threads


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


@pytest.fixture
def meters(actor: MeterActor, network: Network) -> NodeMeters:
    meters = NodeMeters()
    meters._actors["node-one"] = Local(actor)
    return meters


def opened(actor: MeterActor, trial_id: str) -> str:
    return actor.open_window(trial_id, os.getpid(), {}, 0.5, "")


def test_a_window_whose_answer_was_dropped_is_given_with_the_next_one(
    actor: MeterActor, meters: NodeMeters, network: Network
) -> None:
    opened(actor, "trial-0000"), opened(actor, "trial-0001")
    network.num_to_drop = 1
    assert meters.close_windows("trial-0000") == []
    given = meters.close_windows("trial-0001")
    assert [window.trial for window in given] == ["trial-0000", "trial-0001"]
    assert [window.end for window in given] == ["closed", "closed"]
    assert meters.late_windows() == []


def test_the_last_window_of_a_run_is_asked_for_once_more(
    actor: MeterActor, meters: NodeMeters, network: Network
) -> None:
    opened(actor, "trial-0000")
    network.num_to_drop = 1
    meters.close_windows("trial-0000")
    assert [window.trial for window in meters.late_windows()] == ["trial-0000"]


def test_a_window_whose_acknowledgement_is_lost_is_given_once(
    actor: MeterActor, meters: NodeMeters, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(actor, "trial-0000")
    monkeypatch.setattr(actor, "acknowledge", lambda windows: None)
    assert len(meters.close_windows("trial-0000")) == 1
    assert meters.close_windows("trial-0000") == []


def test_asking_for_late_figures_ends_no_attempt_that_continues(
    actor: MeterActor, meters: NodeMeters, network: Network
) -> None:
    opened(actor, "trial-0000")
    network.num_to_drop = 1
    meters.close_windows("trial-0000")
    again = opened(actor, "trial-0000")
    assert len(meters.close_windows("trial-0001")) == 1
    assert actor._meter.summary(again).end == ""


def test_an_acknowledged_window_is_kept_no_longer(actor: MeterActor, meters: NodeMeters) -> None:
    opened(actor, "trial-0000")
    meters.close_windows("trial-0000")
    assert actor.closed_windows() == {}


def test_a_window_is_named_by_node_and_driver_so_that_a_restart_on_one_cluster_has_others(
    actor: MeterActor, meters: NodeMeters
) -> None:
    opened(actor, "trial-0000")
    (window,) = meters.close_windows("trial-0000")
    assert window.window == "node-one/01000000/trial-0000#0"
