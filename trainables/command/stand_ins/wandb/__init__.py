"""A stand-in for Weights & Biases in a script under search: no network, no account, no other package.

The search puts its folder first on the path of a script (`metrics: wandb`), so that `import wandb` finds it.
`wandb.config` has the trial's hyperparameters, which override the script's own as in a W&B sweep, and logged
values become a line of JSON in the file named by JOULETUNE_WANDB_HISTORY. What a search cannot use (images,
tables, artifacts, alerts) is accepted and dropped. Whatever would need W&B's servers raises an error.

With JOULETUNE_WANDB_REAL=1 the real package, which must be installed, is also called; it stays offline unless
the script's environment sets another WANDB_MODE.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from wandb.modules import add_modules
from wandb.trial_config import Config, of_trial, plain_settings

__version__ = "0.99.0+jouletune"  # integrations require a minimum version

_HISTORY = "JOULETUNE_WANDB_HISTORY"
_REAL = "JOULETUNE_WANDB_REAL"
_HINT = "write `metrics: {wandb: {real: true}}` to have the installed wandb beside the stand-in"


class Error(Exception):
    """Something that the stand-in cannot do; also stands for the base of the real package's errors."""


CommError = UsageError = AuthenticationError = Error


class AlertLevel(enum.Enum):
    """Accepted."""

    INFO, WARN, ERROR = "INFO", "WARN", "ERROR"


class Summary(dict[str, Any]):
    """`run.summary`: the last value of everything logged.

    A number that the script sets here is also logged, unless the script has logged that name: then it sums up
    epochs that the search already has, and would be taken for another.
    """

    def __init__(self, write: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self.__dict__.update(_write=write, _logged=set())

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name not in self._logged:
            self._write({name: value})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *given: Any, **more: Any) -> None:
        for name, value in dict(*given, **more).items():
            self[name] = value

    def learn(self, values: Mapping[str, Any]) -> None:
        """Add logged values, which are already in the history."""
        self._logged.update(values)
        super().update(values)


class Run:
    """`wandb.run`: the one run of this process."""

    def __init__(self, **settings: Any) -> None:
        self.id = self.name = Path(os.environ.get(_HISTORY, "run")).parent.name or "run"
        self.project, self.entity = settings.get("project") or "uncategorized", settings.get("entity")
        self.group, self.job_type = settings.get("group"), settings.get("job_type")
        self.notes, self.tags = settings.get("notes"), tuple(settings.get("tags") or ())
        self.sweep_id, self.url, self.resumed, self.offline = "jouletune", None, False, True
        self.dir = os.environ.get("WANDB_DIR") or os.getcwd()  # noqa: PTH109 - W&B gives text
        self.config = config
        self.step = 0
        self._row: dict[str, Any] = {}
        self.summary = Summary(_write)

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, **_: Any
    ) -> None:
        """Pass a row of numbers to the search.

        As in W&B, calls with the same step form one row, and a call without `step` ends the step unless
        `commit=False`. Each call writes the row, unless `commit=False`, so that no score waits for the next
        step.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"wandb.log takes a dictionary, got {type(data).__name__}")
        if step is not None and step != self.step:
            self.step, self._row = step, {}
        new = _numbers(data)
        self._row |= new
        self.summary.learn(new)
        if commit is not False:
            _write(self._row)
        if commit or (commit is None and step is None):
            self.step, self._row = self.step + 1, {}

    def finish(self, *_: Any, **__: Any) -> None:
        """End the run, and write the row of an unfinished step."""
        global run
        if self._row:
            _write(self._row)
            self._row = {}
        if run is self:
            run = None

    def define_metric(self, *_: Any, **__: Any) -> None:
        """Accepted and ignored: the search uses the space's metric, and rows with an epoch."""

    def watch(self, *_: Any, **__: Any) -> None:
        """Accepted and ignored: gradients are not recorded."""

    unwatch = alert = log_artifact = log_code = log_model = mark_preempting = define_metric
    link_artifact = display = status = _label = get_url = get_project_url = get_sweep_url = define_metric

    def save(self, *_: Any, **__: Any) -> list[str]:
        """Accepted and ignored: a file stays where the script put it."""
        return []

    def use_artifact(self, name: str, *_: Any, **__: Any) -> Any:
        raise Error(f"wandb.use_artifact({name!r}) needs W&B's servers; give the script a local file")

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


class Settings:
    """Accepted and ignored."""

    def __init__(self, *_: Any, **settings: Any) -> None:
        self.__dict__.update(settings)


class _Media:
    """Something to view, for which a search has no use."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing


class Image(_Media):
    """Accepted and dropped."""


class Table(_Media):
    """Accepted and dropped, with the rows added to it."""


class Artifact(_Media):
    """Accepted and dropped, with the files added to it."""


Audio = Video = Html = Histogram = Object3D = Plotly = Molecule = Graph = Image

config = Config()
run: Run | None = None


def init(*args: Any, config: Any = None, **settings: Any) -> Run:
    """Begin the run, with a `config` in which the trial's hyperparameters override the script's settings."""
    global run
    names = ("entity", "project", "dir", "id", "name", "notes", "tags")
    settings = {**dict(zip(names, args, strict=False)), **settings}
    include, exclude = settings.get("config_include_keys"), settings.get("config_exclude_keys")
    own = {
        name: value
        for name, value in plain_settings(config).items()
        if (not include or name in include) and name not in (exclude or ())
    }
    this = sys.modules[__name__].__dict__["config"]
    this.begin_run(own, of_trial())
    run = Run(**settings)
    return run


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, **more: Any) -> None:
    """Call `wandb.run.log`."""
    _run("log").log(data, step=step, commit=commit, **more)


def finish(*args: Any, **more: Any) -> None:
    """End the run, if there is one."""
    if run is not None:
        run.finish(*args, **more)


def login(*_: Any, **__: Any) -> bool:
    """Accepted: no account is needed."""
    return True


def sweep(sweep: Any = None, *_: Any, **__: Any) -> str:
    """Return the name of the sweep that this search stands for."""
    return "jouletune"


def agent(sweep_id: str, function: Callable[[], Any] | None = None, *_: Any, **__: Any) -> None:
    """Call the function once: this process is one trial, and the search starts the others."""
    if function is not None:
        function()


def setup(*_: Any, **__: Any) -> None:
    """Accepted."""


teardown = termlog = termwarn = termerror = ensure_configured = require = setup


def __getattr__(name: str) -> Any:
    """Look up functions that act on the run, and the summary; anything else needs the real package."""
    if name == "summary":
        return _run(name).summary
    if name in Run.__dict__ and not name.startswith("_"):
        return functools.partial(_on_run, name)
    raise AttributeError(f"the search's stand-in for wandb has no {name}; {_HINT}")


def _on_run(name: str, *args: Any, **more: Any) -> Any:
    return getattr(_run(name), name)(*args, **more)


def _run(name: str) -> Run:
    if run is None:
        raise Error(f"You must call wandb.init() before wandb.{name}()")
    return run


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _numbers(data: Mapping[str, Any], before: str = "") -> dict[str, float | int]:
    """The numbers in `data` under W&B's dotted names, including one-element tensors and NumPy's numbers."""
    found: dict[str, float | int] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{before}{name}.")
        elif (number := _number(value)) is not None:
            found[f"{before}{name}"] = number
    return found


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | bytes | _Media | Sequence):
        return None
    with contextlib.suppress(TypeError, ValueError, RuntimeError, AttributeError):
        single = value.item() if hasattr(value, "item") else float(value)
        return single if isinstance(single, int | float) else None
    return None


def _write(row: Mapping[str, Any]) -> None:
    """Append one line to the history in a single write, so that a kill leaves the earlier lines intact.

    Only rank 0 of the processes that a launcher starts reports.
    """
    path = os.environ.get(_HISTORY)
    numbers = _numbers(row)
    if not path or not numbers or os.environ.get("RANK", "0") != "0":
        return
    plain = {name: value if math.isfinite(value) else repr(value) for name, value in numbers.items()}
    line = json.dumps(plain) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _use_real() -> None:
    """Make `import wandb` return the installed package, whose runs also report to the search.

    An import returns what is in `sys.modules` once this module is loaded, so the package takes its place
    there. The folder of this one is removed from the path, so that the package's own imports of `wandb` find
    the package.
    """
    here = Path(__file__).resolve().parents[1]
    sys.path[:] = [each for each in sys.path if Path(each or ".").resolve() != here]
    for name in (__name__, "wandb.trial_config", "wandb.modules"):
        del sys.modules[name]
    os.environ.setdefault("WANDB_MODE", "offline")
    try:
        package = importlib.import_module(__name__)
    except ImportError as error:
        raise ImportError(
            f"{error}; `metrics: {{wandb: {{real: true}}}}` needs the package in the script's environment"
        ) from error
    package.init = _reporting(package, package.init)  # type: ignore[attr-defined]


def _reporting(package: ModuleType, begin: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the package's `init` to set the trial's hyperparameters, and `log` to also write the history."""

    @functools.wraps(begin)
    def init(*args: Any, config: Any = None, **settings: Any) -> Any:
        # Set from the start: the package refuses to change a value later, even for a sweep.
        started = begin(*args, config={**plain_settings(config), **of_trial()}, **settings)
        started.config.update_locked(of_trial(), user="sweep")
        history, log = Run(), started.log

        @functools.wraps(log)
        def reported(data: Mapping[str, Any], *args: Any, **more: Any) -> Any:
            history.log(data, *args, **more)
            return log(data, *args, **more)

        started.log = package.log = reported  # type: ignore[attr-defined]
        return started

    return init


if os.environ.get(_REAL) == "1":
    _use_real()
else:
    add_modules(sys.modules[__name__], _HINT)
