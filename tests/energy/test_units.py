"""Millijoules inside, joules outside: nothing is lost on the way there and back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.energy.units import (
    microjoules_to_mj,
    to_exact_joules,
    to_joules,
    to_millijoules,
    to_milliwatts,
    to_watts,
)


@given(st.integers(-(2 * 10**15), 2 * 10**15))
def test_whole_millijoules_come_back_from_joules_up_to_two_terajoules(millijoules: int) -> None:
    assert to_millijoules(to_joules(millijoules)) == millijoules


@given(st.integers(-(10**18), 10**18))
def test_exact_joules_are_exact_at_any_size(millijoules: int) -> None:
    assert to_exact_joules(millijoules) * 1000 == millijoules


def test_what_is_unknown_stays_unknown_and_is_not_nothing() -> None:
    assert to_joules(None) is None
    assert to_joules(0) == 0.0


@pytest.mark.parametrize(
    ("microjoules", "millijoules"), [(0, 0), (999, 0), (1000, 1), (65_532_610_987, 65_532_610), (-1, -1)]
)
def test_a_millijoule_of_rapl_counts_when_it_is_whole(microjoules: int, millijoules: int) -> None:
    assert microjoules_to_mj(microjoules) == millijoules


def test_a_driver_s_milliwatts_are_watts_and_back() -> None:
    assert (to_watts(350_500), to_milliwatts(350.5)) == (350.5, 350_500)


def test_a_table_s_text_compares_with_whole_millijoules_where_a_float_would_not() -> None:
    assert to_exact_joules(300) == Decimal("0.1") + Decimal("0.2")
    assert to_joules(100) + to_joules(200) != to_joules(300)
