"""A powercap tree in a folder, laid out as under /sys/class/powercap on Linux."""

from __future__ import annotations

from pathlib import Path

RANGE_UJ = 262_143_328_850  # max_energy_range_uj of an Intel package: 2**32 steps of 61 uJ, 262 kJ


def add_zone(
    root: Path,
    zone: str,
    name: str,
    *,
    energy_uj: int = 0,
    range_uj: int = RANGE_UJ,
    max_power_uw: int | None = 100_000_000,
    power_limit_uw: int | None = None,
) -> Path:
    """Write a zone's files; zones are flat, `intel-rapl:0:1` beside `intel-rapl:0`."""
    folder = root / zone
    folder.mkdir(parents=True)
    files = {
        "name": name,
        "energy_uj": energy_uj,
        "max_energy_range_uj": range_uj,
        "constraint_0_max_power_uw": max_power_uw,
        "constraint_0_power_limit_uw": power_limit_uw,
    }
    for file, content in files.items():
        if content is not None:
            (folder / file).write_text(f"{content}\n")
    return folder


def set_energy(zone: Path, energy_uj: int) -> None:
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
