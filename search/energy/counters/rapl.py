"""Energy of CPU packages and DRAM through RAPL, as Linux shows it under /sys/class/powercap."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from search.energy.counters.counter import SensorError

POWERCAP = Path("/sys/class/powercap")

# Zones without limits (all of AMD) say no power: above the 500 W of the largest x86 sockets of 2025.
DEFAULT_MAX_POWER_UW = 600_000_000

_ROOT_ONLY = (
    "{path} is for root only (Linux since 5.10, against the PLATYPUS attack); until reboot: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj; for good, as a udev rule: "
    'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod -f a+r /sys%p/energy_uj"'
)
_NO_ZONES = (
    "no RAPL package under {root}: right in a virtual machine or on a CPU without RAPL; "
    "else modprobe intel_rapl_msr, and show a container the host's /sys"
)

ReadText = Callable[[Path], str]


class RaplCounter:
    """One powercap zone: a counter of microjoules that wraps at `max_energy_range_uj`.

    A step is accepted only if the zone's power allows it, and only while the counter cannot have
    gone round once more unseen; else the counter goes on from the new value and the step is kept
    in `unaccounted_mj`. So it must be read at least every `longest_gap_s`.
    """

    source = "rapl_powercap"
    power_ratio: float | None = None

    def __init__(self, zone: Path, device: str, clock: Callable[[], float], read_text: ReadText) -> None:
        self.device = device
        self.num_jumps = 0
        self._energy_file = zone / "energy_uj"
        self._read_text = read_text
        self._clock = clock
        self._range_uj = _read_uj(zone / "max_energy_range_uj", read_text)
        self._max_power_uw = _max_power_uw(zone, read_text)
        self._raw_uj, self._at_s = _read_uj(self._energy_file, read_text), clock()
        self.start_mj = self._raw_uj // 1000
        self._total_uj = 0
        self._unaccounted_uj = 0
        self._lock = threading.Lock()

    @property
    def unaccounted_mj(self) -> int:
        return self._unaccounted_uj // 1000

    @property
    def longest_gap_s(self) -> float:
        """Seconds in which the zone cannot go round at 1.5 times its full power."""
        return max(0.0, self._range_uj - 1e6) / (1.5 * self._max_power_uw)

    def read_mj(self) -> int:
        with self._lock:
            raw_uj, at_s = _read_uj(self._energy_file, self._read_text), self._clock()
            moved_uj = raw_uj - self._raw_uj
            if moved_uj < 0:
                moved_uj += self._range_uj
            self._count(moved_uj, at_s - self._at_s)
            self._raw_uj, self._at_s = raw_uj, at_s
            return self._total_uj // 1000

    def _count(self, moved_uj: int, gap_s: float) -> None:
        # 1 J of slack: two reads in quick succession still see a step of the hardware's own update.
        limit_uj = 1.5 * self._max_power_uw * gap_s + 1e6
        if 0 <= moved_uj <= limit_uj < self._range_uj:
            self._total_uj += moved_uj
        else:
            self.num_jumps += 1
            self._unaccounted_uj += moved_uj

    def close(self) -> None:
        """Nothing to free: the file is opened anew for each read."""


@dataclass(frozen=True)
class Rapl:
    """The counters of this node's CPUs: one per package, and one per DRAM zone where there are any."""

    packages: tuple[RaplCounter, ...]
    dram: tuple[RaplCounter, ...]


def open_rapl(root: Path, clock: Callable[[], float], read_text: ReadText = Path.read_text) -> Rapl:
    """Open the packages and DRAM zones under `root`, each joule in one of them only.

    Left out are psys (the whole board, packages included), core and uncore (parts of a package),
    intel-rapl-mmio (the same package as intel-rapl by another way) and dies that mirror their package.

    Raises:
        SensorError: No package, or one that cannot be read.
    """
    names = {zone: _zone_name(zone, read_text) for zone in sorted(root.glob("intel-rapl:*"))}
    dies = [zone for zone, name in names.items() if name.startswith("package-")]
    if not dies:
        raise SensorError(_NO_ZONES.format(root=root))
    packages = _without_mirrors(dies, names, read_text)
    dram = [
        RaplCounter(zone, f"{names[package]}/dram", clock, read_text)
        for package in packages
        for zone, name in names.items()
        if name == "dram" and zone.name.startswith(f"{package.name}:")
    ]
    counters = [RaplCounter(zone, names[zone], clock, read_text) for zone in packages]
    return Rapl(tuple(counters), tuple(dram))


def _without_mirrors(dies: list[Path], names: dict[Path, str], read_text: ReadText) -> list[Path]:
    kept: list[Path] = []
    for zone in dies:
        same_package = [other for other in kept if _package(names[other]) == _package(names[zone])]
        if not any(_is_mirror(zone, other, read_text) for other in same_package):
            kept.append(zone)
    return kept


def _package(name: str) -> str:
    """The package of a die: "package-0" of "package-0-die-1"."""
    return re.sub(r"-die-\d+$", "", name)


def _is_mirror(zone: Path, other: Path, read_text: ReadText) -> bool:
    """Whether both zones show one register: between two reads of one, the other lies between them."""
    before, between, after = (_read_uj(path / "energy_uj", read_text) for path in (other, zone, other))
    return before <= between <= after


def _max_power_uw(zone: Path, read_text: ReadText) -> int:
    # The larger of TDP and limits: a desktop CPU of 65 W TDP draws 200 W for as long as its limit allows.
    stated_uw = []
    for path in (*zone.glob("constraint_*_max_power_uw"), *zone.glob("constraint_*_power_limit_uw")):
        with suppress(SensorError):  # some constraints answer ENODATA; the others still hold
            stated_uw.append(_read_uj(path, read_text))
    return max(stated_uw, default=0) or DEFAULT_MAX_POWER_UW


def _zone_name(zone: Path, read_text: ReadText) -> str:
    try:
        return read_text(zone / "name").strip()
    except OSError as error:
        raise SensorError(f"{zone / 'name'} cannot be read: {error.strerror}") from error


def _read_uj(path: Path, read_text: ReadText) -> int:
    try:
        return int(read_text(path))
    except PermissionError as error:
        raise SensorError(_ROOT_ONLY.format(path=path)) from error
    except (OSError, ValueError) as error:
        raise SensorError(f"{path} cannot be read: {error}; was the RAPL module unloaded?") from error
