"""Random histories of every kind, with a restart between any two events, against a slow and plain model."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from search.rungs import Kind, Rungs

NUM_RUNGS = 4
PLENTY = 10**6
FINITE = st.integers(-3, 3).map(lambda number: number / 2)  # few values, hence many ties
BROKEN = st.sampled_from([None, math.nan, math.inf, -math.inf])
VALUES = FINITE | FINITE | FINITE | BROKEN


class Histories(RuleBasedStateMachine):
    """Each event goes to the rungs, to the journal and to a model: dicts, and everything counted again."""

    @initialize(
        kind=st.sampled_from(["asha_stopping", "asha", "pasha", "none"]),
        mode=st.sampled_from(["max", "min"]),
        eta=st.sampled_from([2, 3, 2.5]),
        num_brackets=st.integers(1, 2),
        control_fraction=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        can_jump=st.booleans(),
    )
    def begin(
        self, kind: Kind, mode: str, eta: float, num_brackets: int, control_fraction: float, can_jump: bool
    ) -> None:
        self.kind, self.eta, self.sign = kind, eta, {"max": 1, "min": -1}[mode]
        self.control_fraction, self.can_jump = control_fraction, can_jump and kind != "pasha"
        self.num_reported, self.controls = 0, dict[str, int]()
        self.new_rungs: Callable[[], Rungs] = lambda: Rungs(
            NUM_RUNGS,
            eta=eta,
            mode=mode,
            kind=kind,
            num_brackets=num_brackets,
            control_fraction=control_fraction,
            can_jump=self.can_jump,
        )
        self.rungs = self.new_rungs()
        self.journal: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.results: list[dict[str, float]] = [{} for _ in range(NUM_RUNGS)]
        self.running: dict[str, int] = {}
        self.paused: dict[str, int] = {}
        self.ended: set[str] = set()
        self.promoted: set[tuple[str, int]] = set()
        self.hopeless: dict[str, int] = {}
        self.num_started = 0

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self.journal.append((method, args, kwargs))
        return getattr(self.rungs, method)(*args, **kwargs)

    def best_first(self, rung: int) -> list[str]:
        ages = list(self.results[rung])
        return sorted(ages, key=lambda name: (-self.sign * self.results[rung][name], ages.index(name)))

    def leaders(self, rung: int) -> list[str]:
        return self.best_first(rung)[: math.floor(len(self.results[rung]) / self.eta)]

    def due(self) -> list[str]:
        """Everyone who may be promoted now, in the order in which they should be."""
        below_top = reversed(range(self.rungs.top_rung))
        return [name for rung in below_top for name in self.leaders(rung) if self.paused.get(name) == rung]

    @rule(num_new=st.integers(1, 4))
    def start(self, num_new: int) -> None:
        for number in range(self.num_started, self.num_started + num_new):
            self.running[f"trial-{number}"] = 0
        self.num_started += num_new

    @precondition(lambda self: self.running)
    @rule(
        values=st.lists(VALUES, min_size=1, max_size=8),
        place=st.integers(0, 7),
        rungs_skipped=st.sampled_from([0, 0, 1, 3]),
    )
    def report(self, values: list[float | None], place: int, rungs_skipped: int) -> None:
        """Several results, in any order of the trials that run."""
        for value in values[: len(self.running)]:
            if self.running:
                self.report_one(list(self.running)[place % len(self.running)], value, rungs_skipped)

    def report_one(self, name: str, value: float | None, rungs_skipped: int) -> None:
        if self.can_jump:
            self.running[name] = min(self.running[name] + rungs_skipped, NUM_RUNGS - 1)
        rung, bracket = self.running[name], self.rungs.bracket_of(int(name.split("-")[1]))
        self.call("on_epoch", name, math.nan if value is None else value)
        top_before = self.rungs.top_rung
        decision = self.call("on_result", name, rung, value, bracket=bracket)
        is_broken = value is None or not math.isfinite(value)
        self.num_reported += not is_broken
        if not is_broken and rung >= bracket:
            self.results[rung][name] = value
        assert decision == self.expected(name, rung, is_broken=is_broken, is_below=rung < bracket)
        assert top_before <= self.rungs.top_rung <= top_before + (self.kind == "pasha" and rung == top_before)
        self.take_in(name, decision)

    def expected(self, name: str, rung: int, *, is_broken: bool, is_below: bool) -> str:
        if is_broken or (rung == NUM_RUNGS - 1):
            return "stop"
        if is_below or self.kind == "none":
            return "continue"
        is_best = self.best_first(rung)[0] == name
        if self.kind == "asha_stopping" and (is_best or name in self.leaders(rung)):
            return "continue"
        if self.may_be_control(name, rung):
            self.controls[name] = rung
            return "control"
        return "stop" if self.kind == "asha_stopping" else "pause"

    def may_be_control(self, name: str, rung: int) -> bool:
        """Every rung costs 1: a rung has its share of the fraction of all results, and all have no more than
        that."""
        last = self.rungs.top_rung - 1 if self.results[-1] else min(NUM_RUNGS - 4, self.rungs.top_rung - 1)
        if rung > last or name in self.controls:
            return False
        allowed, of_rung = self.control_fraction * self.num_reported, list(self.controls.values()).count(rung)
        return of_rung + 1 <= allowed / (last + 1) and len(self.controls) + 1 <= allowed

    def take_in(self, name: str, decision: str) -> None:
        if decision in {"continue", "control"}:
            self.running[name] += 1
            return
        rung = self.running.pop(name)
        if decision == "pause":
            self.paused[name] = rung
        else:
            self.ended.add(name)

    def take_in_promotion(self, name: str) -> None:
        self.journal.append(("on_continued", (name,), {}))
        rung = self.paused.pop(name)
        assert (name, rung) not in self.promoted
        self.promoted.add((name, rung))
        self.running[name] = rung + 1

    @rule(num_free=st.integers(1, 4))
    def promote(self, num_free: int) -> None:
        """Fill free workers."""
        for _ in range(num_free):
            self.promote_one()

    def promote_one(self) -> None:
        due = self.due()
        name = self.rungs.choose_paused()
        assert name == (due[0] if due else None)
        if name is not None:
            assert self.num_started > self.hopeless.get(name, -1)
            self.take_in_promotion(name)

    @precondition(lambda self: not self.running)
    @rule()
    def last_call(self) -> None:
        highest = max(self.paused.values(), default=0)
        best = [name for name in self.best_first(highest) if self.paused.get(name) == highest]
        called = [] if self.results[-1] else best
        name = self.rungs.choose_paused(is_last_call=True)
        assert name == next(iter(self.due() + called), None)
        if name is not None:
            self.take_in_promotion(name)

    @precondition(lambda self: self.paused)
    @rule(place=st.integers(0, 7))
    def withdraw(self, place: int) -> None:
        name = list(self.paused)[place % len(self.paused)]
        self.call("withdraw", name)
        del self.paused[name]
        self.ended.add(name)

    @rule(seed=st.integers(0, 2**32), num_workers=st.integers(1, 6), num_trials=st.integers(1, 40))
    def search_on(self, seed: int, num_workers: int, num_trials: int) -> None:
        """Many events at once: hypothesis alone hardly gets beyond the lowest rungs."""
        random = Random(seed)
        last = self.num_started + num_trials
        for _ in range(4 * num_trials):
            self.promote_one()
            if len(self.running) < num_workers and self.num_started < last:
                self.start(1)
            if self.running:
                value = math.nan if random.random() < 0.1 else random.randint(-6, 6) / 2
                rungs_skipped = random.choice([0, 0, 0, 1, 2])
                self.report_one(random.choice(list(self.running)), value, rungs_skipped)
            if random.random() < 0.1:
                self.check_the_hopeless(random.randrange(5))
        if not self.running:
            self.last_call()

    @rule(num_new=st.integers(0, 6))
    def check_the_hopeless(self, num_new: int) -> None:
        """Remember up to how many trials each checkpoint is reported to be of no use."""
        for name in self.paused:
            if not self.rungs.can_continue(name, num_open=len(self.running) + num_new):
                self.hopeless[name] = max(self.num_started + num_new, self.hopeless.get(name, 0))

    @rule()
    def restart(self) -> None:
        rebuilt = self.new_rungs()
        for method, args, kwargs in self.journal:
            getattr(rebuilt, method)(*args, **kwargs)
        assert rebuilt.top_rung == self.rungs.top_rung
        for name in self.paused:
            assert rebuilt.can_continue(name, num_open=1) == self.rungs.can_continue(name, num_open=1)
        self.rungs = rebuilt

    @invariant()
    def no_trial_is_lost_or_doubled(self) -> None:
        groups = [*self.running, *self.paused, *self.ended]
        assert sorted(groups) == sorted(f"trial-{number}" for number in range(self.num_started))
        assert {name for name in groups if self.rungs.can_continue(name, num_open=PLENTY)} == set(self.paused)

    @invariant()
    def every_result_is_there_once_in_the_order_they_came(self) -> None:
        assert self.rungs.counts() == [len(results) for results in self.results]
        for rung, results in enumerate(self.results):
            assert list(self.rungs.values(rung).items()) == list(results.items())


Histories.TestCase.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
TestHistories = Histories.TestCase
