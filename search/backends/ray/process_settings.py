"""Settings of a process that a training may change: read, compared and restored.

A warm worker trains many trials, and none may be affected by what an earlier one left: another default dtype,
a warnings filter, another working folder. Importing a library changes some of these too, as it would in a new
process, so such changes are accepted (`keep_changes_since`). All others are undone, and one that cannot be
undone costs the worker.
"""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

_UNREADABLE = object()  # such as a working folder that was removed
_SYS = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook", "dont_write_bytecode")
_SYS_LISTS = ("path", "meta_path", "path_hooks")
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)
_DECIMAL = ("prec", "rounding", "Emin", "Emax")


@dataclass(frozen=True)
class Setting:
    """One setting of this process.

    Attributes:
        name: Its name in notes in the log.
        write: Restores a value returned by `read`; raises if the system refuses.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


class Settings:
    """The initial values of settings, and what has changed since."""

    def __init__(self, settings: Iterator[Setting]) -> None:
        self._settings = {setting.name: setting for setting in settings}
        self._values = self.read()

    def read(self) -> dict[str, Any]:
        return {name: _read(setting) for name, setting in self._settings.items()}

    def keep_changes_since(self, before: Mapping[str, Any]) -> None:
        """Accept changes since `before`: an import made them, as it would in a new process."""
        now = self.read()
        self._values |= {name: value for name, value in now.items() if value != before.get(name, value)}

    def put_back(self) -> tuple[list[str], list[str]]:
        """Restore what has changed; return the names of what was restored, and of what could not be.

        A setter may fail, or appear to work but change nothing, so each setting is read again afterwards.
        A setting that is not restored costs the worker: the next trial gets a new process.
        """
        changed = [name for name, value in self.read().items() if value != self._values[name]]
        for name in changed:
            with suppress(Exception):  # checked again below
                self._settings[name].write(self._values[name])
        lost = [name for name in changed if _read(self._settings[name]) != self._values[name]]
        return [name for name in changed if name not in lost], lost


def _read(setting: Setting) -> Any:
    """Return the value, or a marker if it cannot be read; staying unreadable counts as no change."""
    try:
        return setting.read()
    except Exception:  # a removed folder, a patched function
        return _UNREADABLE


def process_settings() -> Iterator[Setting]:
    """Yield the settings of the process itself, of Python, and of what the operating system grants."""
    yield from _surroundings()
    yield from _interpreter_settings()
    yield from _standard_library_settings()
    yield from _operating_system_settings()


def _surroundings() -> Iterator[Setting]:
    """Yield what surrounds all code: variables, folders, signals, timers, files."""
    yield Setting("environment", lambda: dict(os.environ), _write_environment)
    yield Setting("working folder", os.getcwd, os.chdir)
    yield Setting("umask", _umask, os.umask)
    yield Setting("signal handlers", _handlers, _write_handlers)
    yield Setting(
        "blocked signals",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    )
    yield Setting("timers", lambda: [any(signal.getitimer(one)) for one in _TIMERS], _stop_timers)
    yield Setting("temporary folder", tempfile.gettempdir, partial(setattr, tempfile, "tempdir"))
    yield _attribute(os, "environ")
    yield _standard_files()


def _interpreter_settings() -> Iterator[Setting]:
    """Yield hooks, limits and the garbage collector of Python itself."""
    yield Setting("warnings filters", lambda: list(warnings.filters), _write_filters)
    for name in _SYS:
        yield _attribute(sys, name)
    for name in _SYS_LISTS:
        yield _list(f"sys.{name}", getattr(sys, name))
    yield _attribute(threading, "excepthook")
    yield _attribute(warnings, "showwarning")
    yield Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit)
    yield Setting("digits of integers", sys.get_int_max_str_digits, sys.set_int_max_str_digits)
    yield Setting("switch interval", sys.getswitchinterval, sys.setswitchinterval)
    yield Setting("trace function", sys.gettrace, sys.settrace)
    yield Setting("profile function", sys.getprofile, sys.setprofile)
    yield Setting("garbage collection", gc.isenabled, lambda is_on: gc.enable() if is_on else gc.disable())
    yield Setting("garbage thresholds", gc.get_threshold, lambda value: gc.set_threshold(*value))
    yield _list("gc.callbacks", gc.callbacks)


def _standard_library_settings() -> Iterator[Setting]:
    """Yield global state of standard modules: formats of numbers and times, logging."""
    yield Setting(
        "locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda value: locale.setlocale(locale.LC_ALL, value),
    )
    yield Setting("time zone", lambda: time.tzname, lambda _: time.tzset())
    yield Setting("decimal context", _decimal, _write_decimal)
    yield Setting("socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout)
    yield Setting("log level", lambda: logging.root.level, logging.root.setLevel)
    yield Setting("disabled logs", lambda: logging.root.manager.disable, logging.disable)
    yield _list("log handlers", logging.root.handlers)


def _operating_system_settings() -> Iterator[Setting]:
    """Yield what the kernel grants this process: cores, time, memory and files."""
    yield Setting("cores", lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores))
    yield Setting(
        "niceness",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda value: os.setpriority(os.PRIO_PROCESS, 0, value),
    )
    for limit in _LIMITS:
        yield Setting(
            f"resource limit {limit}",
            partial(resource.getrlimit, limit),
            partial(resource.setrlimit, limit),
        )


def numpy_settings(numpy: Any) -> Iterator[Setting]:
    """Yield numpy's settings of what is raised or printed; its random state is seeded for each trial."""
    yield Setting("numpy's errors", numpy.geterr, lambda value: numpy.seterr(**value))
    yield Setting("numpy's error function", numpy.geterrcall, numpy.seterrcall)
    yield Setting(
        "numpy's print options", numpy.get_printoptions, lambda value: numpy.set_printoptions(**value)
    )


def torch_settings(torch: Any) -> Iterator[Setting]:
    """Yield torch's settings that change what is computed, or how fast."""
    yield Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype)
    yield Setting("torch's default device", torch.get_default_device, _default_device_writer(torch))
    yield Setting("torch's grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled)
    yield Setting("torch's inference mode", torch.is_inference_mode_enabled, _no_way_back)
    yield Setting("torch's threads", torch.get_num_threads, torch.set_num_threads)
    yield Setting("torch's interop threads", torch.get_num_interop_threads, _no_way_back)
    yield Setting(
        "torch's deterministic mode", torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
    )
    yield Setting(
        "torch's matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    )
    yield Setting("torch's anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled)
    yield Setting(
        "denormal numbers",
        lambda: sys.float_info.min / 2 > 0,
        lambda is_kept: torch.set_flush_denormal(not is_kept),
    )
    yield Setting("torch's function modes", torch._C._len_torch_function_stack, _no_way_back)
    yield Setting("torch's dispatch modes", torch._C._len_torch_dispatch_stack, _no_way_back)
    for device in ("cpu", "cuda"):
        yield Setting(
            f"autocast on {device}",
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
        )
        yield Setting(
            f"autocast dtype on {device}",
            partial(torch.get_autocast_dtype, device),
            partial(torch.set_autocast_dtype, device),
        )
    yield from _backend_settings(torch)
    hooks = torch.nn.modules.module
    for name in vars(hooks):
        if name.startswith("_global_") and isinstance(getattr(hooks, name), dict):
            yield _dict(f"torch.nn.modules.module.{name}", getattr(hooks, name))
    for name in ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"):
        yield _dict(f"torch.optim.optimizer.{name}", vars(sys.modules["torch.optim.optimizer"])[name])


def _backend_settings(torch: Any) -> Iterator[Setting]:
    """Yield torch.backends' switches, as far as this version has them: they choose kernels, hence results."""
    backends = torch.backends
    for owner, title, names in (
        (backends.cudnn, "cudnn", ("enabled", "benchmark", "deterministic", "allow_tf32", "benchmark_limit")),
        (backends.mkldnn, "mkldnn", ("enabled", "deterministic")),
        (backends.opt_einsum, "opt_einsum", ("enabled", "strategy")),
        (backends.quantized, "quantized", ("engine",)),
        (
            backends.cuda.matmul,
            "cuda.matmul",
            (
                "allow_tf32",
                "allow_fp16_reduced_precision_reduction",
                "allow_bf16_reduced_precision_reduction",
            ),
        ),
    ):
        for name in names:
            if hasattr(owner, name):
                yield _attribute(owner, name, f"torch.backends.{title}.{name}")
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        read = getattr(backends.cuda, f"{kind}_sdp_enabled", None)
        write = getattr(backends.cuda, f"enable_{kind}_sdp", None)
        if read and write:
            yield Setting(f"torch's {kind} attention", read, write)


def _attribute(owner: Any, name: str, title: str = "") -> Setting:
    """Make a setting of an attribute of a module or class, named by its path."""
    title = title or f"{getattr(owner, '__name__', owner)}.{name}"
    return Setting(title, lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _list(title: str, items: list[Any]) -> Setting:
    """Make a setting of a list that others also hold, such as sys.path: its items are replaced in place."""
    return Setting(title, lambda: list(items), lambda value: items.__setitem__(slice(None), value))


def _dict(title: str, items: dict[Any, Any]) -> Setting:
    """Make a setting of a dict that others also hold: it is cleared and refilled in its old order."""

    def write(value: dict[Any, Any]) -> None:
        items.clear()
        items.update(value)

    return Setting(title, lambda: dict(items), write)


def _no_way_back(value: Any) -> None:
    """Refuse to restore what can be read but not set, so that a change costs the worker."""
    raise NotImplementedError("nothing restores this")


def _umask() -> int:
    """Return the umask, which can only be read by setting it; the second call restores it."""
    os.umask(now := os.umask(0o077))
    return now


def _write_environment(value: Mapping[str, str]) -> None:
    for name in os.environ.keys() - value.keys():
        del os.environ[name]
    os.environ.update({name: text for name, text in value.items() if os.environ.get(name) != text})


def _handlers() -> dict[int, Any]:
    """Return the handler of each signal; None was installed by C code, and Python cannot restore it."""
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _write_handlers(value: Mapping[int, Any]) -> None:
    for number, handler in value.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _stop_timers(were_on: list[bool]) -> None:
    """Stop the timers that a trial started; those that ran before have advanced, and are left alone."""
    for timer, was_on in zip(_TIMERS, were_on, strict=True):
        if not was_on:
            signal.setitimer(timer, 0)


def _write_filters(value: list[Any]) -> None:
    warnings.resetwarnings()  # it also makes Python forget which warnings it has shown
    warnings.filters[:] = value  # type: ignore[index]


def _decimal() -> list[Any]:
    return [getattr(decimal.getcontext(), name) for name in _DECIMAL]


def _write_decimal(value: list[Any]) -> None:
    for name, one in zip(_DECIMAL, value, strict=True):
        setattr(decimal.getcontext(), name, one)


def _default_device_writer(torch: Any) -> Callable[[Any], None]:
    was_set = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None) is not None
    return lambda value: torch.set_default_device(value if was_set else None)


def _standard_files() -> Setting:
    """Make a setting of input, output and errors; copies are kept, so that closed ones can be reopened."""
    copies = {number: os.dup(number) for number in (0, 1, 2) if _identity(number)}

    def write(value: Any) -> None:
        for number, copy in copies.items():
            os.dup2(copy, number)

    return Setting("standard files", lambda: [_identity(number) for number in (0, 1, 2)], write)


def _identity(number: int) -> tuple[int, int] | None:
    """Return the device and inode of the file behind a descriptor; None if it is closed."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino
