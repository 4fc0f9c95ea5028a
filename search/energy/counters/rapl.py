"""Energy of CPU packages and DRAM through RAPL, as Linux shows it under /sys/class/powercap.

A zone is a folder with a file of microjoules that wraps around at 65 kJ to 262 kJ, which a package of 250 W
reaches within minutes. Differences are therefore taken modulo the range, in the thread that reads, and
accepted only if the zone's power allows them. (Zeus counts the wraps in another process, and returned -262 kJ
just after a wrap.)
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

# For zones without limits (all of AMD's), which state no power. The largest x86 sockets of 2025 draw 500 W.
DEFAULT_MAX_POWER_UW = 600_000_000

_MOST_POWER_UW = 5_000_000_000  # boards "without a limit" state 4,095 W
_SHORTEST_GAP_S = 0.1  # 65 kJ, the smallest range of real packages, lasts over 10 s at 4,095 W

_ROOT_ONLY = (
    "{path} is readable only by root (Linux since 5.10, against the PLATYPUS attack); until reboot: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj; permanently, as a udev rule: "
    'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod -f a+r /sys%p/energy_uj"'
)
_NO_ZONES = (
    "no RAPL package under {root}, which is normal in a virtual machine or on a CPU without RAPL; "
    "otherwise modprobe intel_rapl_msr, and give a container the host's /sys"
)

ReadText = Callable[[Path], str]


class RaplCounter:
    """One powercap zone: a counter of microjoules that wraps at `max_energy_range_uj`.

    A step is accepted only if the zone's power allows it, and only if the counter cannot have wrapped once
    more unseen. Otherwise counting continues from the new value, and the step goes to `jumped_mj`. The
    counter must therefore be read at least every `longest_gap_s`.
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
        """Return where the counter wraps; refuse a range that wraps faster than it can be read."""
        range_uj = _read_uj(file, self._read_text)
        if range_uj < 1.5 * self._max_power_uw * _SHORTEST_GAP_S + 1e6:
            watts = self._max_power_uw / 1e6
            raise SensorError(
                f"{file} shows {range_uj} uJ: at {watts:g} W it wraps around faster than it can be read"
            )
        return range_uj

    @property
    def longest_gap_s(self) -> float:
        """Seconds within which the zone cannot wrap at 1.5 times its full power."""
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
        """Return the counter's value; refuse junk beyond its own range, which is not a wrap."""
        counter_uj = _read_uj(self._energy_file, self._read_text)
        if counter_uj > self._range_uj:
            raise SensorError(
                f"{self._energy_file} shows {counter_uj} uJ, more than its range of {self._range_uj}"
            )
        return counter_uj

    def _count(self, increment_uj: int, gap_s: float) -> None:
        """Count a step as energy if that is possible, else as a jump."""
        # 1 J of slack: of two reads in quick succession, the second may see one update of the hardware.
        limit_uj = 1.5 * self._max_power_uw * gap_s + 1e6
        if 0 <= increment_uj <= limit_uj < self._range_uj:
            self._metered_uj += increment_uj
        else:
            self.num_jumps += 1
            self._jumped_uj += increment_uj

    def close(self) -> None:
        """Do nothing: the file is opened for each read."""


@dataclass(frozen=True)
class Rapl:
    """The counters of this node's CPUs: one per package, and one per DRAM zone if there are any.

    Attributes:
        no_dram_reason: Why existing DRAM zones are left out: one of them cannot be read, and a sum without
            it would be too small.
    """

    packages: tuple[RaplCounter, ...]
    dram: tuple[RaplCounter, ...]
    no_dram_reason: str = ""


def open_rapl(root: Path, clock: Callable[[], float], read_text: ReadText = Path.read_text) -> Rapl:
    """Open the packages and DRAM zones under `root`, so that each joule is in only one of them.

    Left out are psys (the whole board, packages included), core and uncore (parts of a package),
    intel-rapl-mmio (another interface to the same package) and dies that mirror their package.

    Raises:
        SensorError: There is no package, or one cannot be read.
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
    """Keep one zone per register: on some CPUs every die of a package shows the whole package's counter."""
    kept: list[Path] = []
    for zone in dies:
        same_package = [other for other in kept if _package(names[other]) == _package(names[zone])]
        if not any(_is_mirror(zone, other, read_text) for other in same_package):
            kept.append(zone)
    return kept


def _package(name: str) -> str:
    """Return the package of a die: "package-0" for "package-0-die-1"."""
    return re.sub(r"-die-\d+$", "", name)


def _is_mirror(zone: Path, other: Path, read_text: ReadText) -> bool:
    """Whether both zones show the same register: one's value lies between two reads of the other."""
    before, between, after = (_read_uj(path / "energy_uj", read_text) for path in (other, zone, other))
    return before <= between <= after


def _max_power_uw(zone: Path, read_text: ReadText) -> int:
    """Return the most the zone may draw, as it states itself."""
    # The larger of TDP and limits: a desktop CPU with a TDP of 65 W draws 200 W while its limit allows.
    stated_uw = []
    for path in (*zone.glob("constraint_*_max_power_uw"), *zone.glob("constraint_*_power_limit_uw")):
        with suppress(SensorError):  # some constraints answer ENODATA; the others still apply
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
        raise SensorError(f"{path} shows {value_uj} uJ, which no energy counter can")
    return value_uj


def patient_reader(calls: CallThread) -> ReadText:
    """Return a reader of files in the thread of `calls`: a kernel that does not answer is a `SensorError`."""

    def read_text(path: Path) -> str:
        return calls.ask(path.read_text)

    return read_text
