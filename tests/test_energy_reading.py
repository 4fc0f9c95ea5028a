from __future__ import annotations

from search.energy.reading import EnergyReading


def test_a_total_is_the_sum_of_the_known_parts_and_says_which_they_are() -> None:
    reading = EnergyReading(gpu_mj=1500, cpu_mj=250)
    assert (reading.total_mj, reading.scope) == (1750, "gpu+cpu")


def test_a_known_zero_is_a_total_but_nothing_known_is_none() -> None:
    assert (EnergyReading(cpu_mj=0).total_mj, EnergyReading(cpu_mj=0).scope) == (0, "cpu")
    assert (EnergyReading().total_mj, EnergyReading().scope) == (None, "")


def test_a_difference_knows_only_what_both_readings_know() -> None:
    earlier = EnergyReading(gpu_mj=1000, cpu_mj=70, dram_mj=None)
    later = EnergyReading(gpu_mj=1600, cpu_mj=None, dram_mj=5)
    assert later - earlier == EnergyReading(gpu_mj=600, cpu_mj=None, dram_mj=None)
