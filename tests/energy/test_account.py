from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.energy.attribution.account import Device, DeviceAccount
from search.energy.attribution.windows import Window
from search.energy.counters.gpu import GpuState, GpuTelemetry
from tests.support.fake_device import FakeActivity, FakeCounter

HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)


def window_of(name: str, share: Fraction, key: str = "") -> Window:
    return Window(name=name, pid=1, key=key, shares={"GPU-a": share})


class Bench:
    """An account with its fakes: `after` moves the time and the counter, and ticks."""

    def __init__(self, *, is_rest_external: bool = False) -> None:
        self.counter, self.activity, self.now_s = FakeCounter(5000), FakeActivity(), 0.0
        device = Device(
            name="GPU-a",
            kind="gpu",
            counter=self.counter,
            activity=self.activity,
            is_rest_external=is_rest_external,
        )
        self.account = DeviceAccount(device, self.now_s)

    def open(self, window: str, share: Fraction = QUARTER, key: str = "") -> None:
        self.account.open(window_of(window, share, key), self.now_s)

    def after(self, seconds: float, moved_mj: int, external_s: float = 0.0, **use_s: float | None) -> None:
        self.now_s += seconds
        self.counter.counter_mj = (self.counter.counter_mj or 0) + moved_mj
        self.activity.use_s, self.activity.external_s = use_s, external_s
        self.account.tick(self.now_s)
        self.activity.use_s, self.activity.external_s = {}, 0.0

    def cut(self) -> None:
        self.account.cut(self.now_s)


def test_a_shared_device_is_settled_every_five_seconds_by_utilisation() -> None:
    bench = Bench()
    bench.open("a")
    bench.open("b")
    for _ in range(4):
        bench.after(1, 1000, a=0.6, b=0.2)
    assert bench.account.record("a").used_mj == 0
    bench.after(1, 1000, a=0.6, b=0.2)
    assert (bench.account.record("a").used_mj, bench.account.record("b").used_mj) == (3750, 1250)
    assert bench.account.record("a").method == "utilisation"


def test_a_whole_window_is_settled_at_each_sample() -> None:
    bench = Bench()
    bench.open("a", Fraction(1))
    bench.after(0.01, 7)
    record = bench.account.record("a")
    assert (record.used_mj, record.method) == (7, "exclusive")


def test_windows_cut_time_to_the_millijoule() -> None:
    bench = Bench()
    bench.after(1, 111)  # nobody's
    bench.open("a")
    bench.after(1, 222, a=0.5)
    bench.open("b")
    bench.after(1, 333, b=0.5)
    bench.account.close("a", bench.now_s)
    bench.after(1, 444, b=0.5)
    bench.account.close("b", bench.now_s)
    bench.after(5, 555)
    account = bench.account
    assert (account.record("a").used_mj, account.record("b").used_mj) == (222, 777)
    assert account.idle_mj == 666


def test_a_reset_and_a_gap_are_unaccounted_and_the_residual_is_zero() -> None:
    bench = Bench()
    bench.open("a")
    bench.open("b")
    bench.after(5, 1000, a=1.0, b=1.0)
    bench.after(1, -4000)  # the driver was loaded anew: 6000 -> 2000
    bench.after(60, 9000, a=1.0)  # suspended: the ring of samples holds 10 s
    bench.after(5, 500, a=1.0)
    bench.cut()
    row = bench.account.row()
    assert (row["counter_start_mj"], row["counter_end_mj"], row["energy_device_j"]) == (5000, 11500, 6.5)
    assert (row["energy_trials_j"], row["energy_unaccounted_j"], row["residual_j"]) == (1.5, 5.0, 0.0)
    assert bench.account.record("a").covered_s == 10.0  # 5 s before and after; the second of the reset waited


def test_a_gap_is_the_window_s_where_the_whole_device_is() -> None:
    bench = Bench()
    bench.open("a", Fraction(1))
    bench.after(3600, 90_000)
    assert bench.account.record("a").used_mj == 90_000
    assert bench.account.gap_mj == 0


def test_what_moves_unseen_across_a_change_of_windows_is_unaccounted() -> None:
    bench = Bench()
    bench.open("a", Fraction(1))
    bench.counter.counter_mj = None
    bench.account.close("a", 1.0)
    bench.account.open(window_of("b", Fraction(1)), 1.0)
    assert bench.account.lost == "GPU-a: lost"
    bench.counter.counter_mj = 5000
    bench.after(2, 800)
    bench.after(1, 300)
    assert (bench.account.record("b").used_mj, bench.account.gap_mj) == (300, 800)


def test_a_short_stretch_without_a_sample_continues_at_the_last_rates() -> None:
    bench = Bench()
    bench.open("a")
    bench.open("b")
    bench.after(5, 5000, a=3.0, b=1.0)
    bench.now_s += 0.2
    bench.counter.counter_mj = 10_200
    bench.open("c")
    assert (bench.account.record("a").used_mj, bench.account.record("b").used_mj) == (3900, 1300)


def test_frequent_readers_of_a_shared_device_get_the_last_second_settled() -> None:
    bench = Bench()
    bench.open("a")
    bench.open("b")
    bench.after(1, 1000, a=0.5)
    bench.account.refresh(1.0)
    assert bench.account.record("a").used_mj == 1000
    bench.counter.counter_mj = 6400
    bench.account.refresh(1.4)
    assert bench.account.record("a").used_mj == 1000


def test_a_start_alone_calibrates_what_follows() -> None:
    bench = Bench()
    bench.open("a")
    bench.open("b")
    for _ in range(3):
        bench.after(1, 300_000, a=1.0)
    for window, watts in (("a", 0), ("b", 100)):
        assert bench.account.watch.watts.known_w(window) == (300.0 if window == "a" else None), watts
    bench.account.watch.watts.slot_of = "b"
    for _ in range(3):
        bench.after(1, 100_000, b=1.0)
    bench.account.watch.watts.slot_of = ""
    bench.cut()
    before_mj = bench.account.record("a").used_mj
    bench.after(5, 1_000_000, a=2.5, b=2.5)
    assert bench.account.record("a").used_mj - before_mj == 750_000
    assert "calibrated" in bench.account.record("a").by_method_mj


def test_an_external_process_gets_its_part() -> None:
    bench = Bench()
    bench.open("a", Fraction(1))
    bench.after(5, 1000, external_s=1.0, a=3.0)
    account = bench.account
    assert (account.record("a").used_mj, account.external_mj) == (750, 250)
    assert account.record("a").alone_s == 0.0


def test_the_power_temperature_and_clocks_of_the_device_are_means_over_the_window() -> None:
    class Telemetry(GpuTelemetry):
        state_now = GpuState(power_w=100.0, utilisation=0.5, temperature_c=40.0, sm_clock_mhz=1980.0)

        def state(self) -> GpuState:
            return self.state_now

    counter, telemetry = FakeCounter(), Telemetry()
    account = DeviceAccount(Device(name="GPU-a", kind="gpu", counter=counter, telemetry=telemetry), 0.0)
    account.open(window_of("a", Fraction(1)), 0.0)
    counter.counter_mj = 100_000
    account.tick(1.0)
    telemetry.state_now = GpuState(power_w=400.0, utilisation=None, temperature_c=60.0, sm_clock_mhz=990.0)
    counter.counter_mj = 1_300_000
    account.tick(4.0)
    record = account.record("a")
    assert (record.power_mean_w, record.power_min_w, record.power_max_w) == (325.0, 100.0, 400.0)
    assert (record.utilisation.value, record.temperature_c.value) == (0.5, 55.0)
    assert (record.sm_clock_mhz.value, record.memory_clock_mhz.value) == (1237.5, None)


def test_the_smallest_watts_are_those_of_training_and_not_of_a_start() -> None:
    """While a worker imports, the device idles at 60 W."""

    class Telemetry(GpuTelemetry):
        power_w: float | None = 60.0

        def state(self) -> GpuState:
            return GpuState(power_w=self.power_w)

    counter, telemetry = FakeCounter(), Telemetry()
    account = DeviceAccount(Device(name="GPU-a", kind="gpu", counter=counter, telemetry=telemetry), 0.0)
    account.open(window_of("a", Fraction(1)), 0.0, is_starting=True)
    for now_s, power_w in ((1.0, 60.0), (2.0, 60.0)):
        telemetry.power_w, counter.counter_mj = power_w, round(60_000 * now_s)
        account.tick(now_s)
    telemetry.power_w = 90.0
    account.end_start("a", 2.0)
    for now_s, power_w in ((3.0, 300.0), (4.0, None), (5.0, 210.0)):
        telemetry.power_w, counter.counter_mj = power_w, counter.counter_mj + 240_000
        account.tick(now_s)
    record = account.record("a")
    assert (record.power_min_w, record.power_max_w, record.power_mean_w) == (210.0, 300.0, 240.0)
    assert (record.start_mj, record.used_mj) == (120_000, 720_000)
    row = account.row()
    assert (row["energy_trials_j"], row["energy_starts_j"], row["energy_device_j"]) == (720.0, 120.0, 840.0)


def test_the_label_is_that_of_the_worst_method_above_a_twentieth_of_the_joules() -> None:
    bench = Bench()
    bench.open("a")
    record = bench.account.record("a")
    assert record.method == "reserved"
    record.by_method_mj = {"calibrated": 95, "utilisation": 5}
    assert record.method == "calibrated"
    record.by_method_mj = {"calibrated": 94, "utilisation": 6}
    assert record.method == "utilisation"


STEP = st.one_of(
    st.tuples(
        st.just("tick"),
        st.sampled_from([0.0, 0.1, 1.0, 1.0, 1.0, 4.0, 11.0, 3600.0]),
        st.integers(0, 10**6),
        st.lists(st.one_of(st.none(), st.floats(0, 1), st.floats()), min_size=4, max_size=4),
        st.sampled_from([0.0, 0.0, 0.3]),
        st.sampled_from([(True, True), (True, False), (False, False), (None, None)]),
    ),
    st.tuples(st.just("open"), st.sampled_from("abcd"), st.integers(1, 10_000)),
    st.tuples(st.just("close"), st.sampled_from("abcd")),
    st.tuples(st.just("start"), st.sampled_from("abcd"), st.booleans()),
    st.tuples(st.just("reset"), st.integers(0, 10**5)),
    st.tuples(st.just("lose")),
    st.tuples(st.just("read")),
    st.tuples(st.just("slice"), st.sampled_from(["", "a", "b"])),
)
HISTORIES = st.lists(STEP, max_size=30)


def play(history: list[tuple[object, ...]], *, is_rest_external: bool) -> None:
    """Run a history and check after each step that nothing is lost, negative or falling."""
    bench = Bench(is_rest_external=is_rest_external)
    account, open_now, counter_mj, opened = bench.account, {}, 5000, 0
    names: list[str] = []
    last: dict[str, int] = {}
    for what, *rest in history:
        bench.counter.counter_mj = counter_mj
        match what, rest:
            case "tick", [float(seconds), int(moved_mj), list(use), float(external_s), tuple(state)]:
                counter_mj += moved_mj
                bench.activity.is_occupied, bench.activity.is_active = state
                used = {name: use[index % 4] for index, name in enumerate(names)}
                bench.after(seconds, moved_mj, external_s, **used)
            case "open", [str(slot), int(parts)] if slot not in open_now:
                open_now[slot] = f"{slot}{opened}"
                names.append(open_now[slot])
                opened += 1
                bench.open(open_now[slot], Fraction(parts, 10_000), key=slot)
            case "close", [str(slot)] if slot in open_now:
                account.close(open_now.pop(slot), bench.now_s)
            case "start", [str(slot), bool(begins)] if slot in open_now:
                phase = account.begin_start if begins else account.end_start
                phase(open_now[slot], bench.now_s)
            case "reset", [int(value)]:
                counter_mj = bench.counter.counter_mj = value
                account.tick(bench.now_s)
            case "lose", []:
                bench.counter.counter_mj = None
                account.cut(bench.now_s)
            case "read", []:
                account.refresh(bench.now_s)
            case "slice", [str(slot)]:
                account.watch.watts.slot_of = open_now.get(slot, "")
        row = account.row()
        assert row["residual_j"] == 0
        totals = {name: account.record(name) for name in names}
        for name, record in totals.items():
            assert min(record.active_mj, record.context_mj, record.idle_share_mj) >= 0
            assert record.used_mj >= last.get(name, 0)
            last[name] = record.used_mj
        assert min(account.external_mj, account.idle_mj, account.gap_mj) >= 0
    bench.counter.counter_mj = counter_mj
    bench.cut()
    row, trials_mj = (
        account.row(),
        sum(account.record(name).used_mj + account.record(name).start_mj for name in names),
    )
    ledger_mj = trials_mj + account.external_mj + account.idle_mj + account.gap_mj
    assert ledger_mj + bench.counter.jumped_mj == counter_mj - 5000
    assert row["counter_end_mj"] == counter_mj


@settings(max_examples=300, deadline=None)  # a shared machine
@given(HISTORIES, st.booleans())
def test_any_history_conserves_every_millijoule(
    history: list[tuple[object, ...]], is_rest_external: bool
) -> None:
    play(history, is_rest_external=is_rest_external)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(HISTORIES, st.booleans())
def test_ten_thousand_histories_conserve_every_millijoule(
    history: list[tuple[object, ...]], is_rest_external: bool
) -> None:
    play(history, is_rest_external=is_rest_external)
