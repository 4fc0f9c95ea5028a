"""Checks of what a training promises, made at the point of use; an error names the file and line at fault."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainables.core.checkpoint import unsavable
from trainables.core.contract import BadResult, Budget, Training

_METHODS = ("run_epoch", "state_dict", "load_state_dict")


def check_training(training: object, start: Callable[..., object]) -> None:
    """Check that `start` has returned a training.

    Raises:
        BadResult: It has not; the message lists what is missing.
    """
    missing = [f"{name}()" for name in _METHODS if not callable(getattr(training, name, None))]
    epochs_done = getattr(training, "epochs_done", None)
    if not isinstance(epochs_done, int):
        missing.append("epochs_done, a whole number")
    if missing:
        raise BadResult(
            f"start must return a training with {', '.join(missing)}, got {_kind(training)}{place_of(start)}"
        )
    if epochs_done != 0:
        raise BadResult(
            f"a new training must have epochs_done 0, got {epochs_done}{place_of(type(training))}"
        )


def check_test(training: object, start: Callable[..., object]) -> None:
    """Check that a training can be evaluated on a test set, before it is trained in full.

    Raises:
        BadResult: It cannot.
    """
    if not callable(getattr(training, "test", None)):
        raise BadResult(
            f"{_kind(training)} has no test(), which full training calls at its end: give it one, or write "
            f"has_test=False in TRAINABLE{place_of(start)}"
        )


def trained_epoch(training: Training, budget: Budget) -> dict[str, float]:
    """Train an epoch and return its values as plain floats.

    Raises:
        BadResult: It returned something other than numbers by name, or did not count its epochs.
    """
    before = training.epochs_done
    values = plain_numbers(training.run_epoch(budget), training.run_epoch)
    if training.epochs_done != before + 1:
        raise BadResult(
            f"run_epoch must count: epochs_done is {training.epochs_done} after epoch {before + 1}"
            f"{place_of(training.run_epoch)}"
        )
    return values


def plain_numbers(values: object, method: Callable[..., object]) -> dict[str, float]:
    """Return `values`, which `method` returned, as plain floats.

    Raises:
        BadResult: They are not numbers by name.
    """
    name = method.__name__
    if not isinstance(values, Mapping):
        raise BadResult(
            f"{name} must return a mapping of names to numbers, got {_kind(values)}{place_of(method)}"
        )
    if nameless := [key for key in values if not isinstance(key, str)]:
        raise BadResult(f"{name} must name its numbers by text, got {nameless}{place_of(method)}")
    odd = {key: type(value).__name__ for key, value in values.items() if not _is_number(value)}
    if odd:
        raise BadResult(
            f"{name} must return plain numbers, got {odd}; convert them with float(){place_of(method)}"
        )
    return {key: float(value) for key, value in values.items()}


def check_reported(name: str, values: Mapping[str, float], training: Training) -> None:
    """Check that the metric, or another number that a space asks for, is among an epoch's values.

    Raises:
        BadResult: It is not.
    """
    if name not in values:
        got = f"got only {sorted(values)}{place_of(training.run_epoch)}"
        raise BadResult(f"run_epoch must return {name!r}, {got}")


def restore(training: Training, state: Mapping[str, Any], epochs_done: int | None) -> None:
    """Restore the training from `state`.

    Args:
        epochs_done: Its `epochs_done` when the state was saved; None if that is not known.

    Raises:
        BadResult: It did not restore `epochs_done`.
    """
    training.load_state_dict(state)
    if epochs_done is not None and training.epochs_done != epochs_done:
        raise BadResult(
            f"load_state_dict must restore epochs_done: it is {training.epochs_done}, and was {epochs_done} "
            f"when the state was taken{place_of(training.load_state_dict)}"
        )


def check_state(training: Training, state: object) -> None:
    """Check that a checkpoint can store and restore what `state_dict` returned.

    Raises:
        BadResult: `torch.load(weights_only=True)` would refuse something in it, which the message names.
    """
    where = place_of(training.state_dict)
    if not isinstance(state, dict):
        raise BadResult(f"state_dict must return a dict, got {_kind(state)}{where}")
    odd = [f"{path} is {_kind(value)}" for path, value in _leaves(state, "") if unsavable(value)]
    if odd:
        cure = "give tensors (torch.from_numpy), numbers, text, dicts and lists (x.tolist())"
        raise BadResult(
            f"state_dict has values that a checkpoint cannot hold: {'; '.join(odd[:5])}; {cure}{where}"
        )


def place_of(function: Callable[..., object] | type) -> str:
    """File and line of a function or class, as the end of a message; empty if it has no file."""
    function = inspect.unwrap(function)
    try:
        file, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return ""
    return f" ({file}, line {line})"


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if type(value) is dict:
        for key, inner in value.items():
            yield from () if isinstance(key, str) else [(f"{path} key {key!r}", key)]
            yield from _leaves(inner, f"{path}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, inner in enumerate(value):  # type: ignore[arg-type]
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def _kind(value: object) -> str:
    if value is None:
        return "None"
    module = type(value).__module__
    return type(value).__name__ if module == "builtins" else f"{module}.{type(value).__name__}"


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
