"""Checks of a space's values against its trainable: names, kinds of value and the trainable's own rules."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails

from search.space.errors import Problems, did_you_mean, not_among, wrong_kind
from search.space.parameters import Choice, Fixed, Integer, Normal, Parameter

_LADDER = "search.ladder sets how long trials train: write ladder: {epochs: [1, 3, 9]}"
_SEEDS = (
    "seeds are not searched: search.seed seeds the search, promotion trains each configuration with "
    "promote.seeds seeds, and search.repeats repeats a list or design"
)
_RESOLUTION = "search.ladder.resolution sets the size of images: write ladder: {resolution: [14, 20, 28]}"
_SUBSET = "search.ladder.subset sets how much data is used: write ladder: {subset: [0.25, 0.5, 1.0]}"
_DATA = "search.data names the data to train on"
_MACHINE = "search.resources sets what a trial gets: write resources: {gpus_per_trial: 1}"

_ANSWERS: Mapping[str, tuple[str, ...]] = {
    _LADDER: ("epochs", "num_epochs", "n_epochs", "max_epochs", "epoch", "until", "max_steps", "num_steps"),
    _SEEDS: ("seed", "random_seed", "random_state", "manual_seed", "data_seed"),
    _RESOLUTION: ("resolution", "image_size", "img_size", "input_size", "imgsz"),
    _SUBSET: ("subset", "subset_size", "data_fraction"),
    _DATA: ("data", "dataset", "data_dir", "data_path", "dataset_name"),
    _MACHINE: ("device", "gpu", "gpus", "num_gpus", "accelerator"),
    "search.precision sets it: auto, fp32, bf16 or fp16": ("precision", "amp", "fp16", "bf16"),
    "search.patience sets it: epochs without improvement": ("patience", "early_stopping_patience"),
    "each trial has a folder of its own": ("checkpoint_dir", "output_dir"),
    "{python} in run is the Python that runs this": ("python",),
}
_BY_NAME = {name: answer for answer, names in _ANSWERS.items() for name in names}


def where_it_goes(name: str) -> str | None:
    """What to write instead of a parameter `name`; None if the name means nothing here."""
    plain = re.sub(r"[-\s]", "_", name.rpartition(".")[2]).lower()
    return _BY_NAME.get(plain)


_NEEDED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "none_required": "null",
}


class HparamsCheck:
    """The hyperparameters of one trainable, against which a space's values are checked.

    A class attribute RENAMED_HPARAMS of the hparams maps each old name to what to write instead.

    Raises:
        ValueError: The hparams are no dataclass with a working default for each field, or their annotations
            cannot be read.
    """

    def __init__(self, trainable: str, hparams: type) -> None:
        self._trainable = trainable
        self._hparams = hparams
        if not dataclasses.is_dataclass(hparams):
            raise ValueError(f"the hparams of {trainable} must be a dataclass")
        self._replaced: Mapping[str, str] = getattr(hparams, "RENAMED_HPARAMS", {})
        self.names = [field.name for field in dataclasses.fields(hparams) if field.init]
        try:
            hints = typing.get_type_hints(hparams, include_extras=True)
            self._kinds: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(hints[name]) for name in self.names}
        except (NameError, TypeError, PydanticUserError) as error:
            raise ValueError(f"the annotations of {trainable}'s hparams cannot be read: {error}") from None
        if problem := self.refusal({}):
            raise ValueError(f"the hparams of {trainable} need a working default for each: {problem}")

    def valid_entries(
        self, parameters: Mapping[str, Parameter | Fixed], problems: Problems
    ) -> dict[str, Parameter | Fixed]:
        """The parameters of known names and kinds; adds to `problems` what is wrong with the others."""
        return {name: entry for name, entry in parameters.items() if self._fits(name, entry, problems)}

    def default(self, name: str) -> Any:
        """The trainable's own default."""
        return getattr(self._hparams(), name)

    def takes_fractions(self, name: str) -> bool:
        return self.mismatch(name, 0.5) is None

    def mismatch(self, name: str, value: Any) -> str | None:
        """Why `value` does not fit the hyperparameter's annotation; None if it does."""
        try:  # strict JSON: a list may be a tuple and an int a float; nothing else is converted
            self._kinds[name].validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            return _mismatch(error.errors(include_url=False), value)
        return None

    def check_point(
        self, where: str, point: Mapping[str, Any], context: Mapping[str, Any], problems: Problems
    ) -> None:
        """Add to `problems` what the trainable rejects in `point`, with other values from `context`."""
        known = {name: value for name, value in context.items() if name in self.names}
        if self.check_kinds(where, point, problems) and (refusal := self.refusal({**known, **point})):
            problems.add(where, refusal)

    def check_kinds(self, where: str, point: Mapping[str, Any], problems: Problems) -> bool:
        """Whether all names and kinds of values fit the trainable; adds those that do not to `problems`."""
        is_fit = True
        for name, value in point.items():
            if name not in self.names:
                text: str | None = self.unknown(name)
            else:
                text = self.mismatch(name, value)
            if text:
                problems.add(f"{where}.{name}", text)
                is_fit = False
        return is_fit

    def _fits(self, name: str, entry: Parameter | Fixed, problems: Problems) -> bool:
        if name not in self.names:
            problems.add(f"parameters.{name}", self.unknown(name))
            return False
        mismatches = [text for value in probes(entry) if (text := self.mismatch(name, value))]
        for text in mismatches:
            problems.add(f"parameters.{name}{_key_of(entry)}", text + self._advice(name, entry))
        return not mismatches

    def unknown(self, name: str) -> str:
        """The message that there is no such hyperparameter, with what to write instead."""
        if name in self._replaced:
            return f"{self._trainable} no longer has {name}; write {self._replaced[name]}"
        if (answer := where_it_goes(name)) and not self._is_nearly(name):
            return f"is not a hyperparameter of {self._trainable}: {answer}"
        return f"{self._trainable} has no such hyperparameter{did_you_mean(name, self.names)}"

    def _is_nearly(self, name: str) -> bool:
        """Whether the name is so close to a hyperparameter's that this one was meant: `image_sizes`."""
        return bool(difflib.get_close_matches(name, self.names, n=1, cutoff=0.85))

    def own_names(self, given: Iterable[str], problems: Problems) -> dict[str, str]:
        """The trainable's own name for each parameter: `optimizer.weight-decay` is `weight_decay`.

        A name the trainable does not have stays as it is; two names for one hyperparameter are a problem.
        """
        own = {name: self._own_name(name) for name in given}
        for index, (name, meant) in enumerate(own.items()):
            before = [other for other in list(own)[:index] if own[other] == meant]
            if before:
                other = f"and so does parameters.{before[0]}; give one of them"
                text = f"means {meant} of {self._trainable}, {other}"
                problems.add(f"parameters.{name}", text)
        return own

    def _own_name(self, given: str) -> str:
        last = given.rpartition(".")[2]
        spellings = (name for each in (given, last) for name in (each, re.sub(r"[-\s]", "_", each)))
        return next((name for name in spellings if name in self.names), given)

    def _advice(self, name: str, entry: Parameter | Fixed) -> str:
        is_range = not isinstance(entry, Fixed | Choice | Integer)
        takes_whole = self.mismatch(name, 1) is None or self.mismatch(name, 0) is None
        if is_range and takes_whole:
            return "; use int_uniform, or a q_ distribution with q: 1"
        return ""

    def refusal(self, values: Mapping[str, Any]) -> str | None:
        """Why the trainable rejects these values, with its defaults for the rest; None if it accepts them."""
        try:
            self._hparams(**values)
        except ValueError as error:
            return str(error) or "these values do not go together"
        except Exception as error:  # a trainable's own code; whatever it raises, the values do not work
            return f"{type(error).__name__}: {error}"
        return None


def probes(entry: Parameter | Fixed) -> tuple[Any, ...]:
    """Values that are checked on behalf of the whole parameter."""
    if isinstance(entry, Fixed):
        return (entry.value,)
    if isinstance(entry, Choice):
        return entry.values
    if isinstance(entry, Normal):
        centre = math.exp(entry.mean) if entry.log else entry.mean
        is_whole = isinstance(entry.step, int)
        return (round(centre / entry.step) * entry.step if is_whole and entry.step else centre,)
    return entry.ends


def _key_of(entry: Parameter | Fixed) -> str:
    return {Fixed: ".value", Choice: ".values"}.get(type(entry), "")


def _mismatch(errors: list[ErrorDetails], value: Any) -> str:
    first = errors[0]
    if len(errors) == 1 and first["type"] == "literal_error":
        return not_among(first["ctx"]["expected"], first["input"])
    if all(error["type"] in _NEEDED for error in errors):
        needed = dict.fromkeys(_NEEDED[error["type"]] for error in errors)
        return wrong_kind(" or ".join(needed), value if len(errors) > 1 else first["input"])
    return f"{first['msg'][0].lower()}{first['msg'][1:]}, got {value!r}"
