"""Calls into a driver. Whatever it does, the caller has an answer or a `SensorError` within a limit."""

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

CALL_S = 3.0  # a driver answers in 5 us to 5 ms; while a CUDA context is made, in up to a second
START_S = 20.0  # eight GPUs without persistence mode are set up again for the first caller
_IDLE_S = 60.0

MAX_GPU_MW = 5_000_000  # several times the hungriest module of 2025
MAX_MHZ = 20_000
COLDEST_C, HOTTEST_C = -60, 250


class NoAnswer(SensorError):
    """The driver did not come back."""


class CallThread:
    """Makes calls, one after another, in a thread of its own.

    An NVML call hangs for ever when a GPU has fallen off the bus, and so does a read of /sys from a stuck
    kernel. That costs the caller `limit_s` once: until the call comes back all others are refused at
    once, and no second one is sent after it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._hanging: tuple[Future[Any], float] | None = None  # the call that did not return, and since when
        self._thread: threading.Thread | None = None

    def ask(self, call: Callable[[], T], *, limit_s: float | None = None) -> T:
        """What `call` returns, or raises. Within another call of this thread it is made at once.

        Args:
            limit_s: `CALL_S` if not given.

        Raises:
            NoAnswer: It did not return in time, or an earlier one still has not.
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
        if self._thread is None or not self._thread.is_alive():  # a fork has no threads of its parent's
            self._thread = threading.Thread(target=self._run, name=f"calls of {self._name}", daemon=True)
            self._thread.start()
        answer: Future[T] = Future()
        asked_s = time.monotonic()
        self._calls.put((call, answer))
        # Not `result(timeout)`: a call may itself raise a TimeoutError, which is an answer.
        if not wait([answer], limit_s).done:
            self._hanging = answer, asked_s
            raise NoAnswer(f"{self._name} has not answered for {limit_s:g} s")
        return answer.result()

    def _run(self) -> None:
        while True:
            try:
                call, answer = self._calls.get(timeout=_IDLE_S)
            except queue.Empty:
                if self._lock.acquire(blocking=False):  # else another call is about to come
                    self._thread = None
                    self._lock.release()
                    return
                continue
            try:
                answer.set_result(call())
            except BaseException as error:  # it is the caller's: the thread continues
                answer.set_exception(error)


class DriverError(SensorError):
    """The driver refuses, lacks the function, or its answer cannot be read.

    Attributes:
        code: The driver's own number; None if it gave none.
        is_missing: It has no such function: another one may give the same.
    """

    def __init__(self, message: str, code: int | None = None, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.code, self.is_missing = code, is_missing


class Driver:
    """A driver by its Python module, whose functions are asked by name.

    Args:
        name: The driver's, for messages; `package` is what pip calls its module.
        explain: A refusal in words, from the function's name and what was raised.
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
        """The same driver with a thread for one device: the others answer while this one hangs."""
        calls = CallThread(f"{self._name} of {device}")
        return Driver(self._module, self._name, self._package, self._explain, calls)

    def ask(self, function: str, *arguments: Any, limit_s: float | None = None) -> Any:
        """What the driver's function returns.

        Raises:
            SensorError: It is missing, refuses, raises anything else, or does not come back.
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
        except Exception as error:  # a module's mismatch of versions, bytes that are no text, no memory
            raise self._explain(function, error) from error

    def together(self, calls: Callable[[], T], what: str, *, limit_s: float | None = None) -> T:
        """Make several calls with one change of threads, which costs more than most of them.

        Raises:
            SensorError: They did not come back in time.
        """
        try:
            return self._calls.ask(calls, limit_s=limit_s)
        except NoAnswer as error:
            raise NoAnswer(f"{error} when asked for {what}") from error

    def constant(self, name: str) -> Any:
        """A constant of the module, such as the number of a field.

        Raises:
            SensorError: The module has none of this name.
        """
        try:
            return getattr(self._module, name)
        except AttributeError as error:
            raise DriverError(
                f"the module {self._module_name} has no {name}: pip install --upgrade {self._package}"
            ) from error


def import_driver(module: str, missing: str) -> ModuleType:
    """A driver's Python module.

    Raises:
        SensorError: It is not there, or cannot be loaded; says `missing`.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SensorError(missing) from error
    except Exception as error:  # the module is there, its library is not, or is none
        raise SensorError(f"{missing} ({type(error).__name__}: {error})") from error


def sound(value: Any, lowest: float, highest: float) -> Any:
    """The number, if it is one and can be.

    Raises:
        SensorError: A driver's "N/A", NaN, -1 or 4294967295, which stands for nothing known.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise SensorError(f"its answer {value!r} is no number from {lowest:g} to {highest:g}")
    return value


def sound_text(value: Any) -> str:
    """The text, if it is one that can be shown.

    Raises:
        SensorError: It is empty, or has characters that no name has.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text or not text.isprintable():
        raise SensorError(f"its answer {value!r} is no name")
    return text
