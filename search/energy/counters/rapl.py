"""Energy of CPU packages and DRAM through RAPL, as Linux shows it under /sys/class/powercap.

A zone is a folder with a file of microjoules that goes round: at 65 kJ to 262 kJ, which a package of 250 W
reaches within minutes. So a difference is taken modulo the range, in the thread that reads, and believed
only if the zone's power allows it: Zeus counts the wraps in another process, and returned -262 kJ just after
one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from search.energy.counters.counter import SensorError
from search.energy.counters.driver import CallThread
from search.energy.units import microjoules_to_mj

POWERCAP = Path("/sys/class/powercap")

# Zones without limits (all of AMD) state no power: above the 500 W of the largest x86 sockets of 2025.
DEFAULT_MAX_POWER_UW = 600_000_000

_MOST_POWER_UW = 5_000_000_000  # boards "without a limit" state 4,095 W
_SHORTEST_GAP_S = 0.1  # 65 kJ, the smallest range of real packages, last for 10 s at 4,095 W

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
    gone round once more unseen; else counting continues from the new value and the step is kept
    in `jumped_mj`. So it must be read at least every `longest_gap_s`.
    """

    sensor = "rapl_powercap"
    power_ratio: float | None = None

    def __init__(self, zone: Path, device: str, clock: Callable[[], float], read_text: ReadText) -> None:
        self.device = device
        self.num_jumps = 0
        self._energy_file = zone / "energy_uj"
        self._read_text = read_text
        self._clock = clock
        self._max_power_uw = _max_power_uw(zone, read_text)
        self._range_uj = self._readable_range_uj(zone / "max_energy_range_uj")
        self._counter_uj, self._at_s = self._readable_uj(), clock()
        self.counter_start_mj = microjoules_to_mj(self._counter_uj)
        self._metered_uj = 0
        self._jumped_uj = 0
        self._lock = threading.Lock()

    @property
    def jumped_mj(self) -> int:
        return microjoules_to_mj(self._jumped_uj)

    def _readable_range_uj(self, file: Path) -> int:
        """Where the counter goes round; refused if that is sooner than it can be read."""
        range_uj = _read_uj(file, self._read_text)
        if range_uj < 1.5 * self._max_power_uw * _SHORTEST_GAP_S + 1e6:
            watts = self._max_power_uw / 1e6
            raise SensorError(
                f"{file} shows {range_uj} uJ: at {watts:g} W it goes round faster than it can be read"
            )
        return range_uj

    @property
    def longest_gap_s(self) -> float:
        """Seconds in which the zone cannot go round at 1.5 times its full power."""
        return max(0.0, self._range_uj - 1e6) / (1.5 * self._max_power_uw)

    def read_mj(self) -> int:
        with self._lock:
            counter_uj, at_s = self._readable_uj(), self._clock()
            increment_uj = counter_uj - self._counter_uj
            if increment_uj < 0:
                increment_uj += self._range_uj
            self._count(increment_uj, at_s - self._at_s)
            self._counter_uj, self._at_s = counter_uj, at_s
            return microjoules_to_mj(self._metered_uj)

    def _readable_uj(self) -> int:
        """What the counter shows; junk beyond its own range is refused, not taken for a wrap."""
        counter_uj = _read_uj(self._energy_file, self._read_text)
        if counter_uj > self._range_uj:
            raise SensorError(
                f"{self._energy_file} shows {counter_uj} uJ, more than its range of {self._range_uj}"
            )
        return counter_uj

    def _count(self, increment_uj: int, gap_s: float) -> None:
        """Take a step for energy, if it can be, or for a jump."""
        # 1 J of slack: two reads in quick succession still see a step of the hardware's own update.
        limit_uj = 1.5 * self._max_power_uw * gap_s + 1e6
        if 0 <= increment_uj <= limit_uj < self._range_uj:
            self._metered_uj += increment_uj
        else:
            self.num_jumps += 1
            self._jumped_uj += increment_uj

    def close(self) -> None:
        """Nothing to free: the file is opened for each read."""


@dataclass(frozen=True)
class Rapl:
    """The counters of this node's CPUs: one per package, and one per DRAM zone where there are any.

    Attributes:
        no_dram_reason: Why DRAM zones that are there are left out: a sum without one would be too small.
    """

    packages: tuple[RaplCounter, ...]
    dram: tuple[RaplCounter, ...]
    no_dram_reason: str = ""


def open_rapl(root: Path, clock: Callable[[], float], read_text: ReadText = Path.read_text) -> Rapl:
    """Open the packages and DRAM zones under `root`, each joule in one of them only.

    Left out are psys (the whole board, packages included), core and uncore (parts of a package),
    intel-rapl-mmio (the same package as intel-rapl by another way) and dies that mirror their package.

    Raises:
        SensorError: No package, or one that cannot be read.
    """
    zones = sorted(root.glob("intel-rapl:*"))
    names = {zone: _zone_name(zone, read_text) for zone in zones if zone.name.count(":") == 1}
    parts, no_dram_reason = {}, ""
    try:
        parts = {zone: _zone_name(zone, read_text) for zone in zones if zone not in names}
    except SensorError as error:  # one of them may be DRAM
        no_dram_reason = str(error)
    dies = [zone for zone, name in names.items() if name.startswith("package-")]
    if not dies:
        raise SensorError(_NO_ZONES.format(root=root))
    packages = _without_mirrors(dies, names, read_text)
    counters = [RaplCounter(zone, names[zone], clock, read_text) for zone in packages]
    try:
        dram = [
            RaplCounter(zone, f"{names[package]}/dram", clock, read_text)
            for package in packages
            for zone, name in parts.items()
            if name == "dram" and zone.name.startswith(f"{package.name}:")
        ]
    except SensorError as error:
        return Rapl(tuple(counters), (), str(error))
    return Rapl(tuple(counters), tuple(dram), no_dram_reason)


def _without_mirrors(dies: list[Path], names: dict[Path, str], read_text: ReadText) -> list[Path]:
    """One zone for each register: on some CPUs every die of a package shows the whole package's counter."""
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
    """What the zone may draw, by what it states itself."""
    # The larger of TDP and limits: a desktop CPU of 65 W TDP draws 200 W for as long as its limit allows.
    stated_uw = []
    for path in (*zone.glob("constraint_*_max_power_uw"), *zone.glob("constraint_*_power_limit_uw")):
        with suppress(SensorError):  # some constraints answer ENODATA; the others still hold
            stated_uw.append(_read_uj(path, read_text))
    possible_uw = (uw for uw in stated_uw if uw <= _MOST_POWER_UW)
    return max(possible_uw, default=0) or DEFAULT_MAX_POWER_UW


def _zone_name(zone: Path, read_text: ReadText) -> str:
    try:
        return read_text(zone / "name").strip()
    except (OSError, ValueError) as error:
        raise SensorError(f"{zone / 'name'} cannot be read: {error}") from error


def _read_uj(path: Path, read_text: ReadText) -> int:
    try:
        value_uj = int(read_text(path))
    except PermissionError as error:
        raise SensorError(_ROOT_ONLY.format(path=path)) from error
    except (OSError, ValueError) as error:
        raise SensorError(f"{path} cannot be read: {error}; was the RAPL module unloaded?") from error
    if value_uj < 0:
        raise SensorError(f"{path} shows {value_uj} uJ, which no counter can")
    return value_uj


def patient_reader(calls: CallThread) -> ReadText:
    """Reads files in the thread of `calls`, so that a kernel that does not answer is a `SensorError`."""

    def read_text(path: Path) -> str:
        return calls.ask(path.read_text)

    return read_text
