"""`trials`, `design` and `ablations`: spaces that list which points are trained."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator

from search.space.errors import KeyedError, Problems, did_you_mean, shown
from search.space.fields import whole
from search.space.hparams import HparamsCheck

_MOST_POINTS = 10_000  # a run keeps them in its space, and each of its commands reads that

Design = Literal["one-factor", "joint", "grid"]
Variant = Mapping[str, tuple[Any, ...]]


def _list_of_trials(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(point, dict) for point in value):
        number = "; the number of trials is search.limits.trials" if isinstance(value, int) else ""
        form = "must be a list such as [{lr: 0.1}], or a .json file of one"
        raise ValueError(f"{form}, got {shown(value)}{number}")
    if len(value) > _MOST_POINTS:
        raise ValueError(f"must be at most {_MOST_POINTS} points, got {len(value)}")
    return value


def _trials(value: Any) -> list[dict[str, Any]] | str:
    is_file = isinstance(value, str) and value.endswith(".json")
    return str(value) if is_file else _list_of_trials(value)


def _levels(value: Any) -> int:
    if whole(value) < 2:
        raise ValueError(f"must be at least 2, got {value}")
    return whole(value)


def _ablations(value: Any) -> dict[str, tuple[Variant, ...]]:
    form = "must look like {optimizer: {optimizer: [sgd, adamw]}}"
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{form}, got {shown(value)}")
    groups: dict[str, tuple[Variant, ...]] = {}
    for name, given in value.items():
        variants = given if isinstance(given, list) else [given]
        if not variants or not all(isinstance(variant, dict) and variant for variant in variants):
            raise KeyedError(name, f"{form}, or a list of such mappings, got {shown(given)}")
        if [] in [values for variant in variants for values in variant.values()]:
            raise KeyedError(name, f"each hyperparameter needs a value, got {shown(given)}")
        groups[name] = tuple(
            {key: tuple(v) if isinstance(v, list) else (v,) for key, v in variant.items()}
            for variant in variants
        )
    return groups


def _names(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be names such as optimizer,image_size, got {shown(value)}")
    return tuple(name.strip() for name in names)


Trials = Annotated[list[dict[str, Any]] | str, PlainValidator(_trials)]
Levels = Annotated[int, PlainValidator(_levels)]
Ablations = Annotated[dict[str, tuple[Variant, ...]], PlainValidator(_ablations)]
Names = Annotated[tuple[str, ...], PlainValidator(_names)]


def chosen_ablations(
    ablations: Mapping[str, tuple[Variant, ...]], names: tuple[str, ...] | None, problems: Problems
) -> dict[str, tuple[Variant, ...]]:
    """The groups with these names, or all of them when no name is given."""
    for name in names or ():
        if name not in ablations:
            text = f"there is no ablation {shown(name)}{did_you_mean(name, ablations)}"
            problems.add("search.chosen_ablations", text)
    return {name: group for name, group in ablations.items() if names is None or name in names}


def read_trials(
    given: list[dict[str, Any]] | str | None,
    folder: Path,
    check: HparamsCheck,
    context: Mapping[str, Any],
    problems: Problems,
) -> tuple[dict[str, Any], ...]:
    """The explicit trials, under the trainable's names and each checked against the trainable.

    Args:
        given: The list, or the JSON file that holds it, relative to `folder`.
        context: The space's defaults and fixed values, which a trial may change.
    """
    raw = _of_file(folder / Path(given).expanduser(), problems) if isinstance(given, str) else given or []
    trials = []
    for index, point in enumerate(raw):
        where = f"search.trials[{index}]"
        named = dict(_named(where, point, check.names, problems))
        check.check_point(where, named, context, problems)
        trials.append(named)
    return tuple(trials)


def _of_file(path: Path, problems: Problems) -> list[dict[str, Any]]:
    try:
        return _list_of_trials(_read_json(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        problems.add("search.trials", f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.add("search.trials", f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8")
    except json.JSONDecodeError as error:
        problems.add("search.trials", f"{path} is not JSON: {error}")
    except (ValueError, RecursionError) as error:
        problems.add("search.trials", f"{path}: {error}")
    return []


def _read_json(text: str) -> Any:
    """The content of a JSON text, held to what is allowed in a space file.

    Raises:
        ValueError: It is no JSON, a number is not finite or too large, or a key is given twice.
    """

    def number(digits: str) -> float:
        read = float(digits)
        if not math.isfinite(read):
            raise ValueError(f"numbers must be finite, got {digits}")
        return read

    def whole_number(digits: str) -> int:
        if abs(float(digits)) >= 2**63:
            raise ValueError(f"numbers must be below 2**63, got one of {len(digits)} digits")
        return int(digits)

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the key {shown(twice)} is given twice in {shown(dict(pairs))}")
        return dict(pairs)

    return json.loads(
        text, parse_float=number, parse_int=whole_number, parse_constant=number, object_pairs_hook=mapping
    )


def _named(
    where: str, point: Mapping[str, Any], names: list[str], problems: Problems
) -> Iterator[tuple[str, Any]]:
    """Yield each value with the trainable's own name, which is the last part of a dotted key."""
    taken: dict[str, str] = {}
    for key, value in point.items():
        name = key if key in names else key.rpartition(".")[2]
        if name not in names:
            hint = did_you_mean(name, names)
            problems.add(f"{where}.{key}", f"the trainable has no such hyperparameter{hint}")
        elif name in taken:
            problems.add(f"{where}.{key}", f"means {name}, and so does {taken[name]}; give one of them")
        else:
            taken[name] = key
            yield name, value
