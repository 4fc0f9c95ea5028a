"""`trials`, `design` and `ablations`: a space that says itself which points are trained."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import PlainValidator

from search.space.errors import KeyedError, Problems, did_you_mean, listed, shown
from search.space.fields import whole
from search.space.hparams import HparamsCheck
from search.space.parameters import Choice, Fixed, Parameter, num_values

_MOST_POINTS = 10_000

Design = Literal["one-factor", "joint", "grid"]
Variant = Mapping[str, tuple[Any, ...]]


def _list_of_trials(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(point, dict) for point in value):
        raise ValueError(f"must be a list such as [{{lr: 0.1}}], or a .json file of one, got {shown(value)}")
    return value


def _trials(value: Any) -> list[dict[str, Any]] | str:
    is_file = isinstance(value, str) and value.endswith(".json")
    return str(value) if is_file else _list_of_trials(value)


def _levels(value: Any) -> int:
    if whole(value) < 2:
        raise ValueError(f"must be at least 2, got {value}")
    return whole(value)


def _ablations(value: Any) -> dict[str, tuple[Variant, ...]]:
    form = "must be as in {optimizer: {optimizer: [sgd, adamw]}}"
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


class Keys(Protocol):
    """The keys under `search:` that say which points are trained."""

    design: Design | None
    levels: int | None
    repeats: int
    chosen_ablations: tuple[str, ...] | None

    @property
    def lists(self) -> list[str]: ...


def check_design(
    keys: Keys, sampler: str, entries: Mapping[str, Parameter | Fixed], problems: Problems
) -> None:
    """Add to `problems` the keys that do not go together, and what a design cannot try."""
    if len(keys.lists) > 1:
        problems.add("search", f"give one of trials, design and ablations, got {listed(keys.lists)}")
    if keys.levels is not None and keys.design is None:
        problems.add("search.levels", "is for a design; write design: one-factor, or leave it out")
    if keys.repeats > 1 and not keys.lists:
        text = "is for trials, a design or ablations; promote.seeds repeats the best of a search"
        problems.add("search.repeats", text)
    if keys.chosen_ablations and "ablations" not in keys.lists:
        problems.add("search.chosen_ablations", "there are no ablations; write search.ablations")
    if keys.design is not None:
        _check_listed(entries, keys.design, keys.levels, problems)
    elif sampler == "grid" and not keys.lists:
        _check_listed(entries, "a grid", None, problems)


def _check_listed(
    entries: Mapping[str, Parameter | Fixed], design: str, levels: int | None, problems: Problems
) -> None:
    fix = "" if design == "a grid" else f", or search.levels: {levels or 5}"
    for name, entry in entries.items():
        if isinstance(entry, Choice) and entry.probabilities is not None:
            problems.add(f"parameters.{name}", f"{design} tries every value once; leave out probabilities")
        elif not isinstance(entry, Fixed) and num_values(entry) is None and levels is None:
            problems.add(
                f"parameters.{name}", f"{design} needs values or whole numbers; write values: [...]{fix}"
            )
    counts = [_count(entry, levels) for entry in entries.values() if not isinstance(entry, Fixed)]
    count = sum(counts) if design == "one-factor" else math.prod(counts)
    if count > _MOST_POINTS:
        where = "search.sampler" if design == "a grid" else "search.design"
        text = f"{design} has {count} points, more than {_MOST_POINTS}; give fewer values"
        problems.add(where, f"{text}, or take design: one-factor" if design != "one-factor" else text)


def chosen_ablations(
    ablations: Mapping[str, tuple[Variant, ...]], names: tuple[str, ...] | None, problems: Problems
) -> dict[str, tuple[Variant, ...]]:
    """The groups with these names, or all of them when no name is given."""
    for name in names or ():
        if name not in ablations:
            text = f"there is no ablation {shown(name)}{did_you_mean(name, ablations)}"
            problems.add("search.chosen_ablations", text)
    return {name: group for name, group in ablations.items() if names is None or name in names}


def check_ablations(
    ablations: Mapping[str, tuple[Variant, ...]],
    check: HparamsCheck,
    context: Mapping[str, Any],
    problems: Problems,
) -> None:
    """Add to `problems` what the trainable does not take of any combination."""
    for name, variants in ablations.items():
        count = sum(math.prod(map(len, variant.values())) for variant in variants)
        if count > _MOST_POINTS:
            text = f"has {count} points, more than {_MOST_POINTS}; give fewer values"
            problems.add(f"search.ablations.{name}", text)
            continue
        for variant in variants:
            for values in itertools.product(*variant.values()):
                point = dict(zip(variant, values, strict=True))
                check.check_point(f"search.ablations.{name}", point, context, problems)


def read_trials(
    given: list[dict[str, Any]] | str | None,
    folder: Path,
    check: HparamsCheck,
    context: Mapping[str, Any],
    problems: Problems,
) -> tuple[dict[str, Any], ...]:
    """The explicit trials by the trainable's names, each checked against the trainable.

    Args:
        given: The list, or the JSON file that holds it, relative to `folder`.
        context: The space's fixed values, which a trial may change.
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
        return _list_of_trials(json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_finite))
    except OSError as error:
        problems.add("search.trials", f"{path} cannot be read: {error.strerror}")
    except json.JSONDecodeError as error:
        problems.add("search.trials", f"{path} is not JSON: {error}")
    except (ValueError, RecursionError) as error:
        problems.add("search.trials", f"{path}: {error}")
    return []


def _not_finite(constant: str) -> float:
    raise ValueError(f"numbers must be finite, got {constant}")


def _named(
    where: str, point: Mapping[str, Any], names: list[str], problems: Problems
) -> Iterator[tuple[str, Any]]:
    """Each value by the trainable's own name; of a dotted key, the last part is the name."""
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


def _count(entry: Parameter, levels: int | None) -> int:
    every = num_values(entry)
    if levels is None or isinstance(entry, Choice):
        return every or 1
    return levels if every is None else min(every, levels)
