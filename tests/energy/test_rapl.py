from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.energy.counters.counter import SensorError
from search.energy.counters.rapl import RaplCounter, open_rapl
from tests.support.fake_clock import FakeClock
from tests.support.fake_powercap import RANGE_UJ, add_zone, set_energy


def open_package(root: Path, clock: FakeClock) -> RaplCounter:
    [package] = open_rapl(root, clock).packages
    return package


def test_a_package_starts_at_zero_and_keeps_the_microjoules_it_rounds_off(tmp_path: Path) -> None:
    clock = FakeClock()
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=123_456_789)
    package = open_package(tmp_path, clock)
    readings = []
    for energy_uj in (123_456_789, 123_457_288, 123_457_788):  # 499 uJ, then 500 uJ more
        set_energy(zone, energy_uj)
        readings.append(package.read_mj())
    set_energy(zone, 123_457_789)
    assert [*readings, package.read_mj()] == [0, 0, 0, 1]
    assert (package.sensor, package.device) == ("rapl_powercap", "package-0")


def test_a_wrap_resumes_from_the_top_of_the_range(tmp_path: Path) -> None:
    clock = FakeClock()
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=RANGE_UJ - 30_000_000)
    package = open_package(tmp_path, clock)
    clock.now_s += 1
    set_energy(zone, 45_000_000)
    assert package.read_mj() == 75_000  # 30 J up to the range and 45 J after it
    assert package.num_jumps == 0


def test_a_step_is_accepted_up_to_one_and_a_half_times_full_power_and_one_joule(tmp_path: Path) -> None:
    # 100 W for 2 s: 1.5 x 100 x 2 + 1 = 301 J
    for step_uj, counted_mj, num_jumps in ((301_000_000, 301_000, 0), (301_000_001, 0, 1)):
        clock, root = FakeClock(), tmp_path / str(step_uj)
        zone = add_zone(root, "intel-rapl:0", "package-0")
        package = open_package(root, clock)
        clock.now_s += 2
        set_energy(zone, step_uj)
        assert (package.read_mj(), package.num_jumps) == (counted_mj, num_jumps)


def test_a_reset_is_no_wrap_and_counting_continues_after_it(tmp_path: Path) -> None:
    clock = FakeClock()
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=50_000_000_000)
    package = open_package(tmp_path, clock)
    clock.now_s += 1
    set_energy(zone, 10_000_000)  # as a wrap: 262,143.33 - 50,000 + 10 = 212,153.33 J in one second
    assert package.read_mj() == 0
    assert (package.num_jumps, package.jumped_mj) == (1, 212_153_328)
    clock.now_s += 1
    set_energy(zone, 60_000_000)
    assert package.read_mj() == 50_000


def test_a_step_after_so_long_that_a_wrap_may_be_missed_is_not_believed(tmp_path: Path) -> None:
    clock = FakeClock()
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")
    package = open_package(tmp_path, clock)
    # (262,143.33 - 1) J / 150 W
    assert package.longest_gap_s == pytest.approx(1747.615525667)
    clock.now_s += 1748
    set_energy(zone, 1_000_000)
    assert (package.read_mj(), package.num_jumps, package.jumped_mj) == (0, 1, 1000)


@pytest.mark.parametrize(
    ("max_power_uw", "power_limit_uw", "full_power_w"),
    [
        (65_000_000, 200_000_000, 200),
        (150_000_000, 0, 150),
        (None, 80_000_000, 80),
        (0, 0, 600),
        (None, None, 600),
    ],
)
def test_full_power_is_the_largest_the_zone_states_or_the_default(
    tmp_path: Path, max_power_uw: int | None, power_limit_uw: int | None, full_power_w: int
) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0", max_power_uw=max_power_uw, power_limit_uw=power_limit_uw)
    longest_gap_s = open_package(tmp_path, FakeClock()).longest_gap_s
    assert longest_gap_s == pytest.approx((RANGE_UJ - 1e6) / 1e6 / 1.5 / full_power_w)


def test_each_joule_is_in_one_zone_only(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=10)
    add_zone(tmp_path, "intel-rapl:0:0", "core")
    add_zone(tmp_path, "intel-rapl:0:1", "uncore")
    add_zone(tmp_path, "intel-rapl:0:2", "dram")
    add_zone(tmp_path, "intel-rapl:1", "package-1", energy_uj=10)  # equal by chance, yet another package
    add_zone(tmp_path, "intel-rapl:1:0", "dram")
    add_zone(tmp_path, "intel-rapl:2", "psys")
    add_zone(tmp_path, "intel-rapl-mmio:0", "package-0", energy_uj=10)
    rapl = open_rapl(tmp_path, FakeClock())
    assert [counter.device for counter in rapl.packages] == ["package-0", "package-1"]
    assert [counter.device for counter in rapl.dram] == ["package-0/dram", "package-1/dram"]


def test_a_die_that_mirrors_its_package_is_left_out_with_its_dram(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0-die-0", energy_uj=777_000)
    add_zone(tmp_path, "intel-rapl:0:0", "dram")
    add_zone(tmp_path, "intel-rapl:1", "package-0-die-1", energy_uj=777_000)
    add_zone(tmp_path, "intel-rapl:1:0", "dram")
    rapl = open_rapl(tmp_path, FakeClock())
    assert [counter.device for counter in rapl.packages] == ["package-0-die-0"]
    assert [counter.device for counter in rapl.dram] == ["package-0-die-0/dram"]


def test_a_mirror_that_moves_while_it_is_compared_is_still_a_mirror(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0-die-0")
    add_zone(tmp_path, "intel-rapl:1", "package-0-die-1")
    register_uj = iter(range(5000, 10**6, 61))

    def read_text(path: Path) -> str:
        return str(next(register_uj)) if path.name == "energy_uj" else path.read_text()

    assert len(open_rapl(tmp_path, FakeClock(), read_text).packages) == 1


def test_dies_with_counters_of_their_own_are_both_counted(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0-die-0", energy_uj=777_000)
    add_zone(tmp_path, "intel-rapl:1", "package-0-die-1", energy_uj=912_000)
    assert len(open_rapl(tmp_path, FakeClock()).packages) == 2


def test_a_refused_zone_names_the_udev_rule_and_the_chmod(tmp_path: Path) -> None:
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")

    def read_text(path: Path) -> str:  # injected, since root may read a file of any mode
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return path.read_text()

    with pytest.raises(SensorError) as refused:
        open_rapl(tmp_path, FakeClock(), read_text)
    assert str(refused.value).startswith(f"{zone}/energy_uj is readable only by root")
    assert "sudo chmod a+r" in str(refused.value)
    assert 'SUBSYSTEM=="powercap"' in str(refused.value)


def test_no_powercap_folder_and_one_without_packages_are_refused(tmp_path: Path) -> None:
    add_zone(tmp_path / "board", "intel-rapl:0", "psys")
    for root in (tmp_path / "absent", tmp_path / "board"):
        with pytest.raises(SensorError, match=f"no RAPL package under {root}"):
            open_rapl(root, FakeClock())


def test_a_zone_that_vanishes_is_an_error_and_comes_back_with_its_energy(tmp_path: Path) -> None:
    clock = FakeClock()
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=5_000_000)
    package = open_package(tmp_path, clock)
    shutil.rmtree(zone)
    with pytest.raises(SensorError, match="was the RAPL module unloaded"):
        package.read_mj()
    clock.now_s += 10
    add_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=605_000_000)
    assert package.read_mj() == 600_000


def test_text_that_is_no_number_is_an_error_not_a_zero(tmp_path: Path) -> None:
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")
    package = open_package(tmp_path, FakeClock())
    (zone / "energy_uj").write_text("")
    with pytest.raises(SensorError, match="energy_uj cannot be read"):
        package.read_mj()


def test_a_zone_that_is_closed_to_us_later_says_so_and_counts_on_when_it_opens(tmp_path: Path) -> None:
    clock, is_closed = FakeClock(), False
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")

    def read_text(path: Path) -> str:
        if is_closed:
            raise PermissionError(13, "Permission denied", str(path))
        return path.read_text()

    [package] = open_rapl(tmp_path, clock, read_text).packages
    is_closed = True
    with pytest.raises(SensorError, match="is readable only by root"):
        package.read_mj()
    is_closed, clock.now_s = False, clock.now_s + 2
    set_energy(zone, 90_000_000)
    assert (package.read_mj(), package.num_jumps) == (90_000, 0)


def test_dram_wraps_at_a_range_of_its_own(tmp_path: Path) -> None:
    clock = FakeClock()
    add_zone(tmp_path, "intel-rapl:0", "package-0")
    zone = add_zone(tmp_path, "intel-rapl:0:0", "dram", energy_uj=65_000_000_000, range_uj=65_712_999_613)
    [dram] = open_rapl(tmp_path, clock).dram
    clock.now_s += 30
    set_energy(zone, 287_000_387)
    assert (dram.read_mj(), dram.counter_start_mj) == (1_000_000, 65_000_000)


def test_what_was_counted_before_a_missed_wrap_stays(tmp_path: Path) -> None:
    clock = FakeClock()
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")
    package = open_package(tmp_path, clock)
    readings = []
    for gap_s, energy_uj in ((1, 100_000_000), (1800, 5_000_000), (1, 105_000_000)):
        clock.now_s += gap_s
        set_energy(zone, energy_uj)
        readings.append(package.read_mj())
    assert readings == [100_000, 100_000, 200_000]
    assert package.read_mj() + package.jumped_mj == 262_143_328 + 105_000  # as if it had wrapped once


@settings(deadline=None)  # a shared machine
@given(
    start_uj=st.integers(0, RANGE_UJ - 1),
    steps=st.lists(st.tuples(st.floats(0.001, 290.0), st.floats(0.0, 1.0)), max_size=40),
)
def test_through_any_wraps_a_package_never_falls_and_counts_every_joule(
    start_uj: int, steps: list[tuple[float, float]]
) -> None:
    clock, true_uj = FakeClock(0.0), start_uj
    files = {"energy_uj": start_uj, "max_energy_range_uj": RANGE_UJ}
    package = RaplCounter(Path("/zone"), "package-0", clock, lambda path: str(files[path.name]))
    for gap_s, load in steps:  # no power is stated, so 900 W are believed: 1.5 x 600 W
        clock.now_s += gap_s
        true_uj += int(900e6 * load * gap_s)
        files["energy_uj"] = true_uj % RANGE_UJ
        assert package.read_mj() == (true_uj - start_uj) // 1000
    assert (package.num_jumps, package.jumped_mj) == (0, 0)
