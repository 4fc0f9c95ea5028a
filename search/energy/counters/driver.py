"""Calls into a driver. Whatever it does, the caller gets an answer or a `SensorError` within a time limit."""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from types import ModuleType
from typing import Any, TypeVar

from search.energy.counters.counter import SensorError

T = TypeVar("T")

CALL_S = 3.0  # a driver answers in 5 us to 5 ms, but in up to a second while a CUDA context is created
START_S = 20.0  # without persistence mode, eight GPUs are initialised again for the first caller
_IDLE_S = 60.0

MAX_GPU_MW = 5_000_000  # several times what the hungriest module of 2025 draws
MAX_MHZ = 20_000
COLDEST_C, HOTTEST_C = -60, 250


class NoAnswer(SensorError):
    """The driver did not return."""


class CallThread:
    """Makes calls, one after another, in a thread of its own.

    An NVML call hangs forever when a GPU has fallen off the bus, and so does a read of /sys when the kernel
    is stuck. This costs the caller `limit_s` only once: until the hanging call returns, all others are
    refused immediately and never sent.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._hanging: tuple[Future[Any], float] | None = None  # the call that did not return, and since when
        self._thread: threading.Thread | None = None

    def ask(self, call: Callable[[], T], *, limit_s: float | None = None) -> T:
        """Return or raise what `call` does. From within another call of this thread it is made directly.

        Args:
            limit_s: Defaults to `CALL_S`.

        Raises:
            NoAnswer: The call did not return in time, or an earlier call still has not.
        """
        if threading.current_thread() is self._thread:
            return call()
        limit_s = CALL_S if limit_s is None else limit_s
        if not self._lock.acquire(timeout=limit_s):
            raise NoAnswer(f"{self._name} has been busy for {limit_s:g} s")
        try:
            return self._made(call, limit_s)
        finally:
            self._lock.release()

    def _made(self, call: Callable[[], T], limit_s: float) -> T:
        if self._hanging and not self._hanging[0].done():
            since_s = time.monotonic() - self._hanging[1]
            raise NoAnswer(f"{self._name} has not answered for {since_s:.0f} s")
        self._hanging = None
        if self._thread is None or not self._thread.is_alive():  # a fork has none of its parent's threads
            self._thread = threading.Thread(target=self._run, name=f"calls of {self._name}", daemon=True)
            self._thread.start()
        answer: Future[T] = Future()
        asked_s = time.monotonic()
        self._calls.put((call, answer))
        # Not `result(timeout)`, because a call may itself raise TimeoutError, which is an answer.
        if not wait([answer], limit_s).done:
            self._hanging = answer, asked_s
            raise NoAnswer(f"{self._name} has not answered for {limit_s:g} s")
        return answer.result()

    def _run(self) -> None:
        while True:
            try:
                call, answer = self._calls.get(timeout=_IDLE_S)
            except queue.Empty:
                if self._lock.acquire(blocking=False):  # otherwise another call is about to come
                    self._thread = None
                    self._lock.release()
                    return
                continue
            try:
                answer.set_result(call())
            except BaseException as error:  # the caller's to handle: the thread continues
                answer.set_exception(error)


class DriverError(SensorError):
    """The driver refuses, lacks the function, or its answer cannot be read.

    Attributes:
        code: The driver's error code; None if it gave none.
        is_missing: Whether the driver lacks the function; another function may have the same answer.
    """

    def __init__(self, message: str, code: int | None = None, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.code, self.is_missing = code, is_missing


class Driver:
    """A driver behind its Python module, whose functions are called by name.

    Args:
        name: The driver's name in messages; `package` is pip's name for its module.
        explain: Puts a refusal into words, given the function's name and the exception.
        calls: The thread that makes the calls.
    """

    def __init__(
        self,
        module: ModuleType,
        name: str,
        package: str,
        explain: Callable[[str, Exception], DriverError],
        calls: CallThread,
    ) -> None:
        self._module, self._name, self._package = module, name, package
        self._explain, self._calls = explain, calls
        self._module_name = getattr(module, "__name__", name)

    def of_device(self, device: str) -> Driver:
        """Return the same driver with a thread for one device, so that others answer while this one hangs."""
        calls = CallThread(f"{self._name} of {device}")
        return Driver(self._module, self._name, self._package, self._explain, calls)

    def ask(self, function: str, *arguments: Any, limit_s: float | None = None) -> Any:
        """Call the driver's function and return its result.

        Raises:
            SensorError: The function is missing, refuses, raises anything else, or does not return.
        """
        try:
            return self.together(
                lambda: getattr(self._module, function)(*arguments), function, limit_s=limit_s
            )
        except SensorError:
            raise
        except AttributeError as error:
            raise DriverError(
                f"the module {self._module_name} has no {function} that works ({error}): "
                f"pip install --upgrade {self._package}",
                is_missing=True,
            ) from error
        except Exception as error:  # mismatched versions, bytes that are not text, no memory
            raise self._explain(function, error) from error

    def together(self, calls: Callable[[], T], what: str, *, limit_s: float | None = None) -> T:
        """Make several calls with a single switch of threads, which costs more than most calls.

        Raises:
            SensorError: The calls did not return in time.
        """
        try:
            return self._calls.ask(calls, limit_s=limit_s)
        except NoAnswer as error:
            raise NoAnswer(f"{error} when asked for {what}") from error

    def constant(self, name: str) -> Any:
        """Return a constant of the module, such as the number of a field.

        Raises:
            SensorError: The module has no constant of this name.
        """
        try:
            return getattr(self._module, name)
        except AttributeError as error:
            raise DriverError(
                f"the module {self._module_name} has no {name}: pip install --upgrade {self._package}"
            ) from error


def import_driver(module: str, missing: str) -> ModuleType:
    """Import a driver's Python module.

    Raises:
        SensorError: The module is not there or cannot be loaded; the message begins with `missing`.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SensorError(missing) from error
    except Exception as error:  # the module is there, but its library is missing or not a library
        raise SensorError(f"{missing} ({type(error).__name__}: {error})") from error


def sound(value: Any, lowest: float, highest: float) -> Any:
    """Return the value if it is a number within the limits.

    Raises:
        SensorError: It is not, such as a driver's "N/A", NaN, -1 or 4294967295 for an unknown value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise SensorError(f"its answer {value!r} is not a number from {lowest:g} to {highest:g}")
    return value


def sound_text(value: Any) -> str:
    """Return the text, stripped, if it is printable.

    Raises:
        SensorError: It is not text, is empty, or has unprintable characters.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text or not text.isprintable():
        raise SensorError(f"its answer {value!r} is not a name")
    return text
