"""The CPU frequency governor, set for the duration of a run and restored afterwards.

Under `schedutil` or `powersave` a core's frequency follows the load, so that the same work takes different
joules on an idle node than on a busy one; under `performance` trials are comparable. The governor belongs to
the machine and not to the run. Whatever ends the run restores it; if that is SIGKILL, the next run learns of
it from a file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from search.energy.counters.counter import SensorError
from search.energy.hardware import CPUS
from search.energy.processes import ProcessTable

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GovernorError(RuntimeError):
    """The governor cannot be set; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a run changed; the state file has it until it is undone.

    Attributes:
        before: The earlier governor of each core, such as {"cpu0": "schedutil"}.
        start_ticks: Identifies, together with the pid, the process that will undo the change.
        boot_id: The boot in which it was made: after a reboot there is nothing to undo.
    """

    governor: str
    before: Mapping[str, str]
    pid: int
    start_ticks: int | None
    boot_id: str

    @property
    def is_held(self) -> bool:
        """Whether the process that made the change is alive."""
        return _start_ticks(self.pid) == self.start_ticks is not None


def state_file(results: Path) -> Path:
    """The file that says what a run changed on this machine; several machines may share its folder."""
    return results / f".governor-{socket.gethostname()}.json"


def left_over(state: Path, *, cpus: Path = CPUS) -> str:
    """Return what a killed run left changed and how to undo it; empty if there is nothing."""
    change = _read(state)
    if change is None or change.is_held or _governors(cpus) == change.before:
        return ""
    return (
        f"a run that was killed left the CPU governor at {change.governor}; before it was "
        f"{_named(change.before)}. To restore it:\n{_commands(change, cpus)}\nrm {state}"
    )


@contextmanager
def held_governor(
    governor: str,
    state: Path,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    cpus: Path = CPUS,
) -> Iterator[None]:
    """Hold all cores at `governor` within the block, then restore what was there.

    They are restored also after an exception, SIGINT, SIGTERM and SIGHUP. SIGKILL leaves the state file:
    `left_over` reports it, and the next hold restores what was there before the first one.

    Args:
        state: Written before the first core is changed, removed after the last one is restored.

    Raises:
        GovernorError: There is no governor here, none of this name, or this user may not set it.
    """
    change = _planned(governor, state, cpus)
    with _signals_unwind():
        try:
            _write_state(state, change)
            _take(governor, change, cpus)
            num_cores, was = len(change.before), _named(change.before)
            say(f"governor: {governor} on {num_cores} cores for this run, {was} after it")
            yield
        finally:
            _put_back(change, state, warn, cpus)


def _planned(governor: str, state: Path, cpus: Path) -> Change:
    """Return the change to make; its `before` is from before any change that a killed run left.

    Raises:
        GovernorError: The change cannot be made, or a running process holds the governor.
    """
    now = _governors(cpus)
    if not now:
        raise GovernorError(
            f"--governor {governor}: this machine shows no frequency governor ({cpus}/cpu*/cpufreq is not "
            "there, as in most virtual machines); leave it out"
        )
    available = (cpus / next(iter(now)) / "cpufreq" / "scaling_available_governors").read_text().split()
    if governor not in available:
        raise GovernorError(f"--governor must be one of {', '.join(available)}, got {governor}")
    earlier = _read(state)
    if earlier is not None and earlier.is_held:
        raise GovernorError(f"--governor {governor}: process {earlier.pid} holds it at {earlier.governor}")
    return Change(
        governor=governor,
        before=now if earlier is None else earlier.before,
        pid=os.getpid(),
        start_ticks=_start_ticks(os.getpid()),
        boot_id=_boot_id(),
    )


def _start_ticks(pid: int) -> int | None:
    """When the process started; None if it is gone, or /proc cannot be read."""
    with suppress(SensorError):
        if process := ProcessTable().find(pid):
            return process.start_ticks
    return None


def _take(governor: str, change: Change, cpus: Path) -> None:
    """Set all cores.

    Raises:
        GovernorError: This user may not; the message has the command for root.
    """
    try:
        _set(dict.fromkeys(change.before, governor), cpus)
    except OSError as error:
        raise GovernorError(
            f"--governor {governor}: {error.filename} cannot be written ({error.strerror}). Run as root, or "
            f"leave the flag out and set it before the run: echo {governor} | sudo tee {_paths('cpu*', cpus)}"
        ) from error


def _put_back(change: Change, state: Path, warn: Callable[[str], None], cpus: Path) -> None:
    """Restore each core that differs, and delete the state file."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}  # ignore a second Ctrl-C
    try:
        now = _governors(cpus)
        _set({core: old for core, old in change.before.items() if now.get(core, old) != old}, cpus)
        state.unlink(missing_ok=True)
    except OSError as error:
        warn(f"the governor was not restored ({error.strerror}); do it by\n{_commands(change, cpus)}")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does; ignored signals (nohup) stay ignored."""

    def unwind(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    waited = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, unwind) for number in waited}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _governors(cpus: Path) -> dict[str, str]:
    """Return the governors by core; offline cores have none."""
    paths = sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    governors = {}
    for path in paths:
        with suppress(OSError):  # just taken offline
            governors[path.parent.parent.name] = path.read_text(errors="replace").strip()
    return governors


def _set(governors: Mapping[str, str], cpus: Path) -> None:
    for core, governor in governors.items():
        (cpus / core / "cpufreq" / "scaling_governor").write_text(f"{governor}\n")


def _commands(change: Change, cpus: Path) -> str:
    """Return one shell line per earlier governor."""
    lines = []
    for governor in sorted(set(change.before.values())):
        cores = [core for core, old in change.before.items() if old == governor]
        names = "cpu*" if len(cores) == len(change.before) else f"{{{','.join(cores)}}}"
        lines.append(f"echo {governor} | sudo tee {_paths(names, cpus)}")
    return "\n".join(lines)


def _paths(cores: str, cpus: Path) -> str:
    return f"{cpus}/{cores}/cpufreq/scaling_governor"


def _named(governors: Mapping[str, str]) -> str:
    """Return each governor once: "schedutil", or "performance+powersave" if cores differ."""
    return "+".join(sorted(set(governors.values())))


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


def _read(state: Path) -> Change | None:
    """Read the change from the file; None if there is none, or a reboot has undone it."""
    try:
        change = Change(**json.loads(state.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return change if change.boot_id == _boot_id() else None


def _write_state(state: Path, change: Change) -> None:
    """Write the state file before the change is made, so that it is there after a kill.

    Raises:
        GovernorError: The file cannot be written, so nothing is changed.
    """
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        new = state.with_suffix(".new")
        new.write_text(json.dumps(asdict(change), indent=1))
        new.replace(state)
    except OSError as error:
        raise GovernorError(f"--governor must first write a note to {state}: {error.strerror}") from error
