from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.energy.attribution.tick import Split, Tick, Usage, apportion, split


def usage(
    share: str, utilisation_s: float | None = None, watts_per_utilisation: float | None = None
) -> Usage:
    return Usage(
        share=Fraction(share), utilisation_s=utilisation_s, watts_per_utilisation=watts_per_utilisation
    )


def active(result: Split) -> dict[str, int]:
    return {window: share.active_mj for window, share in result.shares.items()}


def test_a_tick_is_idle_then_context_then_active() -> None:
    usages = {"a": usage("1/4", 0.6, 300.0), "b": usage("1/2", 0.2, 100.0)}
    tick = Tick(increment_mj=300_000, duration_s=1.0, usages=usages, bare_w=70, context_w=110)
    result = split(tick)
    # I = 70 J by shares; C = 40 J, half each; A = 190 J by 0.6 x 300 : 0.2 x 100 = 9 : 1
    a, b = result.shares["a"], result.shares["b"]
    assert (a.active_mj, a.context_mj, a.idle_share_mj) == (171_000, 20_000, 17_500)
    assert (b.active_mj, b.context_mj, b.idle_share_mj) == (19_000, 20_000, 35_000)
    assert (result.external_mj, result.idle_mj, result.method) == (0, 17_500, "calibrated")


def test_one_window_of_the_whole_device_gets_all_of_it() -> None:
    tick = Tick(increment_mj=123_457, duration_s=1.0, usages={"a": usage("1")}, bare_w=70, context_w=110)
    result = split(tick)
    assert (result.shares["a"].used_mj, result.method) == (123_457, "exclusive")


def test_a_process_of_nobody_at_work_is_external_even_beside_a_whole_window() -> None:
    usages = {"a": usage("1", 0.75)}
    result = split(Tick(increment_mj=1000, duration_s=1.0, usages=usages, external_s=0.25))
    assert (active(result), result.external_mj, result.method) == ({"a": 750}, 250, "utilisation")


def test_unknown_watts_leave_plain_utilisation() -> None:
    usages = {"a": usage("1/2", 0.6), "b": usage("1/2", 0.2)}
    result = split(Tick(increment_mj=800, duration_s=1.0, usages=usages))
    assert (active(result), result.method) == ({"a": 600, "b": 200}, "utilisation")


def test_one_unknown_wattage_is_taken_as_the_mean_of_the_known_ones() -> None:
    usages = {"a": usage("1/4", 0.5, 300.0), "b": usage("1/4", 0.5, 100.0), "c": usage("1/4", 0.5)}
    result = split(Tick(increment_mj=600, duration_s=1.0, usages=usages))
    assert (active(result), result.method) == ({"a": 300, "b": 100, "c": 200}, "utilisation")


def test_nobody_at_work_is_equal_and_unknown_utilisation_is_reserved() -> None:
    idle = {"a": usage("1/4", 0.0), "b": usage("3/4", 0.0)}
    unknown = {"a": usage("1/4", 0.9), "b": usage("3/4", None)}
    equal = split(Tick(increment_mj=1000, duration_s=1.0, usages=idle))
    reserved = split(Tick(increment_mj=1000, duration_s=1.0, usages=unknown))
    assert (active(equal), equal.method) == ({"a": 500, "b": 500}, "equal")
    assert (active(reserved), reserved.method) == ({"a": 250, "b": 750}, "reserved")


def test_an_unseen_rest_gets_what_is_not_reserved() -> None:
    usages = {"a": usage("2/7")}
    tick = Tick(increment_mj=700, duration_s=1.0, usages=usages, bare_w=0.07, context_w=0.14)
    result = split(Tick(**{**vars(tick), "is_rest_external": True}))
    assert (result.shares["a"].used_mj, result.external_mj, result.idle_mj) == (200, 450, 50)
    assert result.method == "reserved"


def test_without_windows_all_is_idle_unless_others_work() -> None:
    levels = {"bare_w": 0.25, "context_w": 0.5}
    alone = split(Tick(increment_mj=1000, duration_s=1.0, **levels))
    others = split(Tick(increment_mj=1000, duration_s=1.0, external_s=0.1, **levels))
    assert (alone.idle_mj, alone.external_mj, alone.method) == (1000, 0, None)
    assert (others.idle_mj, others.external_mj) == (250, 750)


def test_a_counter_below_the_idle_level_is_all_idle() -> None:
    result = split(Tick(increment_mj=50, duration_s=1.0, usages={"a": usage("1/2", 1.0)}, bare_w=70))
    share = result.shares["a"]
    assert (share.active_mj, share.context_mj, share.idle_share_mj, result.idle_mj) == (0, 0, 25, 25)


def test_a_falling_counter_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        split(Tick(increment_mj=-1, duration_s=1.0))


def test_the_largest_remainders_are_rounded_up() -> None:
    assert apportion(10, {"a": 1.0, "b": 1.0, "c": 1.0}) == {"a": 4, "b": 3, "c": 3}
    assert apportion(7, {"a": 0.5, "b": 2.5, "c": 4.0}) == {"a": 1, "b": 2, "c": 4}  # 0.5, 2.5, 4.0
    assert apportion(5, {"a": 0.0, "b": 3.0}) == {"a": 0, "b": 5}


ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
USE = st.one_of(st.just(0.0), st.floats(0, 1), ANY_FLOAT)
USAGES = st.dictionaries(
    st.text(max_size=3),
    st.builds(
        Usage,
        share=st.fractions(Fraction(-1, 10), 2, max_denominator=10_000),
        utilisation_s=st.one_of(st.none(), USE),
        watts_per_utilisation=st.one_of(st.none(), st.floats(1, 700), ANY_FLOAT),
    ),
    max_size=6,
)
TICKS = st.builds(
    Tick,
    increment_mj=st.integers(0, 10**12),
    duration_s=st.one_of(st.floats(0, 20), ANY_FLOAT),
    usages=USAGES,
    external_s=USE,
    bare_w=st.one_of(st.floats(0, 100), ANY_FLOAT),
    context_w=st.one_of(st.floats(0, 200), ANY_FLOAT),
    is_rest_external=st.booleans(),
)


@given(TICKS)
def test_any_tick_is_split_exactly_and_nothing_is_negative(tick: Tick) -> None:
    result = split(tick)
    parts = [
        number
        for share in result.shares.values()
        for number in (share.active_mj, share.context_mj, share.idle_share_mj)
    ]
    assert sum(parts) + result.external_mj + result.idle_mj == tick.increment_mj
    assert min([*parts, result.external_mj, result.idle_mj]) >= 0
    assert set(result.shares) == set(tick.usages)


@given(TICKS, st.randoms(use_true_random=False))
def test_the_order_of_windows_does_not_matter(tick: Tick, random: object) -> None:
    names = list(tick.usages)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: tick.usages[name] for name in names}
    assert split(tick) == split(Tick(**{**vars(tick), "usages": shuffled}))


SOUND_CLAIMS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.builds(
        Usage,
        share=st.just(Fraction(1, 8)),
        utilisation_s=st.floats(0, 1),
        watts_per_utilisation=st.one_of(st.none(), st.floats(1, 700)),
    ),
    min_size=1,
    max_size=5,
)


@given(SOUND_CLAIMS, st.integers(0, 10**9), st.floats(0, 1))
def test_an_idle_window_never_changes_the_active_part_of_others(
    usages: dict[str, Usage], increment_mj: int, external_s: float
) -> None:
    usages["a"] = usage("1/8", 0.5, 200.0)  # somebody works: else all are equal, and one more changes that
    tick = Tick(
        increment_mj=increment_mj,
        duration_s=1.0,
        usages=usages,
        external_s=external_s,
        bare_w=70,
        context_w=110,
    )
    before = active(split(tick))
    joined = {**usages, "idle": usage("1/8", 0.0, 400.0)}
    after = active(split(Tick(**{**vars(tick), "usages": joined})))
    assert after.pop("idle") == 0
    assert after == before


def test_watts_beyond_all_numbers_count_as_nothing() -> None:
    usages = {"a": usage("1/2", math.inf, math.nan), "b": usage("1/2", 0.5, -3.0)}
    assert active(split(Tick(increment_mj=9, duration_s=math.nan, usages=usages))) == {"a": 0, "b": 9}
