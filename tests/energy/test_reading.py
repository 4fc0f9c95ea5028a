from __future__ import annotations

from search.energy.reading import EnergyReading, whole_mj


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


def test_an_estimate_is_in_the_total_and_not_in_what_was_measured() -> None:
    reading = EnergyReading(gpu_mj=1500, estimated_mj=400)
    assert (reading.measured_mj, reading.total_mj, reading.scope) == (1500, 1900, "gpu+estimated")
    only = EnergyReading(estimated_mj=400)
    assert (only.measured_mj, only.total_mj, only.scope) == (None, 400, "estimated")


def test_the_parts_of_the_gpu_are_no_parts_of_the_total() -> None:
    reading = EnergyReading(
        gpu_mj=10, gpu_active_mj=6, gpu_context_mj=3, gpu_idle_share_mj=1, gpu_uncertainty_mj=2
    )
    assert (reading.total_mj, reading.scope) == (10, "gpu")
    assert (reading + reading).gpu_uncertainty_mj == 4
    assert EnergyReading(**reading.to_dict()) == reading


def test_a_journal_from_before_the_parts_is_read_as_it_is() -> None:
    old = EnergyReading(**{"gpu_mj": 5, "cpu_mj": 2})
    new = EnergyReading(
        gpu_mj=7, gpu_active_mj=7, gpu_context_mj=0, gpu_idle_share_mj=0, gpu_uncertainty_mj=1
    )
    assert (old.total_mj, (old + new).gpu_mj, (old + new).gpu_active_mj) == (7, 12, 7)


def test_a_sum_is_unknown_if_one_part_is() -> None:
    assert whole_mj([100, 0, 200]) == 300
    assert whole_mj([100, None, 200]) is None
    assert whole_mj([]) is None
